//! Writes that wait: the rows of a message's path, written many at a time.
//!
//! A statement costs a trip to the database's thread (or its server) and back, many times what the row itself
//! costs, and on the way of one message there are a dozen rows. So those that nobody has to read at once are kept
//! here and written just before the group's commit, in statements of up to 64 rows: a group of a hundred accepts
//! makes as few of them as one does. The same row written again and again, as a ratchet is, is written once.
//!
//! Invariant: nobody can tell. Who reads what waits here either asks here first or has it written first
//! ([`Tx::connection`](super::Tx::connection) does), a job that fails takes what it left here with it, and the
//! commit writes the rest or fails.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use super::{
    hops::{FannedOut, Named},
    portals::PortalId,
    script::{Bound, Script},
    seal,
    threads::ThreadRow,
};
use crate::{
    mimi::{
        content::MessageId,
        uri::{RoomUri, UserUri},
    },
    mls::Owner,
};
use mimi_adapter::{Cursor, NativeMessageId};

/// The most rows in one statement. Fewer are written in powers of two: a connection keeps a hundred prepared
/// statements, and with more different ones than that it would parse them again and again.
const ROWS: usize = 64;

#[derive(Default)]
pub(super) struct Behind {
    pub outbox: Waiting<(), NewRow>,
    /// What was made of rows of the outbox.
    pub prepared: Waiting<i64, Option<Vec<u8>>>,
    /// Rows of the outbox that leave together: the first, their destination, and the last.
    pub batches: Waiting<i64, (String, i64)>,
    /// Rows of the outbox that are done.
    pub settled: Waiting<i64, ()>,
    pub mls: Waiting<(Owner, Vec<u8>), Option<Vec<u8>>>,
    pub messages: Waiting<(RoomUri, MessageId), (UserUri, u64)>,
    pub natives: Waiting<(PortalId, NativeMessageId), (MessageId, bool, Named)>,
    pub seen: Waiting<(RoomUri, [u8; 32]), u64>,
    pub answers: Waiting<(RoomUri, [u8; 32]), (u64, Vec<u8>)>,
    pub timestamps: Waiting<RoomUri, u64>,
    pub cursors: Waiting<PortalId, Cursor>,
    pub threads: Waiting<(PortalId, [u8; 32]), (ThreadRow, u64)>,
    pub topics: Waiting<(RoomUri, MessageId), Vec<u8>>,
    pub versions: Waiting<(RoomUri, MessageId), (MessageId, u64)>,
    pub fanned_out: Waiting<(RoomUri, Vec<u8>), FannedOut>,
}

pub(super) struct NewRow {
    /// If it isn't for the database to give it one.
    pub id: Option<i64>,
    pub destination: String,
    pub kind: &'static str,
    pub payload: Vec<u8>,
    pub created: u64,
}

/// The rows of one table that wait, in the order they came. Of two with the same name the later one counts.
pub(super) struct Waiting<K, V> {
    rows: Vec<(K, V)>,
    latest: HashMap<K, usize>,
    /// Where those of the current job begin.
    job: usize,
}

impl<K, V> Default for Waiting<K, V> {
    fn default() -> Self {
        Self { rows: Vec::new(), latest: HashMap::new(), job: 0 }
    }
}

impl<K, V> Waiting<K, V> {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<K: Clone + Eq + Hash, V> Waiting<K, V> {
    pub fn put(&mut self, name: K, row: V) {
        self.latest.insert(name.clone(), self.rows.len());
        self.rows.push((name, row));
    }

    pub fn get(&self, name: &K) -> Option<&V> {
        self.latest.get(name).map(|&index| &self.rows[index].1)
    }

    /// The rows whose names `which` picks, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(K, V)> {
        self.rows.iter()
    }

    fn begin_job(&mut self) {
        self.job = self.rows.len();
    }

    fn forget_job(&mut self) {
        if self.rows.len() > self.job {
            self.rows.truncate(self.job);
            self.index();
        }
    }

