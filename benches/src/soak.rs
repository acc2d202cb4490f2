//! The work `soak`: one log alone for minutes, and its figures over time.
//!
//! The run is divided into intervals of equal length. An interval is one turn of the lane; after it
//! the size of the files on the disk and the memory of this process are read. Only the figures of
//! an interval are stored, so the memory that a run needs depends on the number of its intervals
//! ([`MAX_INTERVALS`] at most), not on its length.
//!
//! In an open loop the batches that wait at the end of an interval are written in the next one.
//!
//! Deliberately absent: a floor, because another lane would share the disk with this one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::background::{Watched, watch_all};
use crate::files::Files;
use crate::lane::{Lane, Stop, Tally};
use crate::log::{LogLane, StoreWriter, check_backends};
use crate::measure::check_time;
use crate::{BenchError, Interval, Place, Progress, Row, Workload};

/// The most intervals of a run.
pub const MAX_INTERVALS: u64 = 3600;

/// The number of intervals if their length is not given.
const INTERVALS: u32 = 60;

/// The shortest interval. On a slow disk a shorter one has hardly more than one sync.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Which log runs, under which workload, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct SoakPlan {
    /// The name of the backend.
    pub backend: String,
    /// The only workload.
    pub workload: Workload,
    /// The time for the whole run, filling the log included.
    pub time: Duration,
    /// The length of an interval; if not given, a sixtieth of the time.
    pub interval: Option<Duration>,
    /// The payload that is written to the log before it is measured, in bytes.
    pub fill: u64,
}

impl SoakPlan {
    /// Refuses a plan that cannot be measured, before anything is written.
    pub fn check(&self) -> Result<(), BenchError> {
        self.workload.check()?;
        check_time(self.time)?;
        check_backends(std::slice::from_ref(&self.backend))?;
        let Some(interval) = self.interval else { return Ok(()) };
        let longest = self.time.as_secs_f64();
        if interval < SHORTEST_INTERVAL || interval > self.time {
            return Err(BenchError::options(
                format!("--interval {} cannot be measured", interval.as_secs_f64()),
                format!("choose from {} to {longest} s", SHORTEST_INTERVAL.as_secs_f64()),
            ));
        }
        let intervals = longest / interval.as_secs_f64();
        if intervals > MAX_INTERVALS as f64 {
            return Err(BenchError::options(
                format!("--interval {} gives {intervals:.0} intervals", interval.as_secs_f64()),
                format!("give at least {:.1}", longest / MAX_INTERVALS as f64),
            ));
        }
        Ok(())
    }

    fn interval(&self) -> Duration {
        self.interval.unwrap_or((self.time / INTERVALS).max(SHORTEST_INTERVAL))
    }
}

