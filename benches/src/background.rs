//! Detects work that a subject does in the background, while another lane is measured or after the
//! last turn. Such work is in no figure of the row, so the row is marked.
//!
//! There are three observations. The first two work for any subject:
//!
//! 1. *Files that change between turns.* At the end of each turn the lane's files are listed, and
//!    compared when its next turn starts. No other lane writes to them, so a change is caused by
//!    this lane.
//! 2. *Work after the last answer.* After the rounds each lane has one more turn that is not
//!    counted. The processor time and the bytes written in a short pause before that turn are
//!    compared with those in a pause after it.
//! 3. *Work that the subject declares* ([`Lane::pending`]): pages of a write-ahead log that are not
//!    in the database yet, tables that wait for a compaction.
//!
//! Not detected: writes in place to files below 1 MiB, and background work that neither changes a
//! file between turns nor runs at the end.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::BenchError;
use crate::files::Files;
use crate::lane::{Lane, Stop, Subject, Tally};
use crate::meter::Spent;

/// If fewer bytes than this were allocated or freed between two turns, that does not count as a
/// change. A log may write a header on its own thread.
const LEAST_CHANGE_BYTES: u64 = 64 << 10;

/// Work after the last answer is reported from this many bytes on, or from this share of a
/// processor.
const LEAST_WRITTEN_BYTES: u64 = 64 << 10;
const LEAST_CPU: f64 = 0.2;

/// Postponed work is reported from this share of what the lane wrote in its turns.
const LEAST_PENDING: f64 = 0.05;

/// The shortest and the longest time for which a lane is watched.
const SHORTEST_WINDOW: Duration = Duration::from_millis(5);
const LONGEST_WINDOW: Duration = Duration::from_millis(50);

/// The most pauses before a lane's last turn. Pauses end with the first one in which nothing runs.
const MOST_PAUSES: u32 = 4;

/// A lane whose background work is observed.
pub struct Watched<L> {
    lane: L,
    /// The lane's files at the end of its last turn.
    files: Option<Files>,
    pauses: u32,
    changed_pauses: u32,
    changed_bytes: u64,
    /// The bytes that were written in the lane's turns.
    written_bytes: u64,
    after: Option<String>,
}

impl<L: Lane> Watched<L> {
    /// A lane that was not observed yet.
    pub fn new(lane: L) -> Watched<L> {
        Watched {
            lane,
            files: None,
            pauses: 0,
            changed_pauses: 0,
            changed_bytes: 0,
            written_bytes: 0,
            after: None,
        }
    }

    /// Compares the files with those at the end of the previous turn, if there was one.
    fn end_pause(&mut self) {
        let Some((before, dir)) = self.files.take().zip(self.lane.dir()) else { return };
        let change = Files::under(&dir).changed_since(&before);
        self.pauses += 1;
        if change.bytes >= LEAST_CHANGE_BYTES || change.rewritten > 0 {
            self.changed_pauses += 1;
            self.changed_bytes += change.bytes;
        }
    }

    /// Takes one more turn, and checks for work that continues after it.
    fn watch(&mut self, turn: Duration, stop: &Stop) -> Result<(), BenchError> {
        let window = (turn / 2).clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        let mut before = self.work_in(window);
        for _ in 1..MOST_PAUSES {
            if !is_work(before, window) || stop.is_asked() {
                break;
            }
            before = self.work_in(window);
        }
        self.turn(turn, stop)?;
        // Work that another lane left running shows both before this turn and after it.
        let more = self.work_in(window) - before;
        if is_work(more, window) && !stop.is_asked() {
            self.after = Some(describe(more, window));
        }
        Ok(())
    }

    /// What the processes spend while no lane has a turn.
    fn work_in(&self, window: Duration) -> Spent {
        let (began, before) = (Instant::now(), self.lane.spent());
        thread::sleep(window);
        let spent = self.lane.spent() - before;
        // If this thread wakes late, the pause is longer and would count more.
        let longer = began.elapsed().as_secs_f64() / window.as_secs_f64();
        Spent { cpu: spent.cpu.div_f64(longer.max(1.0)), ..spent }
    }

    fn pending(&self) -> Option<String> {
        let pending = self.lane.pending()?;
        let least = (self.written_bytes as f64 * LEAST_PENDING) as u64;
        (pending.bytes > least)
            .then(|| format!("{} ({:.1} MiB)", pending.what, mebibytes(pending.bytes)))
    }
}

impl<L: Lane> Lane for Watched<L> {
    fn subject(&self) -> Subject {
        self.lane.subject()
    }

