//! The work `log`: entries are appended to one log, each group durable before the next.
//!
//! Clients submit batches. All batches that wait are written as one group with one sync, up to
//! [`MAX_BATCH_BYTES`], as a member does with its store. The driver is a single thread, so that the
//! log is measured and not the wake-ups of threads; `commit` measures those too.
//!
//! A log is kept at a bounded length: from [`KEPT_BYTES`] of payload on, some groups carry a purge,
//! and its time counts as part of the write.
//!
//! Deliberately absent: readers beside the writer, and recovery (the criterion benches have them).

mod library;
mod plan;
mod queue;
mod raw;
mod sqlite_wal;
mod store;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kontiki::storage::MAX_BATCH_BYTES;
use tokio::runtime::Runtime;

use crate::lane::{Lane, Pending, Stop, Subject, Tally};
use crate::meter::Spent;
use crate::workload::MAX_CLIENTS;
use crate::{BenchError, Workload};
pub use plan::{LogPlan, all_logs, check_backends, durable_of, log_lanes, resolve, run};
use queue::Queue;
pub use raw::RawWriter;
pub use store::StoreWriter;

/// The payload that a measured log holds, in bytes: as much as a segment of the file log.
pub const KEPT_BYTES: u64 = 64 << 20;

/// The payload that is written to a log before it is measured, in bytes. It is enough that segments
/// are recycled.
pub const FILL_BYTES: u64 = 192 << 20;

/// The payload that is purged at a time, in bytes.
pub const PURGE_STEP_BYTES: u64 = 8 << 20;

/// A writer that makes groups of entries durable, one after another.
#[async_trait::async_trait]
pub trait Writer: Send {
    /// The subject.
    fn subject(&self) -> Subject;

    /// Forms a group of this many entries. This time belongs to the clients, not to the log.
    fn prepare(&mut self, entries: u64);

    /// Writes the group, and waits until it is durable.
    async fn write(&mut self) -> Result<(), BenchError>;

    /// The directory of its files, which nothing else uses.
    fn dir(&self) -> Option<PathBuf> {
        None
    }

    /// The work that it has postponed, if it can report that.
    fn pending(&self) -> Option<Pending> {
        None
    }
}

#[async_trait::async_trait]
impl Writer for Box<dyn Writer> {
    fn subject(&self) -> Subject {
        self.as_ref().subject()
    }

    fn prepare(&mut self, entries: u64) {
        self.as_mut().prepare(entries);
    }

    async fn write(&mut self) -> Result<(), BenchError> {
        self.as_mut().write().await
    }

    fn dir(&self) -> Option<PathBuf> {
        self.as_ref().dir()
    }

    fn pending(&self) -> Option<Pending> {
        self.as_ref().pending()
    }
}

/// A log with its clients.
pub struct LogLane<W> {
    writer: W,
    marks: Vec<String>,
    workload: Workload,
    runtime: Runtime,
    /// The batches that wait from one turn to the next, if they are kept.
    queue: Kept,
}

/// Whether the batches that wait at the end of a turn are written in the next one.
enum Kept {
    /// Each turn begins with an empty queue, because other lanes ran in between.
    No,
    Yes(Option<Queue>),
}

impl<W: Writer> LogLane<W> {
    /// This writer under this workload.
    pub fn new(writer: W, workload: &Workload) -> Result<LogLane<W>, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| BenchError::failed("starting a runtime", error))?;
        let (marks, workload) = (Vec::new(), workload.clone());
        Ok(LogLane { writer, marks, workload, runtime, queue: Kept::No })
    }

    /// The same lane for turns that follow each other without a pause.
    pub fn keeping_its_queue(self) -> LogLane<W> {
        LogLane { queue: Kept::Yes(None), ..self }
    }
}

