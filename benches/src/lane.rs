//! What is measured, and how several subjects are measured fairly: in turns, so that all meet the
//! same state of the disk and the same load from other programs.
//!
//! A *lane* is one subject under one workload. A measurement has rounds, and a round has turns. In
//! each turn every lane runs for a short time, and each turn starts with another lane. The figures
//! of a round cover all its turns; the figures of a lane are the medians of its rounds.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::meter::Spent;
use crate::{BenchError, Samples};

/// The kind of a subject. Only subjects of comparable kinds are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A log of this project, alone or in a cluster.
    Store,
    /// The disk alone.
    Floor,
    /// A library without a log on top of it.
    Library,
    /// Another project that does the same work.
    Peer,
    /// A server that is loaded from outside.
    Server,
}

/// The subject of the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kind of subject.
    pub role: Role,
    /// Its name: that of a backend, another project or a floor.
    pub name: String,
    /// What an acknowledged write survives, as the subject declares it.
    pub durability: String,
    /// The call that makes bytes durable.
    pub sync_verb: String,
    /// The number of members; 1 if there is no cluster.
    pub members: u64,
}

impl Subject {
    /// Whether acknowledged writes survive a power cut. Subjects whose writes do not are never
    /// ranked with those whose writes do.
    pub fn is_durable(&self) -> bool {
        self.durability == POWER_LOSS
    }
}

/// The durability of a store that survives a power cut, as it declares it.
pub const POWER_LOSS: &str = "power loss";

/// The figures of a turn, or of several.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The latencies of the batches.
    pub samples: Samples,
    /// The number of acknowledged entries.
    pub entries: u64,
    /// The number of writes, each durable before the next; for a cluster, those of all members.
    pub writes: u64,
    /// The entries in those writes.
    pub written_entries: u64,
    /// The requests that failed.
    pub failures: u64,
    /// The time of the turn.
    pub busy: Duration,
    /// What the process spent on it.
    pub spent: Spent,
}

impl Tally {
    /// An empty tally.
    pub fn new() -> Tally {
        Tally {
            samples: Samples::new(),
            entries: 0,
            writes: 0,
            written_entries: 0,
            failures: 0,
            busy: Duration::ZERO,
            spent: Spent::none(),
        }
    }

    /// Adds the figures of another turn.
    pub fn add(&mut self, more: &Tally) {
        self.samples.add(&more.samples);
        self.entries += more.entries;
        self.writes += more.writes;
        self.written_entries += more.written_entries;
        self.failures += more.failures;
        self.busy += more.busy;
        self.spent = self.spent + more.spent;
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
}

/// Work that a subject has postponed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What waits, as the text of a mark.
    pub what: &'static str,
    /// The number of bytes that wait.
    pub bytes: u64,
}

/// One subject under its workload.
pub trait Lane {
    /// The subject.
    fn subject(&self) -> Subject;

    /// Reasons known to the lane why its figures are not reliable; they are shown with the figures.
    fn marks(&self) -> Vec<String> {
        Vec::new()
    }

    /// The directory of its files, to which no other lane writes, or `None` if there is none.
    fn dir(&self) -> Option<PathBuf> {
        None
    }

    /// The work that the subject has postponed, if it can report that.
    fn pending(&self) -> Option<Pending> {
        None
    }

    /// What the processes that do the work have spent up to now.
    fn spent(&self) -> Spent {
        Spent::now()
    }

    /// Runs for about this long. Makes at least one write, and ends early when a stop is requested.
    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError>;
}

impl<L: Lane + ?Sized> Lane for Box<L> {
    fn subject(&self) -> Subject {
        self.as_ref().subject()
    }

    fn marks(&self) -> Vec<String> {
        self.as_ref().marks()
    }

    fn dir(&self) -> Option<PathBuf> {
        self.as_ref().dir()
    }

    fn pending(&self) -> Option<Pending> {
        self.as_ref().pending()
    }

    fn spent(&self) -> Spent {
        self.as_ref().spent()
    }

    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
        self.as_mut().turn(time, stop)
    }
}

/// The lanes of one workload.
pub type Lanes<'a> = Vec<Box<dyn Lane + 'a>>;

/// How long an answer is awaited after a stop was requested.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A request to end the measurement early. Everything measured until then still counts.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked_at: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// No stop is requested yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Ends the measurement at the next write.
    pub fn ask(&self) {
        self.asked_at.get_or_init(Instant::now);
    }

    /// Whether a stop was requested.
    pub fn is_asked(&self) -> bool {
        self.asked_at.get().is_some()
    }

    /// Whether the stop was requested so long ago that answers are no longer awaited.
    pub fn is_overdue(&self) -> bool {
        self.asked_at.get().is_some_and(|asked_at| asked_at.elapsed() >= STOP_PATIENCE)
    }

    /// Ends a preparation, which has no figures, with an error if a stop was requested.
    pub fn check(&self) -> Result<(), BenchError> {
        match self.is_asked() {
            true => Err(BenchError::Stopped),
            false => Ok(()),
        }
    }
}

/// The time of a measurement, and how it is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The number of rounds, whose medians are the figures.
    pub rounds: u32,
    /// The turns of each lane in a round.
    pub turns: u32,
    /// The time for all lanes and rounds together.
    pub time: Duration,
}

/// The shortest turn. In a shorter one a lane would only warm up.
const SHORTEST_TURN: Duration = Duration::from_millis(2);

impl Schedule {
    /// Five rounds of four turns each in this time.
    pub fn of(time: Duration) -> Schedule {
        Schedule { rounds: 5, turns: 4, time }
    }

