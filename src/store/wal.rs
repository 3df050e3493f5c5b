//! Is the write-ahead log what SQLite wrote?
//!
//! Commits live in the `-wal` file until they are moved into the database. Each frame of it carries a checksum
//! over everything before it, and when SQLite opens the file it reads up to the first frame whose checksum is
//! wrong and forgets the rest without a word. That is right after a power cut: what was torn had not been
//! answered. It is wrong when a byte in the middle has flipped: then commits that were promised are gone, and the
//! MLS ratchets are back where they were, about to encrypt something else with keys that were used already. So
//! before SQLite gets to see it, the file is read here and the two are told apart.
//!
//! How: with `synchronous=FULL` a transaction reaches the disk before the next one is begun. So a bad frame
//! that is followed by the end of a *later* transaction was good once. If it is in the last transaction, it may
//! be a write that the power cut tore; but not if the machine has been up ever since the file was last written,
//! because then every write is there in the order it was made. What can't be told apart is a byte that flips in
//! the last transaction of a machine that has restarted since.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::{fs, io, path::Path, time::SystemTime};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// What is wrong with the write-ahead log beside `database`, in words. `Ok(None)`: nothing, or nothing is there.
pub(super) fn damage(database: &Path) -> io::Result<Option<String>> {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    let log = match fs::read(&name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let written = match fs::metadata(&name) {
        // Whoever had the database open has just closed it, and everything is in there.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?.modified()?,
    };
    let torn_is_possible = match (written, boot_time()) {
        (written, Some(boot)) => written < boot,
        (_, None) => true,
    };
    Ok(match examine(&log) {
        State::Whole => None,
        State::Torn if torn_is_possible => None,
        State::Torn | State::Damaged => Some(format!("its write-ahead log {} is damaged", Path::new(&name).display())),
    })
}

/// When this machine was started. `None` where the kernel does not say.
fn boot_time() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Every transaction in it can be read. A beginning of one that never ended may follow.
    Whole,
    /// The last transaction can't be read: a power cut tore it, or a byte has flipped.
    Torn,
    /// A transaction that was complete on disk can't be read any more.
    Damaged,
}

fn examine(log: &[u8]) -> State {
    let Some((header, frames)) = log.split_at_checked(HEADER) else { return State::Whole };
    let page_size = match word(header, 8) {
        // The only size that does not fit.
        1 => 65536,
        size => size as usize,
    };
    let big_endian = word(header, 0) == MAGIC | 1;
    let mut sum = Checksum { big_endian, first: 0, second: 0 };
    sum.add(&header[..24]);
    let known = word(header, 0) & !1 == MAGIC && page_size.is_power_of_two() && (512..=65536).contains(&page_size);
    if !known || !sum.is(header, 24) {
        // A header is written whole and synced before the first frame. Only what was moved into the database
        // already can stand behind one that the power cut tore.
        return if frames.is_empty() { State::Whole } else { State::Torn };
    }
    let salt = &header[16..24];
    let mut frames = frames.chunks_exact(FRAME_HEADER + page_size);
    for frame in frames.by_ref() {
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER..]);
        if frame[8..16] != *salt || !sum.is(frame, 16) {
            // What an earlier round through the file left behind has two other salts, and ends nothing here. A
            // flipped byte changes one of them.
            let ours = |frame: &&[u8]| frame[8..12] == salt[..4] || frame[12..16] == salt[4..];
            let ends = std::iter::once(frame).chain(frames).filter(ours).filter(|frame| word(frame, 4) != 0);
            return match ends.count() {
                0 => State::Whole,
                1 => State::Torn,
                _ => State::Damaged,
            };
        }
    }
    State::Whole
}

/// The running checksum of SQLite's log: two sums over pairs of 32-bit words.
struct Checksum {
    big_endian: bool,
    first: u32,
    second: u32,
}

impl Checksum {
    fn add(&mut self, octets: &[u8]) {
        for pair in octets.chunks_exact(8) {
            let [one, two] = [0, 4].map(|at| {
                let word = word(pair, at);
                if self.big_endian { word } else { word.swap_bytes() }
            });
            self.first = self.first.wrapping_add(one).wrapping_add(self.second);
            self.second = self.second.wrapping_add(two).wrapping_add(self.first);
        }
    }

    fn is(&self, octets: &[u8], at: usize) -> bool {
        word(octets, at) == self.first && word(octets, at + 4) == self.second
    }
}

fn word(octets: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&octets[at..at + 4]);
    u32::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use sqlx::{AnyConnection, Connection};

    use super::*;

    /// A log that SQLite itself has written: three transactions, and no end.
    async fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        sqlx::any::install_default_drivers();
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("a.sqlite");
        let mut connection =
            AnyConnection::connect(&format!("sqlite://{}?mode=rwc", database.display())).await.unwrap();
        for sql in [
            "PRAGMA locking_mode = EXCLUSIVE",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE tea (leaves TEXT)",
            "INSERT INTO tea VALUES ('oolong')",
            "INSERT INTO tea VALUES ('sencha')",
        ] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        }
        let log = std::fs::read(database.with_extension("sqlite-wal")).unwrap();
        // As a process that was killed leaves it: the connection is never closed.
        std::mem::forget(connection);
        (directory, database, log)
    }

    fn frame_size(log: &[u8]) -> usize {
        FRAME_HEADER + word(log, 8) as usize
    }

    /// Where the frames end that end a transaction.
    fn ends(log: &[u8]) -> Vec<usize> {
        let size = frame_size(log);
        (1..=(log.len() - HEADER) / size)
            .map(|n| HEADER + n * size)
            .filter(|end| word(log, end - size + 4) != 0)
            .collect()
    }

    #[tokio::test]
    async fn what_sqlite_wrote_is_whole_and_so_is_any_beginning_of_it() {
        let (_directory, database, log) = written().await;
        assert_eq!(ends(&log).len(), 3);
        assert_eq!(examine(&log), State::Whole);
        assert_eq!(damage(&database).unwrap(), None);
        for length in (0..log.len()).step_by(13) {
            assert_eq!(examine(&log[..length]), State::Whole, "cut after {length} octets");
        }
    }

    #[tokio::test]
    async fn a_flipped_byte_in_any_transaction_but_the_last_is_damage_and_in_the_last_may_be_a_torn_write() {
        let (_directory, _, log) = written().await;
        let last_begins = ends(&log)[1];
        for at in (HEADER..log.len()).step_by(7) {
            let mut flipped = log.clone();
            flipped[at] ^= 0x20;
            let expected = if at < last_begins { State::Damaged } else { State::Torn };
            // Where an end of a transaction is the byte that has flipped, its transaction seems to go on.
            let ends_fewer = (4..8).contains(&((at - HEADER) % frame_size(&log)));
            if !ends_fewer {
                assert_eq!(examine(&flipped), expected, "{at}");
            }
            assert_ne!(examine(&flipped), State::Whole, "{at}");
        }
    }

    #[tokio::test]
    async fn on_a_machine_that_has_been_up_since_a_torn_log_is_a_damaged_one() {
        let (_directory, database, mut log) = written().await;
        *log.last_mut().unwrap() ^= 1;
        std::fs::write(database.with_extension("sqlite-wal"), &log).unwrap();
        let problem = damage(&database).unwrap().unwrap();
        assert!(problem.contains("a.sqlite-wal is damaged"), "{problem}");

        // Written before the machine was started: the power cut may have torn it.
        let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86400);
        std::fs::File::options()
            .write(true)
            .open(database.with_extension("sqlite-wal"))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        assert_eq!(damage(&database).unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
            examine(&octets);
        }
    }
}