impl LogLane<StoreWriter> {
    /// Fills the log, so that a log in use is measured: writes this many bytes, or fewer if the
    /// deadline comes first. Returns the number of bytes written.
    ///
    /// A log that could not be filled gets a mark on its row, because its segments or tables are
    /// still being created while it is measured.
    pub fn fill(&mut self, bytes: u64, until: Instant, stop: &Stop) -> Result<u64, BenchError> {
        let filled = self.runtime.block_on(self.writer.fill(bytes, until, stop))?;
        if filled < bytes {
            let (filled, bytes) = (filled >> 20, bytes >> 20);
            self.marks.push(format!("filled incompletely ({filled} of {bytes} MiB)"));
        }
        Ok(filled)
    }
}

impl<W: Writer> Lane for LogLane<W> {
    fn subject(&self) -> Subject {
        self.writer.subject()
    }

    fn marks(&self) -> Vec<String> {
        self.marks.clone()
    }

    fn dir(&self) -> Option<PathBuf> {
        self.writer.dir()
    }

    fn pending(&self) -> Option<Pending> {
        self.writer.pending()
    }

    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
        let LogLane { writer, workload, runtime, queue, .. } = self;
        let turn = Turn { began: Instant::now(), time, stop };
        match queue {
            Kept::Yes(queue) => {
                let queue = queue.get_or_insert_with(|| Queue::new(workload, turn.began));
                runtime.block_on(run_turn(writer, workload, queue, turn))
            }
            Kept::No => {
                let mut queue = Queue::new(workload, turn.began);
                let mut tally = runtime.block_on(run_turn(writer, workload, &mut queue, turn))?;
                // The last arrival counts with the distance to the next one, too.
                tally.busy = tally.busy.max(queue.span());
                Ok(tally)
            }
        }
    }
}

/// The most batches in one group. In an open loop it is not bounded by the number of clients.
fn most_batches(workload: &Workload) -> u64 {
    let bytes = workload.batch * workload.size as u64;
    let waiting = if workload.rate.is_some() { MAX_CLIENTS } else { workload.clients };
    (MAX_BATCH_BYTES / bytes.max(1)).clamp(1, waiting)
}

/// The start and the length of a turn.
struct Turn<'a> {
    began: Instant,
    time: Duration,
    stop: &'a Stop,
}