    /// The length of a turn. Besides its turns in the rounds, each lane has a warm-up as long as
    /// one turn of each round, and one more turn followed by a pause of the same length, in which
    /// background work is observed.
    pub fn turn_of(&self, lanes: usize) -> Duration {
        let turns = (self.rounds * (self.turns + 1) + 2) * lanes as u32;
        (self.time / turns.max(1)).max(SHORTEST_TURN)
    }
}

/// Runs all lanes in turns and returns the rounds of each lane, in the order of the lanes. Before
/// the first round each lane has one turn that is not counted, to warm up.
///
/// `report` is called after each turn with the number of finished turns and of all turns.
pub fn interleave<L: Lane>(
    lanes: &mut [L],
    schedule: Schedule,
    stop: &Stop,
    report: &mut dyn FnMut(u32, u32),
) -> Result<Vec<Vec<Tally>>, BenchError> {
    let time = schedule.turn_of(lanes.len());
    let all = (schedule.rounds * schedule.turns + 1) * lanes.len() as u32;
    let mut over = 0;
    let mut rounds = vec![Vec::new(); lanes.len()];
    for lane in lanes.iter_mut() {
        stop.check()?;
        // The figures of a warm-up are not counted, but a failure in it ends the measurement too.
        if let Err(error) = lane.turn(time * schedule.rounds, stop) {
            return stop.check().and(Err(error));
        }
        over += 1;
        report(over, all);
    }
    for _ in 0..schedule.rounds {
        let mut round = vec![Tally::new(); lanes.len()];
        for turn in 0..schedule.turns as usize {
            for place in 0..lanes.len() {
                let place = (place + turn) % lanes.len();
                if stop.is_asked() {
                    return ended_early(rounds);
                }
                match lanes[place].turn(time, stop) {
                    Ok(tally) => round[place].add(&tally),
                    // An answer that is no longer awaited is not a failure.
                    Err(_) if stop.is_asked() => return ended_early(rounds),
                    Err(error) => return Err(error),
                }
                over += 1;
                report(over, all);
            }
        }
        rounds.iter_mut().zip(round).for_each(|(rounds, round)| rounds.push(round));
    }
    Ok(rounds)
}

/// Only complete rounds count, because only they are fair.
fn ended_early(rounds: Vec<Vec<Tally>>) -> Result<Vec<Vec<Tally>>, BenchError> {
    match rounds.iter().any(|rounds| rounds.is_empty()) {
        true => Err(BenchError::Stopped),
        false => Ok(rounds),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct Noted<'a> {
        name: char,
        turns: &'a RefCell<String>,
        stop_at: usize,
        fails: bool,
    }

    impl Lane for Noted<'_> {
        fn subject(&self) -> Subject {
            Subject {
                role: Role::Floor,
                name: self.name.to_string(),
                durability: POWER_LOSS.to_owned(),
                sync_verb: String::new(),
                members: 1,
            }
        }

        fn turn(&mut self, _time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
            let mut turns = self.turns.borrow_mut();
            turns.push(self.name);
            if turns.len() == self.stop_at {
                stop.ask();
                if self.fails {
                    return Err(BenchError::failed("stopping", "no answer"));
                }
            }
            Ok(Tally { entries: 1, ..Tally::new() })
        }
    }

    fn run(schedule: Schedule, stop_at: usize) -> (String, Result<Vec<Vec<Tally>>, BenchError>) {
        run_or_fail(schedule, stop_at, false)
    }

    /// Runs two lanes; the lane in whose turn the stop is requested may also fail.
    fn run_or_fail(
        schedule: Schedule,
        stop_at: usize,
        fails: bool,
    ) -> (String, Result<Vec<Vec<Tally>>, BenchError>) {
        let turns = RefCell::new(String::new());
        let lane = |name| Box::new(Noted { name, turns: &turns, stop_at, fails }) as Box<dyn Lane>;
        let mut lanes = vec![lane('a'), lane('b')];
        let rounds = interleave(&mut lanes, schedule, &Stop::new(), &mut |_, _| {});
        drop(lanes);
        (turns.into_inner(), rounds)
    }

    #[test]
    fn lanes_take_turns_and_each_begins_as_often() {
        let (turns, rounds) = run(Schedule { rounds: 2, turns: 2, time: Duration::ZERO }, 0);
        assert_eq!(turns, "ab abba abba".replace(' ', ""));
        let rounds = rounds.expect("nothing fails");
        assert_eq!((rounds.len(), rounds[0].len(), rounds[0][0].entries), (2, 2, 2));
    }

    #[test]
    fn a_stop_keeps_the_complete_rounds() {
        let schedule = Schedule { rounds: 3, turns: 2, time: Duration::ZERO };
        assert_eq!(run(schedule, 8).1.map(|rounds| rounds[0].len()).ok(), Some(1));
        assert!(matches!(run(schedule, 4).1, Err(BenchError::Stopped)));
        let (turns, rounds) = run(schedule, 1);
        assert_eq!(turns, "a", "no other lane warms up");
        assert!(matches!(rounds, Err(BenchError::Stopped)));
    }

    #[test]
    fn a_stop_without_an_answer_keeps_the_complete_rounds() {
        let schedule = Schedule { rounds: 3, turns: 2, time: Duration::ZERO };
        assert_eq!(run_or_fail(schedule, 8, true).1.map(|rounds| rounds[0].len()).ok(), Some(1));
        for early in [1, 4] {
            assert!(matches!(run_or_fail(schedule, early, true).1, Err(BenchError::Stopped)));
        }
    }

    #[test]
    fn a_schedule_leaves_time_for_the_warm_up() {
        let schedule = Schedule::of(Duration::from_millis(27 * 4 * 100));
        assert_eq!(schedule.turn_of(4), Duration::from_millis(100));
        assert_eq!(Schedule::of(Duration::ZERO).turn_of(4), SHORTEST_TURN);
    }
}
