//! Who is measured, and how several are measured fairly: in turns, so that all meet the same disk,
//! the same neighbours and the same weather.
//!
//! A *lane* is one subject doing one work. A measurement has rounds; a round has turns, and in each
//! turn every lane runs for a moment, another one first each time. A round's figures are those of
//! all its turns together, and a lane's figures are the medians of its rounds.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::background::Pending;
use crate::meter::Spent;
use crate::{BenchError, Samples};

/// What a subject is: only equals are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A log of this project, alone or under a cluster.
    Store,
    /// The disk alone.
    Floor,
    /// A library as it is, without a log around it.
    Library,
    /// Another project that does the same work.
    Peer,
    /// A server that was loaded from outside.
    Server,
}

/// Whose figures these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What it is.
    pub role: Role,
    /// Its name: a backend's, a peer's, a floor's.
    pub name: String,
    /// What it declares that an acknowledged write survives.
    pub durability: String,
    /// The call that makes bytes durable.
    pub sync_verb: String,
    /// The members that share the work; one where there is no cluster.
    pub members: u64,
}

impl Subject {
    /// Whether what it acknowledges survives a power cut. Others are never ranked beside it.
    pub fn is_durable(&self) -> bool {
        self.durability == POWER_LOSS
    }
}

/// The durability of a store that survives a power cut, as it declares it.
pub const POWER_LOSS: &str = "power loss";

/// What happened in a turn, or in several.
#[derive(Clone, Debug)]
pub struct Tally {
    /// What each batch of a client took.
    pub samples: Samples,
    /// The entries that were acknowledged.
    pub entries: u64,
    /// The writes that the log was given, each durable before the next; of a cluster, those of all
    /// members.
    pub writes: u64,
    /// The entries in those writes.
    pub written_entries: u64,
    /// The requests that failed.
    pub failures: u64,
    /// The time in which that happened.
    pub busy: Duration,
    /// What the process spent on it.
    pub spent: Spent,
}

impl Tally {
    /// Nothing happened yet.
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

    /// Takes another turn's figures in.
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

/// One subject at its work.
pub trait Lane {
    /// Who it is.
    fn subject(&self) -> Subject;

    /// What keeps its figures from being fair, as far as the lane knows: shown with them.
    fn marks(&self) -> Vec<String> {
        Vec::new()
    }

    /// The directory with its files; no other lane writes there. `None` where there is none.
    fn dir(&self) -> Option<PathBuf> {
        None
    }

    /// The work that it has put off, where it can tell.
    fn pending(&self) -> Option<Pending> {
        None
    }

    /// What the processes that do its work have spent up to now.
    fn spent(&self) -> Spent {
        Spent::now()
    }

    /// Works for about this long, at least one write, and less when a stop is asked for.
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

/// How long an answer is waited for once a stop was asked for.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Somebody's wish that the measurement ends early. What was measured until then still counts.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked_at: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// Nobody wishes for it yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Ends the measurement at the next write.
    pub fn ask(&self) {
        self.asked_at.get_or_init(Instant::now);
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        self.asked_at.get().is_some()
    }

    /// Whether it was asked for so long ago that nobody waits for an answer any more.
    pub fn is_overdue(&self) -> bool {
        self.asked_at.get().is_some_and(|asked_at| asked_at.elapsed() >= STOP_PATIENCE)
    }

    /// Ends a preparation, which has no figures, with an error if it was asked for.
    pub fn check(&self) -> Result<(), BenchError> {
        match self.is_asked() {
            true => Err(BenchError::Stopped),
            false => Ok(()),
        }
    }
}

/// How long everything takes, and in how many pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The rounds, whose medians are the figures.
    pub rounds: u32,
    /// How often each lane runs in a round.
    pub turns: u32,
    /// The time for all lanes and rounds together.
    pub time: Duration,
}

/// A turn is not shorter than this: a lane would only warm up.
const SHORTEST_TURN: Duration = Duration::from_millis(2);

impl Schedule {
    /// Five rounds of four turns in this time.
    pub fn of(time: Duration) -> Schedule {
        Schedule { rounds: 5, turns: 4, time }
    }

    /// How long a turn is. Besides those of the rounds each lane has a warm-up as long as a turn
    /// of each round, and one more turn, with a pause as long, in which its background work is
    /// looked for.
    pub fn turn_of(&self, lanes: usize) -> Duration {
        let turns = (self.rounds * (self.turns + 1) + 2) * lanes as u32;
        (self.time / turns.max(1)).max(SHORTEST_TURN)
    }
}

/// Runs all lanes in turns; gives the rounds of each, in the order of the lanes. Each lane has one
/// turn that does not count before the first round, to warm up.
///
/// `tell` hears of each turn that is over, and how many there are.
pub fn interleave<L: Lane>(
    lanes: &mut [L],
    schedule: Schedule,
    stop: &Stop,
    tell: &mut dyn FnMut(u32, u32),
) -> Result<Vec<Vec<Tally>>, BenchError> {
    let time = schedule.turn_of(lanes.len());
    let all = (schedule.rounds * schedule.turns + 1) * lanes.len() as u32;
    let mut over = 0;
    let mut rounds = vec![Vec::new(); lanes.len()];
    for lane in lanes.iter_mut() {
        stop.check()?;
        // An awkward warm-up is no figure, but a failure in it is one in the measurement too.
        if let Err(error) = lane.turn(time * schedule.rounds, stop) {
            return stop.check().and(Err(error));
        }
        over += 1;
        tell(over, all);
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
                    // Whoever is not waited for any more has not failed.
                    Err(_) if stop.is_asked() => return ended_early(rounds),
                    Err(error) => return Err(error),
                }
                over += 1;
                tell(over, all);
            }
        }
        rounds.iter_mut().zip(round).for_each(|(rounds, round)| rounds.push(round));
    }
    Ok(rounds)
}

/// Only whole rounds count, for only they are fair.
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

    /// The lane in whose turn a stop is asked for may also fail.
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
    fn who_stops_gets_the_rounds_that_were_whole() {
        let schedule = Schedule { rounds: 3, turns: 2, time: Duration::ZERO };
        assert_eq!(run(schedule, 8).1.map(|rounds| rounds[0].len()).ok(), Some(1));
        assert!(matches!(run(schedule, 4).1, Err(BenchError::Stopped)));
        let (turns, rounds) = run(schedule, 1);
        assert_eq!(turns, "a", "nobody else warms up");
        assert!(matches!(rounds, Err(BenchError::Stopped)));
    }

    #[test]
    fn who_gets_no_answer_while_it_stops_keeps_the_rounds_that_were_whole() {
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