    /// Takes out what came before the current job, or all, without what was written again later.
    fn take(&mut self, all: bool) -> Vec<(K, V)> {
        let many = if all { self.rows.len() } else { self.job };
        if many == 0 {
            return Vec::new();
        }
        let rows: Vec<_> = self.rows.drain(..many).collect();
        self.job -= self.job.min(many);
        let mut latest = HashMap::with_capacity(rows.len());
        for (index, (name, _)) in rows.iter().enumerate() {
            latest.insert(name.clone(), index);
        }
        self.index();
        let last = |(index, row): (usize, (K, V))| (latest[&row.0] == index).then_some(row);
        rows.into_iter().enumerate().filter_map(last).collect()
    }

    fn index(&mut self) {
        self.latest.clear();
        self.latest.extend(self.rows.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)));
    }
}

impl<V> Waiting<(), V> {
    /// For rows that have no name yet: the database gives them one.
    pub fn push(&mut self, row: V) {
        self.rows.push(((), row));
    }

    fn take_unnamed(&mut self, all: bool) -> Vec<V> {
        let many = if all { self.rows.len() } else { self.job };
        self.job -= self.job.min(many);
        self.rows.drain(..many).map(|(_, row)| row).collect()
    }
}

macro_rules! every {
    ($behind:ident, $do:ident) => {{
        $behind.outbox.$do();
        $behind.prepared.$do();
        $behind.batches.$do();
        $behind.settled.$do();
        $behind.mls.$do();
        $behind.messages.$do();
        $behind.natives.$do();
        $behind.seen.$do();
        $behind.answers.$do();
        $behind.timestamps.$do();
        $behind.cursors.$do();
        $behind.threads.$do();
        $behind.topics.$do();
        $behind.versions.$do();
        $behind.fanned_out.$do();
    }};
}

impl Behind {
    pub fn begin_job(&mut self) {
        every!(self, begin_job);
    }