/// Runs the log for the whole time and returns its row, which holds the intervals. After a stop,
/// the row holds what was measured until then.
pub fn run(
    plan: &SoakPlan,
    place: &Place,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Vec<Row>, BenchError> {
    plan.check()?;
    let (began, dir) = (Instant::now(), place.work_dir()?);
    progress.begin(&format!("soak: {}", plan.workload.describe()), began + plan.time);
    let mut lane = lane_of(plan, dir.path())?;
    lane.fill(plan.fill, began + plan.time / 2, stop)?;
    let time = plan.time.saturating_sub(began.elapsed());
    Ok(vec![measured(lane, plan, time, stop, progress)?])
}

fn lane_of(plan: &SoakPlan, dir: &Path) -> Result<LogLane<StoreWriter>, BenchError> {
    let writer = StoreWriter::create(&plan.backend, dir, plan.workload.size)?;
    Ok(LogLane::new(writer, &plan.workload)?.keeping_its_queue())
}

/// Runs a lane for this long, and watches it after that. Returns its row.
fn measured(
    lane: impl Lane,
    plan: &SoakPlan,
    time: Duration,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Row, BenchError> {
    let mut lanes = [Watched::new(lane)];
    let length = Length { time, interval: plan.interval() };
    let (total, intervals) = soak(&mut lanes[0], length, stop, progress)?;
    watch_all(&mut lanes, SHORTEST_INTERVAL, stop)?;
    let row = Row::new("soak", &lanes[0].subject(), &plan.workload, &[total]);
    Ok(Row { intervals, ..row.judged(1, lanes[0].marks()) })
}

/// The length of a run and of each of its intervals.
#[derive(Clone, Copy, Debug)]
struct Length {
    time: Duration,
    interval: Duration,
}

/// Runs the lane, and returns the figures of the whole run and of each interval.
fn soak(
    lane: &mut impl Lane,
    length: Length,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<(Tally, Vec<Interval>), BenchError> {
    let (mut total, mut intervals) = (Tally::new(), Vec::new());
    let began = Instant::now();
    while intervals.is_empty() || began.elapsed() < length.time && !stop.is_asked() {
        let left = length.time.saturating_sub(began.elapsed());
        let tally = match lane.turn(length.interval.min(left), stop) {
            Ok(tally) => tally,
            // A write that is not answered after a stop is not a failure of the log.
            Err(_) if stop.is_asked() => break,
            Err(error) => return Err(error),
        };
        // In an open loop a short interval may have no arrival.
        if !tally.samples.is_empty() {
            total.add(&tally);
            intervals.push(interval_of(&tally, began.elapsed(), lane.dir().as_deref()));
            progress.show_figures(&describe(&intervals[intervals.len() - 1]));
        } else if stop.is_asked() {
            break;
        }
        let part = began.elapsed().as_secs_f64() / length.time.as_secs_f64().max(1e-9);
        progress.turn((part.min(1.0) * 1000.0) as u32, 1000);
    }
    if intervals.is_empty() { Err(BenchError::Stopped) } else { Ok((total, intervals)) }
}

fn interval_of(tally: &Tally, end: Duration, dir: Option<&Path>) -> Interval {
    let busy = tally.busy.as_secs_f64();
    Interval {
        end_s: end.as_secs_f64(),
        per_second: if busy > 0.0 { tally.entries as f64 / busy } else { 0.0 },
        p50_us: tally.samples.quantile_us(0.5),
        p99_us: tally.samples.quantile_us(0.99),
        max_us: tally.samples.max_us(),
        samples: tally.samples.len(),
        log_bytes: dir.map_or(0, |dir| Files::under(dir).allocated_bytes()),
        rss_bytes: resident_bytes(),
    }
}

/// The latest figures, for the progress bar.
fn describe(interval: &Interval) -> String {
    let Interval { p50_us, p99_us, per_second, .. } = interval;
    format!("{per_second:.0} entries/s, p50 {p50_us:.0} us, p99 {p99_us:.0} us")
}

/// The resident memory of this process, or 0 if the kernel does not report it.
fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::Subject;
    use crate::lane::{POWER_LOSS, Role};
    use crate::meter::Spent;

    /// A lane whose turns take a millisecond each. Every turn has one latency more than the one
    /// before, and one turn requests a stop.
    #[derive(Default)]
    struct Growing {
        turns: u64,
        stop_in: u64,
        fails_then: bool,
        /// A turn in which nothing arrives.
        empty: u64,
        /// The turn after which it continues to write.
        writes_on_after: u64,
        written: Cell<u64>,
        /// The times of the turns.
        times: Vec<Duration>,
    }

    impl Lane for Growing {
        fn subject(&self) -> Subject {
            Subject {
                role: Role::Store,
                name: "growing".to_owned(),
                durability: POWER_LOSS.to_owned(),
                sync_verb: String::new(),
                members: 1,
            }
        }

        fn marks(&self) -> Vec<String> {
            vec!["its own mark".to_owned()]
        }

        fn spent(&self) -> Spent {
            let more = if self.turns == self.writes_on_after { 4 << 20 } else { 0 };
            self.written.set(self.written.get() + more);
            Spent { written: Some(self.written.get()), ..Spent::none() }
        }

        fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
            std::thread::sleep(Duration::from_millis(1));
            self.turns += 1;
            self.times.push(time);
            assert!(self.turns < 1000, "it continues after the stop");
            let mut tally = Tally::new();
            if self.turns != self.empty {
                tally.samples.record(Duration::from_micros(100 * self.turns), self.turns);
                (tally.entries, tally.busy) = (self.turns, Duration::from_secs(1));
            }
            if self.turns == self.stop_in {
                stop.ask();
                if self.fails_then {
                    return Err(BenchError::failed("stopping", "no answer"));
                }
            }
            Ok(tally)
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn run_lane(lane: &mut Growing) -> Result<(Tally, Vec<Interval>), BenchError> {
        let length = Length { time: HOUR, interval: Duration::from_secs(1) };
        soak(lane, length, &Stop::new(), &mut Progress::silent())
    }

    fn growing(stop_in: u64, fails_then: bool) -> Result<(Tally, Vec<Interval>), BenchError> {
        run_lane(&mut Growing { stop_in, fails_then, ..Growing::default() })
    }

    fn plan(time: Duration, interval: Option<Duration>) -> SoakPlan {
        let workload = Workload { size: 64, batch: 1, clients: 2, rate: None };
        SoakPlan { backend: "memory".to_owned(), workload, time, interval, fill: 0 }
    }

    #[test]
    fn each_interval_has_its_own_figures_and_the_row_those_of_all() {
        let (total, intervals) = growing(3, false).expect("figures");
        assert_eq!(intervals.iter().map(|one| one.samples).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(intervals.iter().map(|one| one.per_second).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        assert!(intervals.windows(2).all(|two| two[0].end_s < two[1].end_s), "{intervals:?}");
        assert!((intervals[1].max_us - 200.0).abs() < 1.0 && intervals[1].rss_bytes > 1 << 20);
        assert_eq!((total.entries, total.samples.len()), (6, 6));
    }

    #[test]
    fn a_stop_keeps_the_intervals_that_were_measured() {
        assert_eq!(growing(4, true).expect("figures").1.len(), 3);
        assert!(matches!(growing(1, true), Err(BenchError::Stopped)));
    }

    #[test]
    fn an_interval_in_which_nothing_arrives_has_no_figures() {
        let mut lane = Growing { stop_in: 3, empty: 2, ..Growing::default() };
        let (total, intervals) = run_lane(&mut lane).expect("figures");
        assert_eq!(intervals.iter().map(|one| one.samples).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(total.entries, 4);
    }

    #[test]
    fn the_last_interval_ends_with_the_run() {
        let mut lane = Growing { stop_in: 1, ..Growing::default() };
        let length = Length { time: Duration::from_secs(1), interval: HOUR };
        soak(&mut lane, length, &Stop::new(), &mut Progress::silent()).expect("figures");
        assert!(lane.times[0] <= length.time, "{:?}", lane.times);
    }

    /// A run without time has one interval; the second turn is the one that is watched.
    #[test]
    fn the_row_has_the_marks_of_the_lane_and_of_its_work_after_the_last_answer() {
        let plan = plan(HOUR, None);
        let measured = |writes_on_after| {
            let lane = Growing { writes_on_after, ..Growing::default() };
            measured(lane, &plan, Duration::ZERO, &Stop::new(), &mut Progress::silent())
        };
        let marks = |writes_on_after| {
            let marks = measured(writes_on_after).expect("figures").marks.into_iter();
            marks.filter(|mark| !mark.starts_with("few ")).collect::<Vec<_>>()
        };
        assert_eq!(marks(99), ["its own mark"]);
        assert_eq!(marks(2).len(), 2);
        assert!(marks(2)[1].starts_with("it worked on after its last answer (4.0 MiB"));
    }

    #[test]
    fn intervals_that_would_be_too_many_or_too_short_are_refused() {
        let check = |time, interval| {
            let plan = plan(Duration::from_secs(time), Some(Duration::from_secs_f64(interval)));
            plan.check().map_err(|error| format!("{error}; {}", error.advice()))
        };
        assert_eq!(check(3600, 1.0), Ok(()));
        let many = check(7200, 1.0).expect_err("too many");
        assert!(many.contains("7200 intervals") && many.contains("at least 2.0"), "{many}");
        for interval in [0.01, 11.0] {
            let error = check(10, interval).expect_err("too short or too long");
            assert!(error.contains("--interval"), "{error}");
        }
        let day = plan(Duration::from_secs(86_400), None);
        assert_eq!(day.interval(), Duration::from_secs(1440));
        assert_eq!(plan(Duration::from_secs(3), None).interval(), SHORTEST_INTERVAL);
    }

    #[cfg(feature = "memory")]
    #[test]
    fn the_row_of_a_soak_has_its_intervals() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let plan = plan(Duration::from_millis(350), Some(Duration::from_millis(100)));
        let rows = run(&plan, &place, &Stop::new(), &mut Progress::silent()).expect("figures");
        assert_eq!((rows.len(), &*rows[0].work), (1, "soak"));
        let intervals = &rows[0].intervals;
        assert!((1..=4).contains(&intervals.len()), "{intervals:?}");
        assert_eq!(intervals.iter().map(|one| one.samples).sum::<u64>(), rows[0].samples);
    }

    /// Far more bytes arrive than can be written, each batch as large as a group.
    #[cfg(feature = "memory")]
    #[test]
    fn batches_that_wait_at_the_end_of_an_interval_are_written_in_the_next_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let workload = Workload { size: 4096, batch: 1024, clients: 1, rate: Some(1e6) };
        let plan = SoakPlan { workload, ..plan(HOUR, None) };
        let mut lane = lane_of(&plan, dir.path()).expect("a log");
        let interval = Duration::from_millis(50);
        let [_, second] = [(); 2].map(|()| lane.turn(interval, &Stop::new()).expect("it works"));
        let longest = second.samples.max_us();
        assert!(longest > 90_000.0, "{longest} us: what waits has arrived in the first interval");
    }

    #[cfg(feature = "file")]
    #[test]
    fn a_log_is_filled_before_a_soak_as_far_as_there_is_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let plan = plan(Duration::from_millis(200), Some(Duration::from_millis(100)));
        let plan = SoakPlan { backend: "file".to_owned(), fill: 1 << 40, ..plan };
        let rows = run(&plan, &place, &Stop::new(), &mut Progress::silent()).expect("figures");
        let marks = &rows[0].marks;
        assert!(marks.iter().any(|mark| mark.contains("of 1048576 MiB")), "{marks:?}");
    }

    #[cfg(feature = "file")]
    #[test]
    fn the_size_of_the_logs_files_is_in_each_interval() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let plan = plan(Duration::from_millis(200), Some(Duration::from_millis(100)));
        let plan = SoakPlan { backend: "file".to_owned(), ..plan };
        let rows = run(&plan, &place, &Stop::new(), &mut Progress::silent()).expect("figures");
        assert!(rows[0].intervals.iter().all(|one| one.log_bytes > 0), "{:?}", rows[0].intervals);
    }
}
