//! Measures workloads: for each one the lanes are created, run in turns, and dropped.
//!
//! The time covers everything, so creating the lanes reduces the time of the turns. The turns get
//! at least half of it, so code that fills a log must check the deadline.

use std::time::{Duration, Instant};

use crate::background::{Watched, watch_all};
use crate::lane::{Lane, Lanes, Role, Schedule, Stop, Tally, interleave};
use crate::{BenchError, Progress, Row, Workload};

/// The longest measurement: a week.
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The name in the rows.
    pub name: &'a str,
    /// The workloads, one after another.
    pub workloads: &'a [Workload],
    /// The time for all of them.
    pub time: Duration,
}

/// Creates the lanes of a workload.
pub type MakeLanes<'m, 'a> =
    dyn FnMut(&Workload, &mut Preparation) -> Result<Lanes<'a>, BenchError> + 'm;

/// The preparation of the lanes for one workload.
pub struct Preparation<'a> {
    /// When the preparation should end.
    pub until: Instant,
    /// The stop flag. A preparation that takes long must check it.
    pub stop: &'a Stop,
    progress: &'a mut Progress,
}

impl Preparation<'_> {
    /// The deadline of one lane, when several are still to be created.
    pub fn until_next(&self, still: usize) -> Instant {
        let now = Instant::now();
        now + self.until.saturating_duration_since(now) / still.max(1) as u32
    }

    /// Shows the user a message about the figures that follow.
    pub fn note(&self, text: &str) {
        self.progress.note(text);
    }
}

/// Refuses a time in which nothing can be measured, or that is too long.
pub fn check_time(time: Duration) -> Result<(), BenchError> {
    let seconds = time.as_secs_f64();
    match time {
        Duration::ZERO => Err(BenchError::options(
            "--seconds 0 leaves no time",
            "give the seconds that everything together may take",
        )),
        time if time > MAX_TIME => Err(BenchError::options(
            format!("--seconds {seconds} is more than a week"),
            format!("give at most {}", MAX_TIME.as_secs()),
        )),
        _ => Ok(()),
    }
}

/// Measures the lanes that `lanes` creates for each workload. After an early stop the result has
/// the finished workloads, and the complete rounds of the last one.
pub fn measure<'a>(
    work: Work,
    stop: &Stop,
    progress: &mut Progress,
    lanes: &mut MakeLanes<'_, 'a>,
) -> Result<Vec<Row>, BenchError> {
    let (began, parts) = (Instant::now(), work.workloads.len() as u32);
    let mut rows = Vec::new();
    for (part, workload) in (0..).zip(work.workloads) {
        progress.begin(&workload.describe(), began + work.time);
        let left = work.time.saturating_sub(began.elapsed());
        let share = Share { all: left / (parts - part), least: work.time / (2 * parts) };
        match measure_one(work.name, workload, share, stop, progress, lanes) {
            Ok(more) => rows.extend(more),
            Err(BenchError::Stopped) if !rows.is_empty() => break,
            Err(error) => return Err(error),
        }
        if stop.is_asked() {
            break;
        }
    }
    Ok(rows)
}

fn measure_one<'a>(
    work: &str,
    workload: &Workload,
    share: Share,
    stop: &Stop,
    progress: &mut Progress,
    lanes: &mut MakeLanes<'_, 'a>,
) -> Result<Vec<Row>, BenchError> {
    let began = Instant::now();
    let until = began + share.least;
    let lanes = lanes(workload, &mut Preparation { until, stop, progress: &mut *progress })?;
    let mut lanes: Vec<_> = lanes.into_iter().map(Watched::new).collect();
    let schedule = Schedule::of(share.of_turns(began.elapsed()));
    let report = &mut |over, all| progress.turn(over, all);
    let rounds = interleave(&mut lanes, schedule, stop, report)?;
    let turn = schedule.turn_of(lanes.len());
    watch_all(&mut lanes, turn, stop)?;
    Ok(rows_of(work, workload, &lanes, &rounds, schedule.rounds))
}

/// The share of the time for one workload.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// The time that is left for the workload, its preparation included.
    all: Duration,
    /// The time of its turns, however long the preparation took; and the limit for the turns.
    least: Duration,
}

impl Share {
    fn of_turns(&self, preparation: Duration) -> Duration {
        self.all.saturating_sub(preparation).max(self.least)
    }
}

/// A row for each lane, compared with the floor, if there is one.
fn rows_of(
    work: &str,
    workload: &Workload,
    lanes: &[impl Lane],
    rounds: &[Vec<Tally>],
    rounds_planned: u32,
) -> Vec<Row> {
    let judged = lanes.iter().zip(rounds).map(|(lane, rounds)| {
        let row = Row::new(work, &lane.subject(), workload, rounds);
        row.judged(rounds_planned, lane.marks())
    });
    let rows: Vec<Row> = judged.collect();
    let floor = fastest_floor(&rows).cloned();
    let compared = |row: Row| match &floor {
        Some(floor) => row.compared_with(floor),
        None => row,
    };
    rows.into_iter().map(compared).collect()
}