    pub fn forget_job(&mut self) {
        every!(self, forget_job);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn is_empty(&self) -> bool {
        let Self {
            outbox,
            prepared,
            batches,
            settled,
            mls,
            messages,
            natives,
            seen,
            answers,
            timestamps,
            cursors,
            threads,
            topics,
            versions,
            fanned_out,
        } = self;
        outbox.is_empty()
            && prepared.is_empty()
            && batches.is_empty()
            && settled.is_empty()
            && mls.is_empty()
            && messages.is_empty()
            && natives.is_empty()
            && seen.is_empty()
            && answers.is_empty()
            && timestamps.is_empty()
            && cursors.is_empty()
            && threads.is_empty()
            && topics.is_empty()
            && versions.is_empty()
            && fanned_out.is_empty()
    }

    /// Adds what came before the current job, or all, to what is sent.
    pub async fn write(&mut self, script: &mut Script<'_>, all: bool) -> Result<(), sqlx::Error> {
        self.write_outbox(script, all).await?;
        let (set, gone): (Vec<_>, Vec<_>) = self.mls.take(all).into_iter().partition(|(_, value)| value.is_some());
        for rows in chunks(set) {
            let sql = many(
                "INSERT INTO mls_row (owner, key, value) VALUES ",
                3,
                rows.len(),
                " ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value",
            );
            script
                .rows(&sql, rows, |query, ((owner, key), value)| {
                    let value = value.map(|value| seal::seal(&[&owner.to_be_bytes(), &key], value));
                    query.bind(owner).bind(key).bind(value)
                })
                .await?;
        }
        for ((owner, key), _) in gone {
            let sql = "DELETE FROM mls_row WHERE owner = $1 AND key = $2";
            script.rows(sql, vec![(owner, key)], |row, (owner, key)| row.bind(owner).bind(key)).await?;
        }
        for rows in chunks(self.messages.take(all)) {
            let sql = many(
                "INSERT INTO message (room, message_id, sender, accepted, sum) VALUES ",
                5,
                rows.len(),
                " ON CONFLICT (room, message_id) DO UPDATE SET accepted = excluded.accepted",
            );
            script
                .rows(&sql, rows, |query, ((room, id), (sender, accepted))| {
                    let sum = seal::sum(&[room.as_str().as_bytes(), id.as_bytes(), sender.as_str().as_bytes()]);
                    let (room, sender) = (room.as_str().to_owned(), sender.as_str().to_owned());
                    query.bind(room).bind(id.as_bytes().to_vec()).bind(sender).bind(accepted as i64).bind(sum)
                })
                .await?;
        }
        for rows in chunks(self.natives.take(all)) {
            let sql = many(
                "INSERT INTO native_message (portal, native_id, message_id, first, sum, at, attempts, loss) VALUES ",
                8,
                rows.len(),
                " ON CONFLICT (portal, native_id) DO NOTHING",
            );
            script
                .rows(&sql, rows, |query, ((portal, native), (id, first, Named { at, attempts, loss }))| {
                    let sum = seal::sum(&[&portal.to_be_bytes(), native.as_str().as_bytes(), id.as_bytes()]);
                    let native = native.as_str().to_owned();
                    let query = query.bind(portal).bind(native).bind(id.as_bytes().to_vec()).bind(i64::from(first));
                    query.bind(sum).bind(at as i64).bind(attempts as i64).bind(loss)
                })
                .await?;
        }
        for rows in chunks(self.seen.take(all)) {
            let sql = many(
                "INSERT INTO seen (room, hash, at) VALUES ",
                3,
                rows.len(),
                " ON CONFLICT (room, hash) DO NOTHING",
            );
            script
                .rows(&sql, rows, |query, ((room, hash), at)| {
                    query.bind(room.as_str().to_owned()).bind(hash.to_vec()).bind(at as i64)
                })
                .await?;
        }
        for rows in chunks(self.answers.take(all)) {
            let sql = many("INSERT INTO hub_accepted (room, hash, timestamp, response) VALUES ", 4, rows.len(), "");
            script
                .rows(&sql, rows, |query, ((room, hash), (timestamp, response))| {
                    let response = seal::seal(&[room.as_str().as_bytes(), &hash], response);
                    query.bind(room.as_str().to_owned()).bind(hash.to_vec()).bind(timestamp as i64).bind(response)
                })
                .await?;
        }
        for rows in chunks(self.timestamps.take(all)) {
            let sql = many(
                "UPDATE hub_room SET last_timestamp = made.column2 FROM (VALUES ",
                2,
                rows.len(),
                ") AS made WHERE room = made.column1",
            );
            script.rows(&sql, rows, |query, (room, at)| query.bind(room.as_str().to_owned()).bind(at as i64)).await?;
        }
        for rows in chunks(self.cursors.take(all)) {
            let sql = many(
                "UPDATE portal SET cursor = made.column2 FROM (VALUES ",
                2,
                rows.len(),
                ") AS made WHERE id = made.column1",
            );
            script.rows(&sql, rows, |query, (portal, at)| query.bind(portal).bind(at.as_str().to_owned())).await?;
        }
        self.write_relations(script, all).await
    }
}

impl Behind {
    /// Whether something would be found that has not been there before.
    pub fn names_something(&self) -> bool {
        !(self.natives.is_empty() && self.seen.is_empty() && self.answers.is_empty())
    }

    /// Whether a look into the table would not find the outbox as it will be.
    pub fn changes_the_outbox(&self) -> bool {
        !(self.prepared.is_empty() && self.batches.is_empty())
    }