async fn run_turn(
    writer: &mut impl Writer,
    workload: &Workload,
    queue: &mut Queue,
    Turn { began, time, stop }: Turn<'_>,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::new();
    let before = Spent::now();
    let most = most_batches(workload);
    while began.elapsed() < time && !(stop.is_asked() && tally.writes > 0) {
        let group = queue.take(most, began + time, stop);
        if group.is_empty() {
            break;
        }
        let batches: u64 = group.iter().map(|(_, count)| count).sum();
        let entries = batches * workload.batch;
        writer.prepare(entries);
        let start = Instant::now();
        writer.write().await?;
        let end = Instant::now();
        for (handed_in, count) in &group {
            tally.samples.record(end - handed_in.unwrap_or(start), *count);
        }
        queue.answered(batches, start);
        tally.entries += entries;
        tally.written_entries += entries;
        tally.writes += 1;
    }
    // The time is wall-clock time: it includes forming the groups, and the time between the
    // arrivals of an open loop.
    tally.busy = began.elapsed();
    tally.spent = Spent::now() - before;
    if workload.rate.is_some() {
        // Waiting for arrivals is not work of the log.
        tally.spent.cpu = Duration::ZERO;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{POWER_LOSS, Role};

    struct Counting(Vec<u64>);

    /// A writer for which forming a group takes time and writing it takes none.
    struct SlowToPrepare;

    #[async_trait::async_trait]
    impl Writer for SlowToPrepare {
        fn subject(&self) -> Subject {
            Counting(Vec::new()).subject()
        }

        fn prepare(&mut self, _entries: u64) {
            std::thread::sleep(Duration::from_millis(1));
        }

        async fn write(&mut self) -> Result<(), BenchError> {
            Ok(())
        }
    }

    #[test]
    fn the_time_to_form_a_group_counts_in_the_entries_per_second() {
        let workload = Workload { size: 1, batch: 1, clients: 1, rate: None };
        let mut lane = LogLane::new(SlowToPrepare, &workload).expect("a runtime");
        let tally = lane.turn(Duration::from_millis(20), &Stop::new()).expect("it works");
        let least = Duration::from_millis(1) * tally.writes as u32;
        assert!(tally.busy >= least, "{} writes in {:?}", tally.writes, tally.busy);
    }

    #[async_trait::async_trait]
    impl Writer for Counting {
        fn subject(&self) -> Subject {
            Subject {
                role: Role::Store,
                name: "counting".to_owned(),
                durability: POWER_LOSS.to_owned(),
                sync_verb: "none".to_owned(),
                members: 1,
            }
        }

        fn prepare(&mut self, entries: u64) {
            self.0.push(entries);
        }

        async fn write(&mut self) -> Result<(), BenchError> {
            Ok(())
        }
    }

    fn groups(workload: &Workload) -> Vec<u64> {
        let mut lane = LogLane::new(Counting(Vec::new()), workload).expect("a runtime");
        let tally = lane.turn(Duration::from_millis(2), &Stop::new()).expect("it works");
        assert_eq!(tally.writes, lane.writer.0.len() as u64);
        assert_eq!(tally.entries, lane.writer.0.iter().sum::<u64>());
        lane.writer.0
    }

    #[test]
    fn all_waiting_batches_form_one_group() {
        let workload = Workload { size: 256, batch: 4, clients: 16, rate: None };
        assert!(groups(&workload).iter().all(|entries| *entries == 64));
    }

    #[test]
    fn a_group_is_not_larger_than_a_member_would_write() {
        let workload = Workload { size: 1 << 20, batch: 1, clients: 6, rate: None };
        assert!(groups(&workload).iter().all(|entries| *entries == 4));
        assert_eq!(most_batches(&Workload { size: 8 << 20, batch: 9, clients: 6, rate: None }), 1);
    }

    #[test]
    fn a_stopped_lane_still_writes_once() {
        let workload = Workload { size: 1, batch: 1, clients: 1, rate: None };
        let mut lane = LogLane::new(Counting(Vec::new()), &workload).expect("a runtime");
        let stop = Stop::new();
        stop.ask();
        let tally = lane.turn(Duration::from_secs(3600), &stop).expect("it works");
        assert_eq!(tally.writes, 1);
    }

    #[test]
    fn an_open_loop_follows_its_arrivals_and_its_turn_ends_in_time() {
        let began = Instant::now();
        let workload = Workload { size: 1, batch: 3, clients: 1, rate: Some(0.01) };
        let mut lane = LogLane::new(Counting(Vec::new()), &workload).expect("a runtime");
        let tally = lane.turn(Duration::from_millis(5), &Stop::new()).expect("it works");
        assert_eq!((tally.writes, tally.entries), (1, 3), "the next arrives in 100 seconds");
        assert_eq!(tally.busy, Duration::from_secs(100), "one arrival, one distance");
        assert!(began.elapsed() < Duration::from_secs(80));
    }

    #[test]
    fn turns_that_follow_one_another_lose_no_arrival() {
        let workload = Workload { size: 1, batch: 1, clients: 1, rate: Some(10_000.0) };
        let lane = LogLane::new(SlowToPrepare, &workload).expect("a runtime");
        let (mut lane, began) = (lane.keeping_its_queue(), Instant::now());
        let mut longest = Duration::ZERO;
        let mut entries = 0;
        for _ in 0..5 {
            let tally = lane.turn(Duration::from_millis(4), &Stop::new()).expect("it works");
            entries += tally.entries;
            longest = longest.max(Duration::from_secs_f64(tally.samples.max_us() / 1e6));
        }
        let Kept::Yes(Some(queue)) = &lane.queue else { panic!("the queue is kept") };
        assert_eq!(entries + queue.len() as u64, (queue.span().as_secs_f64() * 1e4).round() as u64);
        assert!(longest <= began.elapsed());
    }

    #[test]
    fn batches_that_arrived_meanwhile_form_one_group() {
        let open = Workload { size: 1 << 20, batch: 1, clients: 1, rate: Some(1000.0) };
        assert_eq!(most_batches(&open), 4);
        assert_eq!(most_batches(&Workload { rate: None, ..open }), 1);
    }
}