    fn marks(&self) -> Vec<String> {
        let mut marks = self.lane.marks();
        if self.changed_pauses > 0 {
            marks.push(format!(
                "its files changed between its turns ({} of {} pauses, {:.1} MiB)",
                self.changed_pauses,
                self.pauses,
                mebibytes(self.changed_bytes),
            ));
        }
        marks.extend(self.after.clone());
        marks.extend(self.pending());
        marks
    }

    fn dir(&self) -> Option<PathBuf> {
        self.lane.dir()
    }

    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
        self.end_pause();
        let tally = self.lane.turn(time, stop)?;
        self.written_bytes += tally.spent.written.unwrap_or(0);
        self.files = self.lane.dir().map(|dir| Files::under(&dir));
        Ok(tally)
    }
}

/// Watches each lane once after the rounds, one lane at a time.
pub fn watch_all<L: Lane>(
    lanes: &mut [Watched<L>],
    turn: Duration,
    stop: &Stop,
) -> Result<(), BenchError> {
    for lane in lanes {
        if stop.is_asked() {
            return Ok(());
        }
        match lane.watch(turn, stop) {
            // The rounds are over, so a failure here must not discard the figures.
            Err(_) if stop.is_asked() => return Ok(()),
            watched => watched?,
        }
    }
    Ok(())
}

fn is_work(spent: Spent, window: Duration) -> bool {
    let cpu = spent.cpu.as_secs_f64() / window.as_secs_f64();
    spent.written.unwrap_or(0) >= LEAST_WRITTEN_BYTES || cpu >= LEAST_CPU
}