/// The floor of the ratios: the fastest way to write to this disk, of those measured in this run.
fn fastest_floor(rows: &[Row]) -> Option<&Row> {
    let floors = rows.iter().filter(|row| row.role == Role::Floor && row.p50_us > 0.0);
    floors.min_by(|one, other| one.p50_us.total_cmp(&other.p50_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subject;
    use crate::lane::POWER_LOSS;

    /// Sets the time that all turns may take together.
    struct Timed<'a>(&'a mut Duration);

    impl Lane for Timed<'_> {
        fn subject(&self) -> Subject {
            Subject {
                role: Role::Store,
                name: "timed".to_owned(),
                durability: POWER_LOSS.to_owned(),
                sync_verb: String::new(),
                members: 1,
            }
        }

        fn turn(&mut self, time: Duration, _stop: &Stop) -> Result<Tally, BenchError> {
            *self.0 += time;
            Ok(Tally::new())
        }
    }

    /// A lane whose writes take this many microseconds each.
    struct Taking(Role, &'static str, u64);

    impl Lane for Taking {
        fn subject(&self) -> Subject {
            Subject {
                role: self.0,
                name: self.1.to_owned(),
                durability: POWER_LOSS.to_owned(),
                sync_verb: String::new(),
                members: 1,
            }
        }

        fn turn(&mut self, _time: Duration, _stop: &Stop) -> Result<Tally, BenchError> {
            let mut tally = Tally::new();
            tally.samples.record(Duration::from_micros(self.2), 1);
            Ok(tally)
        }
    }

    #[test]
    fn ratios_use_the_fastest_way_to_write_in_any_order_of_the_lanes() {
        let workloads = Workload::grid(&[256], &[1], &[1]);
        let work = Work { name: "log", workloads: &workloads, time: Duration::from_millis(1) };
        let rows = measure(work, &Stop::new(), &mut Progress::silent(), &mut |_, _| {
            let lane = |role, name, micros| Box::new(Taking(role, name, micros)) as Box<dyn Lane>;
            Ok(vec![
                lane(Role::Floor, "buffered", 100),
                lane(Role::Floor, "direct", 80),
                lane(Role::Store, "file", 88),
                lane(Role::Floor, "append", 150),
            ])
        });
        let rows = rows.expect("nothing fails");
        assert!(rows.iter().all(|row| row.floor.as_deref() == Some("direct")), "{rows:?}");
        assert!(rows[2].ratio.is_some_and(|ratio| (ratio - 1.1).abs() < 0.01), "{rows:?}");
    }

    #[test]
    fn the_time_includes_preparations_and_half_of_it_is_for_the_turns() {
        let share = Share { all: Duration::from_secs(8), least: Duration::from_secs(4) };
        let of_turns = |preparation| share.of_turns(Duration::from_secs(preparation)).as_secs();
        assert_eq!([0, 1, 4, 5, 100].map(of_turns), [8, 7, 4, 4, 4]);
    }

    #[test]
    fn turns_and_preparations_together_take_the_time() {
        let workloads = Workload::grid(&[1], &[1], &[1, 2]);
        let work = Work { name: "log", workloads: &workloads, time: Duration::from_secs(7200) };
        let (stop, mut times) = (Stop::new(), [Duration::ZERO; 2]);
        let mut left = times.iter_mut();
        let began = Instant::now();
        let rows = measure(work, &stop, &mut Progress::silent(), &mut |_, ready| {
            let most = ready.until.saturating_duration_since(began);
            assert!((1800..=1860).contains(&most.as_secs()), "half of an hour: {most:?}");
            assert!(ready.until_next(2) < ready.until);
            let time = left.next().expect("two workloads");
            Ok(vec![Box::new(Timed(time)) as Box<dyn Lane>])
        });
        assert_eq!(rows.expect("nothing fails").len(), 2);
        // The turns themselves take no time here, so the second workload has the time that the
        // first one left. One part of 27 is the pause in which background work is observed.
        assert!((3410..=3467).contains(&times[0].as_secs()), "{times:?}");
        assert!((6870..=6934).contains(&times[1].as_secs()), "{times:?}");
    }

    #[test]
    fn a_stop_during_a_preparation_keeps_what_was_measured_before() {
        let workloads = Workload::grid(&[1], &[1], &[1, 2]);
        let work = Work { name: "log", workloads: &workloads, time: Duration::from_millis(2) };
        let stopped_at = |part: usize| {
            let (stop, mut times) = (Stop::new(), [Duration::ZERO; 2]);
            let mut left = times.iter_mut().enumerate();
            measure(work, &stop, &mut Progress::silent(), &mut |_, ready| {
                let (place, time) = left.next().expect("two workloads");
                if place == part {
                    stop.ask();
                }
                ready.stop.check()?;
                Ok(vec![Box::new(Timed(time)) as Box<dyn Lane>])
            })
        };
        assert!(matches!(stopped_at(0), Err(BenchError::Stopped)));
        assert_eq!(stopped_at(1).map(|rows| rows.len()).ok(), Some(1));
    }

    #[test]
    fn an_impossible_time_is_refused_by_name() {
        for time in [Duration::ZERO, Duration::from_secs(604_801), Duration::MAX] {
            let error = check_time(time).expect_err("no time").to_string();
            assert!(error.contains("--seconds"), "{error}");
        }
        assert!(check_time(MAX_TIME).is_ok() && check_time(Duration::from_nanos(1)).is_ok());
    }
}
