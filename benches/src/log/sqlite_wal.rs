//! How much of SQLite's write-ahead log is not in the database yet, read from the file.
//!
//! The file begins with a header of 32 bytes, which holds the page size and two salts. For each
//! page that was written, a frame follows: a header of 24 bytes with the same salts, and the page.
//! After a checkpoint of the whole log, the next writer starts at the first frame again with new
//! salts. So the frames whose salts equal those of the header were written since then.
//! <https://sqlite.org/fileformat2.html#the_write_ahead_log>
//!
//! Not detected: how many of these frames a checkpoint has copied already, which is recorded only
//! in shared memory. If all frames were copied and nothing was written since, they still count as
//! not copied.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::lane::Pending;

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// The pages in the write-ahead log of the only database in `dir`; nothing if there is no database.
pub(super) fn pending(dir: &Path) -> Option<Pending> {
    let mut names = fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let wal = names.find(|path| path.to_string_lossy().ends_with(".db-wal"))?;
    let bytes = bytes_in(&File::open(wal).ok()?).ok()?;
    (bytes > 0).then_some(Pending { what: "pages in the write-ahead log only", bytes })
}

/// The bytes of the pages since the log started again. An error of the kind `UnexpectedEof` means
/// that the log is empty.
fn bytes_in(wal: &File) -> io::Result<u64> {
    let mut header = [0; HEADER_BYTES as usize];
    wal.read_exact_at(&mut header, 0)?;
    let page_bytes = u64::from(number_at(&header, 8));
    let mut frames = 0;
    let mut frame = [0; FRAME_HEADER_BYTES as usize];
    loop {
        let at = HEADER_BYTES + frames * (FRAME_HEADER_BYTES + page_bytes);
        let is_there = wal.read_exact_at(&mut frame, at).is_ok();
        if !is_there || page_bytes == 0 || frame[8..16] != header[16..24] {
            return Ok(frames * page_bytes);
        }
        frames += 1;
    }
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn what_no_checkpoint_has_copied_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let database = Connection::open(dir.path().join("a.db")).expect("opened");
        let run = |sql: &str| database.execute_batch(sql).expect("it works");
        run("PRAGMA journal_mode = WAL; PRAGMA page_size = 4096; CREATE TABLE t (payload BLOB);");
        run("PRAGMA wal_checkpoint(RESTART);");
        run("INSERT INTO t VALUES (zeroblob(1));");
        let one = pending(dir.path()).expect("a page is not copied").bytes;
        assert_eq!(one, 4096);
        run("INSERT INTO t VALUES (zeroblob(100000));");
        let many = pending(dir.path()).expect("pages are not copied").bytes;
        assert!((100_000..140_000).contains(&many), "{many}");
        run("PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES (zeroblob(1));");
        let after = pending(dir.path()).expect("a page is not copied").bytes;
        assert!(after < 12_000, "{after}");
    }

    #[test]
    fn a_directory_without_a_database_has_no_pending_work() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(pending(dir.path()), None);
        fs::write(dir.path().join("a.db-wal"), "").expect("written");
        assert_eq!(pending(dir.path()), None);
    }
}