    /// What belongs to what.
    async fn write_relations(&mut self, script: &mut Script<'_>, all: bool) -> Result<(), sqlx::Error> {
        for rows in chunks(self.threads.take(all)) {
            let sql = many(
                "INSERT INTO thread (portal, hash, topic, native, last, at) VALUES ",
                6,
                rows.len(),
                " ON CONFLICT (portal, hash) DO UPDATE
                  SET native = excluded.native, last = excluded.last, at = excluded.at",
            );
            script
                .rows(&sql, rows, |query, ((portal, hash), (row, at))| {
                    let last = row.last.map(|id| id.as_bytes().to_vec());
                    query.bind(portal).bind(hash.to_vec()).bind(row.topic).bind(row.native).bind(last).bind(at as i64)
                })
                .await?;
        }
        for rows in chunks(self.topics.take(all)) {
            let sql = many(
                "INSERT INTO topic (room, message_id, topic) VALUES ",
                3,
                rows.len(),
                " ON CONFLICT (room, message_id) DO NOTHING",
            );
            script
                .rows(&sql, rows, |query, ((room, id), topic)| {
                    query.bind(room.as_str().to_owned()).bind(id.as_bytes().to_vec()).bind(topic)
                })
                .await?;
        }
        for rows in chunks(self.fanned_out.take(all)) {
            let sql = many(
                "INSERT INTO fanned_out (room, name, since, at, attempts) VALUES ",
                5,
                rows.len(),
                " ON CONFLICT (room, name) DO NOTHING",
            );
            script
                .rows(&sql, rows, |query, ((room, name), FannedOut { since, at, attempts })| {
                    let query = query.bind(room.as_str().to_owned()).bind(name);
                    query.bind(since as i64).bind(at as i64).bind(attempts as i64)
                })
                .await?;
        }
        for rows in chunks(self.versions.take(all)) {
            let sql = many(
                "INSERT INTO version (room, message_id, first, accepted) VALUES ",
                4,
                rows.len(),
                " ON CONFLICT (room, message_id) DO NOTHING",
            );
            script
                .rows(&sql, rows, |query, ((room, id), (first, at))| {
                    let (room, first) = (room.as_str().to_owned(), first.as_bytes().to_vec());
                    query.bind(room).bind(id.as_bytes().to_vec()).bind(first).bind(at as i64)
                })
                .await?;
        }
        Ok(())
    }

    async fn write_outbox(&mut self, script: &mut Script<'_>, all: bool) -> Result<(), sqlx::Error> {
        let mut new = self.outbox.take_unnamed(all);
        let mut settled = self.settled.take(all);
        // What came and went in the same transaction has never been there.
        let gone: HashSet<i64> = settled.iter().map(|(id, ())| *id).collect();
        let passing: HashSet<i64> = new.iter().filter_map(|row| row.id).filter(|id| gone.contains(id)).collect();
        new.retain(|row| row.id.is_none_or(|id| !passing.contains(&id)));
        settled.retain(|(id, ())| !passing.contains(id));
        let (named, unnamed): (Vec<_>, Vec<_>) = new.into_iter().partition(|row| row.id.is_some());
        for rows in chunks(named) {
            let sql = many("INSERT INTO outbox (id, destination, kind, payload, created) VALUES ", 5, rows.len(), "");
            script
                .rows(&sql, rows, |query, row| {
                    let id = row.id;
                    row.bind(query.bind(id))
                })
                .await?;
        }
        for rows in chunks(unnamed) {
            let sql = many("INSERT INTO outbox (destination, kind, payload, created) VALUES ", 4, rows.len(), "");
            script.rows(&sql, rows, |query, row| row.bind(query)).await?;
        }
        let (made, unmade): (Vec<_>, Vec<_>) =
            self.prepared.take(all).into_iter().filter(|(id, _)| !gone.contains(id)).partition(|(_, it)| it.is_some());
        for rows in chunks(made) {
            let sql = many(
                "UPDATE outbox SET prepared = made.column2 FROM (VALUES ",
                2,
                rows.len(),
                ") AS made WHERE outbox.id = made.column1",
            );
            script
                .rows(&sql, rows, |query, (id, octets)| {
                    query.bind(id).bind(octets.map(|octets| seal::seal(&[&id.to_be_bytes()], octets)))
                })
                .await?;
        }
        for rows in padded(unmade.into_iter().map(|(id, _)| id).collect()) {
            let sql = listed("UPDATE outbox SET prepared = NULL WHERE id IN ", 1, rows.len());
            script.rows(&sql, rows, Bound::bind).await?;
        }
        for rows in chunks(self.batches.take(all)) {
            let sql = many(
                "UPDATE outbox SET batch = made.column2 FROM (VALUES ",
                3,
                rows.len(),
                ") AS made WHERE destination = made.column1 AND id BETWEEN made.column2 AND made.column3",
            );
            script
                .rows(&sql, rows, |query, (first, (destination, last))| query.bind(destination).bind(first).bind(last))
                .await?;
        }
        for rows in padded(settled.into_iter().map(|(id, ())| id).collect()) {
            let sql = listed("DELETE FROM outbox WHERE id IN ", 1, rows.len());
            script.rows(&sql, rows, Bound::bind).await?;
        }
        Ok(())
    }
}

impl NewRow {
    fn bind(self, query: Bound) -> Bound {
        let payload = seal::seal(&[self.destination.as_bytes(), self.kind.as_bytes()], self.payload);
        query.bind(self.destination).bind(self.kind).bind(payload).bind(self.created as i64)
    }
}

/// In pieces of a power of two, [`ROWS`] at most, in order.
pub(super) fn chunks<T>(mut rows: Vec<T>) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    while !rows.is_empty() {
        let rest = rows.split_off(piece(rows.len()));
        chunks.push(std::mem::replace(&mut rows, rest));
    }
    chunks
}

