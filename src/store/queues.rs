//! The heads of the outbox's queues, as they are in the database.
//!
//! A worker looks at its queue before and after each delivery, and what it finds is almost always what this very
//! process has written a moment ago. So a queue that has been looked at is kept: its first rows, and whether there
//! are more. Only for a file, which nobody else writes; rows in it get their ids here, or a new one could not be
//! kept before it is written.
//!
//! Only a copy, as in [`Known`](super::known::Known): who changes rows of `outbox` says so here, and after a job
//! that fails everything is forgotten.

use std::collections::{HashMap, VecDeque};

use super::outbox::Row;

/// At most this many rows of a queue, and queues and octets of all. Beyond it they are read again.
const ROWS: usize = 512;
const QUEUES: usize = 8192;
const OCTETS: usize = 16 << 20;

/// At least this many rows are read at once.
pub(super) const AHEAD: usize = 64;

#[derive(Default)]
pub(super) struct Queues {
    /// The id of the latest row.
    last: i64,
    queues: HashMap<String, Queue>,
    rows: HashMap<i64, Row>,
    octets: usize,
}

struct Queue {
    /// In order. Some are of rows that are gone.
    ids: VecDeque<i64>,
    /// There are no more behind them.
    all: bool,
}

impl Queues {
    /// `last` is the highest id there ever was.
    pub fn after(last: i64) -> Self {
        Self { last, ..Self::default() }
    }

    /// An id for a new row.
    pub fn next_id(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// The first `limit` rows of a queue, fewer if there are no more. `None` if that is not known.
    pub fn look(&mut self, destination: &str, limit: usize) -> Option<Vec<Row>> {
        let queue = self.queues.get_mut(destination)?;
        while queue.ids.front().is_some_and(|id| !self.rows.contains_key(id)) {
            queue.ids.pop_front();
        }
        let rows: Vec<_> = queue.ids.iter().filter_map(|id| self.rows.get(id)).take(limit).cloned().collect();
        (queue.all || rows.len() == limit).then_some(rows)
    }

    /// The first rows of a queue have been read; there are more of them unless they are `all`.
    pub fn keep(&mut self, destination: &str, rows: Vec<Row>, all: bool) {
        self.forget(destination);
        self.queues.insert(destination.to_owned(), Queue { ids: rows.iter().map(|row| row.id).collect(), all });
        for row in rows {
            self.insert(row);
        }
        self.stay_small();
    }

    /// A new row.
    pub fn add(&mut self, destination: &str, row: Row) {
        let Some(queue) = self.queues.get_mut(destination).filter(|queue| queue.all) else { return };
        if queue.ids.len() >= ROWS {
            queue.all = false;
            return;
        }
        queue.ids.push_back(row.id);
        self.insert(row);
        self.stay_small();
    }

    pub fn remove(&mut self, id: i64) {
        if let Some(row) = self.rows.remove(&id) {
            self.octets -= size(&row);
        }
    }

    pub fn prepare(&mut self, id: i64, prepared: Option<&[u8]>) {
        if let Some(mut row) = self.rows.remove(&id) {
            self.octets -= size(&row);
            row.prepared = prepared.map(<[u8]>::to_vec);
            self.insert(row);
        }
    }

    /// The rows from `first` to `last` leave together.
    pub fn batch(&mut self, destination: &str, first: i64, last: i64) {
        let Some(queue) = self.queues.get(destination) else { return };
        for id in queue.ids.iter().filter(|id| (first..=last).contains(*id)) {
            if let Some(row) = self.rows.get_mut(id) {
                row.batch = Some(first);
            }
        }
    }

    /// Rows of a queue have changed in a way that is not told.
    pub fn forget(&mut self, destination: &str) {
        for id in self.queues.remove(destination).map(|queue| queue.ids).unwrap_or_default() {
            self.remove(id);
        }
    }

    pub fn clear(&mut self) {
        *self = Self::after(self.last);
    }

    fn insert(&mut self, row: Row) {
        self.octets += size(&row);
        self.rows.insert(row.id, row);
    }

    fn stay_small(&mut self) {
        if self.octets > OCTETS || self.queues.len() > QUEUES {
            self.clear();
        }
    }
}

/// What a row takes, about.
fn size(row: &Row) -> usize {
    200 + row.payload.len() + row.prepared.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64) -> Row {
        Row { id, payload: b"tea".to_vec(), prepared: None, batch: None, attempts: 0, unsure: false }
    }

    fn look(queues: &mut Queues, limit: usize) -> Option<Vec<i64>> {
        queues.look("hub", limit).map(|rows| rows.iter().map(|row| row.id).collect())
    }

    #[test]
    fn a_queue_is_known_from_the_first_look_and_up_to_what_has_been_read() {
        let mut queues = Queues::after(3);
        queues.add("hub", row(4));
        assert_eq!(look(&mut queues, 1), None, "nobody has looked");
        queues.keep("hub", vec![row(4), row(5)], false);
        assert_eq!(look(&mut queues, 2), Some(vec![4, 5]));
        assert_eq!(look(&mut queues, 3), None, "there may be more");
        queues.remove(4);
        queues.add("hub", row(9));
        assert_eq!(look(&mut queues, 1), Some(vec![5]));
        assert_eq!(look(&mut queues, 2), None, "what was added comes after what has not been read");
    }

    #[test]
    fn a_queue_that_is_all_there_grows_at_its_end_until_it_is_long() {
        let mut queues = Queues::after(7);
        queues.keep("hub", Vec::new(), true);
        for _ in 0..ROWS {
            let id = queues.next_id();
            queues.add("hub", row(id));
        }
        assert_eq!(look(&mut queues, ROWS + 1).map(|ids| (ids[0], ids.len())), Some((8, ROWS)));
        let id = queues.next_id();
        queues.add("hub", row(id));
        assert_eq!(look(&mut queues, ROWS + 1), None);
    }

    #[test]
    fn what_was_made_of_a_row_and_what_leaves_with_it_is_told_and_a_forgotten_queue_takes_its_rows_along() {
        let mut queues = Queues::after(0);
        queues.keep("hub", vec![row(1), row(2), row(4)], true);
        queues.prepare(2, Some(b"octets"));
        queues.batch("hub", 1, 2);
        let found: Vec<_> =
            queues.look("hub", 9).unwrap().into_iter().map(|row| (row.id, row.prepared, row.batch)).collect();
        assert_eq!(found, [(1, None, Some(1)), (2, Some(b"octets".to_vec()), Some(1)), (4, None, None)]);
        queues.forget("hub");
        assert_eq!((look(&mut queues, 1), queues.rows.len(), queues.octets), (None, 0, 0));
    }

    #[test]
    fn large_messages_are_not_kept_without_end() {
        let mut queues = Queues::after(0);
        queues.keep("hub", Vec::new(), true);
        for id in 1..=20 {
            queues.add("hub", Row { payload: vec![0; 1 << 20], ..row(id) });
            assert!(queues.octets <= OCTETS);
        }
    }
}