fn describe(spent: Spent, window: Duration) -> String {
    format!(
        "it worked on after its last answer ({:.1} MiB written, {:.0} ms of processor time in \
         {} ms)",
        mebibytes(spent.written.unwrap_or(0)),
        spent.cpu.as_secs_f64() * 1000.0,
        window.as_millis(),
    )
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::lane::{POWER_LOSS, Pending, Role, Schedule, interleave};

    /// What a planted lane leaves unfinished at the end of its turn.
    #[derive(Clone, Copy, PartialEq)]
    enum Leaves {
        Nothing,
        /// Each reading of the counters shows more processor time, or more bytes.
        Computing,
        Writing,
        /// The lane declares this many bytes as pending.
        Declared(u64),
        /// A real thread that writes to a file.
        Thread,
    }

    /// What happens in the turn of a planted lane.
    #[derive(Clone, Copy, Default)]
    struct Turn {
        asks_to_stop: bool,
        fails: bool,
    }

    struct Planted {
        leaves: Leaves,
        turn: Turn,
        dir: PathBuf,
        /// The values of the counters, and whether each reading adds to them.
        spent: Cell<Spent>,
        is_busy: bool,
        is_over: Arc<AtomicBool>,
        threads: Vec<thread::JoinHandle<()>>,
    }

    impl Planted {
        fn new(leaves: Leaves, dir: &Path) -> Planted {
            Planted {
                leaves,
                turn: Turn::default(),
                dir: dir.to_owned(),
                spent: Cell::new(Spent::none()),
                is_busy: false,
                is_over: Arc::new(AtomicBool::new(false)),
                threads: Vec::new(),
            }
        }

        fn start_thread(&mut self) {
            let (file, is_over) = (self.dir.join("file"), Arc::clone(&self.is_over));
            self.threads.push(thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    fs::write(&file, vec![7; 4 << 20]).expect("written");
                }
            }));
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            self.is_over.store(true, Ordering::Relaxed);
            self.threads.drain(..).for_each(|thread| thread.join().expect("it ends"));
        }
    }

    impl Lane for Planted {
        fn subject(&self) -> Subject {
            Subject {
                role: Role::Store,
                name: "planted".to_owned(),
                durability: POWER_LOSS.to_owned(),
                sync_verb: String::new(),
                members: 1,
            }
        }

        fn dir(&self) -> Option<PathBuf> {
            Some(self.dir.clone())
        }

        fn pending(&self) -> Option<Pending> {
            let Leaves::Declared(bytes) = self.leaves else { return None };
            Some(Pending { what: "tables that are not compacted", bytes })
        }

        fn spent(&self) -> Spent {
            let more = match self.leaves {
                _ if !self.is_busy => Spent::none(),
                Leaves::Computing => Spent { cpu: Duration::from_secs(3600), ..Spent::none() },
                Leaves::Writing => Spent { written: Some(4 << 20), ..Spent::none() },
                Leaves::Thread => return Spent::now(),
                Leaves::Nothing | Leaves::Declared(_) => Spent::none(),
            };
            self.spent.set(self.spent.get() + more);
            self.spent.get()
        }

        fn turn(&mut self, _time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
            self.is_busy = true;
            if self.turn.asks_to_stop {
                stop.ask();
            }
            if self.turn.fails {
                return Err(BenchError::failed("writing", "no answer"));
            }
            if self.leaves == Leaves::Thread {
                self.start_thread();
            }
            let mut tally = Tally::new();
            tally.spent.written = Some(10 << 20);
            Ok(tally)
        }
    }

    /// Runs a round of one turn for each lane, and calls `between` after each turn.
    fn marks_of(leaves: Leaves, rounds: u32, between: &dyn Fn(&Path)) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut lanes = vec![Watched::new(Planted::new(leaves, dir.path()))];
        let schedule = Schedule { rounds, turns: 1, time: Duration::ZERO };
        interleave(&mut lanes, schedule, &Stop::new(), &mut |_, _| between(dir.path()))
            .expect("nothing fails");
        lanes[0].marks()
    }

    /// The marks of a lane that is watched after its rounds.
    fn marks_after(leaves: Leaves, is_busy_before: bool) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut lane = Planted::new(leaves, dir.path());
        lane.is_busy = is_busy_before;
        let mut lanes = vec![Watched::new(lane)];
        watch_all(&mut lanes, Duration::from_millis(10), &Stop::new()).expect("nothing fails");
        lanes[0].marks()
    }

    #[test]
    fn a_lane_that_works_on_after_its_last_answer_is_marked() {
        let marks = marks_after(Leaves::Writing, false);
        assert_eq!(marks.len(), 1, "{marks:?}");
        assert!(marks[0].starts_with("it worked on after its last answer (4.0 MiB"), "{marks:?}");
        let marks = marks_after(Leaves::Computing, false);
        assert!(marks.iter().any(|mark| mark.contains("last answer (0.0 MiB")), "{marks:?}");
        assert_eq!(marks_after(Leaves::Nothing, false), [""; 0]);
    }

    /// Watches a lane, and then one that is idle: the marks of the first, whether the second took a
    /// turn, and whether the figures are kept.
    fn watch_two(turn: Turn, stop: &Stop) -> (Vec<String>, bool, bool) {
        let dir = tempfile::tempdir().expect("a directory");
        let [mut first, second] =
            [Leaves::Writing, Leaves::Nothing].map(|leaves| Planted::new(leaves, dir.path()));
        first.turn = turn;
        let mut lanes = [first, second].map(Watched::new);
        let watched = watch_all(&mut lanes, Duration::from_millis(10), stop);
        (lanes[0].marks(), lanes[1].lane.is_busy, watched.is_ok())
    }

    #[test]
    fn a_stop_ends_the_watching_and_keeps_the_figures() {
        let asks_to_stop = true;
        for fails in [false, true] {
            let stopped = watch_two(Turn { asks_to_stop, fails }, &Stop::new());
            assert_eq!(stopped, (Vec::new(), false, true), "its last turn was cut short");
        }
        let stop = Stop::new();
        stop.ask();
        assert_eq!(watch_two(Turn::default(), &stop), (Vec::new(), false, true));
        let (marks, is_next_watched, is_ok) = watch_two(Turn::default(), &Stop::new());
        assert_eq!((marks.len(), is_next_watched, is_ok), (1, true, true));
        let fails = Turn { fails: true, ..Turn::default() };
        assert!(!watch_two(fails, &Stop::new()).2, "a failure without a stop");
    }

    #[test]
    fn work_that_another_lane_left_running_is_not_this_lanes() {
        assert_eq!(marks_after(Leaves::Writing, true), [""; 0]);
    }

    /// The kernel's counters for this process show a thread of the lane. One observation may miss
    /// it if no processor is free, or if another test writes more before the turn than after it.
    #[test]
    fn a_thread_that_continues_to_write_is_found() {
        let is_seen = |marks: Vec<String>| marks.iter().any(|mark| mark.contains("last answer"));
        assert!((0..100).any(|_| is_seen(marks_after(Leaves::Thread, false))));
    }

    #[test]
    fn a_lane_whose_files_change_between_its_turns_is_marked() {
        let marks = marks_of(Leaves::Nothing, 3, &|dir| {
            let name = fs::read_dir(dir).expect("there").count().to_string();
            fs::write(dir.join(name), vec![7; 1 << 20]).expect("written");
        });
        assert_eq!(marks, ["its files changed between its turns (3 of 3 pauses, 3.0 MiB)"]);
        assert_eq!(marks_of(Leaves::Nothing, 3, &|_| {}), [""; 0]);
    }

    #[test]
    fn a_lane_that_postpones_much_of_its_work_is_marked() {
        let declared = |bytes| marks_of(Leaves::Declared(bytes), 1, &|_| {});
        assert_eq!(declared(8 << 20), ["tables that are not compacted (8.0 MiB)"]);
        assert_eq!(declared(1 << 20), [""; 0], "a twentieth of 20 MiB");
    }
}