fn piece(rows: usize) -> usize {
    if rows >= ROWS { ROWS } else { 1 << rows.ilog2() }
}

/// For a list where the same value may stand twice: in pieces of a power of four, [`ROWS`] at most, the last of them
/// filled up.
pub(super) fn padded<T: Clone>(mut values: Vec<T>) -> Vec<Vec<T>> {
    let mut pieces = Vec::new();
    while values.len() > ROWS {
        let rest = values.split_off(ROWS);
        pieces.push(std::mem::replace(&mut values, rest));
    }
    if let Some(last) = values.last().cloned() {
        let full = [1, 4, 16].into_iter().find(|full| values.len() <= *full).unwrap_or(ROWS);
        values.resize(full, last);
        pieces.push(values);
    }
    pieces
}

/// `<head>($1, $2), ($3, $4)<tail>`
pub(super) fn many(head: &str, columns: usize, rows: usize, tail: &str) -> String {
    let row = |row: usize| {
        let values: Vec<_> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", values.join(", "))
    };
    format!("{head}{}{tail}", (0..rows).map(row).collect::<Vec<_>>().join(", "))
}

/// `<head>($2, $3)`
pub(super) fn listed(head: &str, first: usize, values: usize) -> String {
    let values: Vec<_> = (first..first + values).map(|value| format!("${value}")).collect();
    format!("{head}({})", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_a_name_counts_and_a_failed_job_is_forgotten() {
        let mut waiting = Waiting::default();
        waiting.put("ratchet", 1);
        waiting.begin_job();
        waiting.put("ratchet", 2);
        waiting.put("tree", 3);
        assert_eq!((waiting.get(&"ratchet"), waiting.get(&"tree")), (Some(&2), Some(&3)));
        waiting.forget_job();
        assert_eq!((waiting.get(&"ratchet"), waiting.get(&"tree")), (Some(&1), None));
        waiting.put("ratchet", 4);
        assert_eq!(waiting.take(false), [("ratchet", 1)]);
        assert_eq!(waiting.get(&"ratchet"), Some(&4));
        waiting.put("ratchet", 5);
        assert_eq!(waiting.take(true), [("ratchet", 5)]);
        assert_eq!(waiting.get(&"ratchet"), None);
    }

    #[test]
    fn rows_are_written_in_few_sizes_and_in_order() {
        let sizes = |rows: usize| chunks((0..rows).collect()).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(7), [4, 2, 1]);
        assert_eq!(sizes(150), [64, 64, 16, 4, 2]);
        assert_eq!(chunks((0..7).collect()).concat(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(padded(Vec::<u8>::new()), [[0; 0]; 0]);
        assert_eq!(padded(vec![1, 2]), [[1, 2, 2, 2]]);
        assert_eq!(padded((0..80).collect()).iter().map(Vec::len).collect::<Vec<_>>(), [64, 16]);
        assert_eq!(many("VALUES ", 2, 2, " END"), "VALUES ($1, $2), ($3, $4) END");
        assert_eq!(listed("IN ", 2, 3), "IN ($2, $3, $4)");
    }
}
