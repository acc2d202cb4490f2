//! The figures of one subject under one workload, and how they are made from its rounds.

use serde::{Deserialize, Serialize};

use crate::lane::{POWER_LOSS, Role, Subject, Tally};
use crate::samples::{Samples, median};
use crate::workload::Workload;

/// With fewer latencies or fewer writes than this, a row says little about its tail.
const FEWEST_SAMPLES: u64 = 200;
const FEWEST_WRITES: u64 = 50;

/// The figures of one subject at one workload. Latencies are in microseconds and measure a whole
/// batch of one client. Each figure is the median of the rounds unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The kind of measurement: `log`, `commit`, `verbs`, `etcd` or `soak`.
    pub work: String,
    /// The kind of subject.
    pub role: Role,
    /// The name of the subject.
    pub backend: String,
    /// What an acknowledged write survives, as the subject declares it.
    pub durability: String,
    /// The call that makes bytes durable.
    pub sync_verb: String,
    /// The number of members.
    pub members: u64,
    /// The payload of an entry, in bytes.
    pub size: usize,
    /// The entries in a batch.
    pub batch: u64,
    /// The number of clients.
    pub clients: u64,
    /// The batches that arrived per second, in an open loop.
    pub rate: Option<f64>,
    /// Half of the batches took at most this long.
    pub p50_us: f64,
    /// 99 of 100 batches took at most this long.
    pub p99_us: f64,
    /// 999 of 1000 batches took at most this long.
    pub p999_us: f64,
    /// The longest latency of all rounds.
    #[serde(default)]
    pub max_us: f64,
    /// The entries per second of wall-clock time, the time to form groups included.
    pub per_second: f64,
    /// The synced writes per second, of all members together; absent if nothing is synced.
    pub syncs_per_second: Option<f64>,
    /// The entries in one synced write.
    pub entries_per_sync: Option<f64>,
    /// The bytes written for each byte of payload on each member: those passed to system calls or,
    /// for a log that writes in other ways (a ring, a mapping), those that the kernel counted.
    pub written_per_payload: Option<f64>,
    /// The bytes that the kernel counted as sent to the device, in whole pages of its cache.
    pub device_per_payload: Option<f64>,
    /// The processor time for each entry. `docs/benchmarks.md` says which processes are counted.
    pub cpu_us_per_entry: Option<f64>,
    /// The requests that failed, in all rounds.
    pub failures: u64,
    /// The name of the floor that this row is compared with.
    pub floor: Option<String>,
    /// Half of the floor's writes took at most this long, in the same rounds.
    pub floor_p50_us: Option<f64>,
    /// 99 of 100 of the floor's writes took at most this long.
    pub floor_p99_us: Option<f64>,
    /// `p50_us / floor_p50_us`; absent if either of them does not sync.
    pub ratio: Option<f64>,
    /// The number of latencies in all rounds.
    #[serde(default)]
    pub samples: u64,
    /// The planned rounds. If `rounds` has fewer, the measurement ended early.
    #[serde(default)]
    pub rounds_planned: u32,
    /// Why this row is not a reliable figure: too few rounds or samples, or work in the background
    /// that was not finished. Empty if it is reliable.
    #[serde(default)]
    pub marks: Vec<String>,
    /// The figures of each round.
    pub rounds: Vec<Round>,
    /// The figures over time, for the work `soak` only.
    #[serde(default)]
    pub intervals: Vec<Interval>,
    /// The distribution of all rounds: microseconds, and the fraction that took at most this long.
    pub cdf: Vec<(f64, f64)>,
}

/// The figures of one interval of a soak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The end of the interval, in seconds since the first one began.
    pub end_s: f64,
    /// The entries per second.
    pub per_second: f64,
    /// Half of the batches took at most this long, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 batches took at most this long.
    pub p99_us: f64,
    /// The longest latency.
    pub max_us: f64,
    /// The number of latencies.
    pub samples: u64,
    /// The bytes that the log's files use on the disk at the end of the interval.
    pub log_bytes: u64,
    /// The memory of this process at the end, in bytes. It includes the clients and the stored
    /// figures.
    pub rss_bytes: u64,
}

/// The figures of one round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Half of the batches took at most this long.
    pub p50_us: f64,
    /// 99 of 100 batches took at most this long.
    pub p99_us: f64,
    /// 999 of 1000 batches took at most this long.
    #[serde(default)]
    pub p999_us: f64,
    /// The longest latency.
    #[serde(default)]
    pub max_us: f64,
    /// The entries per second.
    pub per_second: f64,
}

impl Row {
    /// The row of one lane. Rounds without a sample are left out.
    pub fn new(work: &str, subject: &Subject, workload: &Workload, rounds: &[Tally]) -> Row {
        let rounds: Vec<&Tally> = rounds.iter().filter(|round| !round.samples.is_empty()).collect();
        let of_rounds = |figure: &dyn Fn(&Tally) -> f64| {
            median(rounds.iter().map(|round| figure(round))).unwrap_or(0.0)
        };
        let known = |figure: &dyn Fn(&Tally) -> Option<f64>| {
            median(rounds.iter().filter_map(|round| figure(round)))
        };
        let mut all = Samples::new();
        rounds.iter().for_each(|round| all.add(&round.samples));
        let payload =
            |round: &Tally| round.entries as f64 * workload.size as f64 * subject.members as f64;
        let synced = subject.is_durable();
        Row {
            work: work.to_owned(),
            role: subject.role,
            backend: subject.name.clone(),
            durability: subject.durability.clone(),
            sync_verb: subject.sync_verb.clone(),
            members: subject.members,
            size: workload.size,
            batch: workload.batch,
            clients: workload.clients,
            rate: workload.rate,
            p50_us: of_rounds(&|round| round.samples.quantile_us(0.5)),
            p99_us: of_rounds(&|round| round.samples.quantile_us(0.99)),
            p999_us: of_rounds(&|round| round.samples.quantile_us(0.999)),
            max_us: all.max_us(),
            per_second: of_rounds(&per_second),
            syncs_per_second: known(&|round| {
                let writes = (synced && round.writes > 0).then_some(round.writes as f64)?;
                per(writes, round.busy.as_secs_f64())
            }),
            entries_per_sync: known(&|round| {
                synced.then(|| per(round.written_entries as f64, round.writes as f64))?
            }),
            written_per_payload: known(&|round| {
                per(written(round, payload(round))?, payload(round))
            }),
            device_per_payload: known(&|round| per(round.spent.written? as f64, payload(round))),
            cpu_us_per_entry: known(&|round| {
                let micros = round.spent.cpu.as_secs_f64() * 1e6;
                per(micros, round.entries as f64).filter(|micros| *micros > 0.0)
            }),
            failures: rounds.iter().map(|round| round.failures).sum(),
            floor: None,
            floor_p50_us: None,
            floor_p99_us: None,
            ratio: None,
            samples: all.len(),
            rounds_planned: rounds.len() as u32,
            marks: thinness(&all, &rounds, subject.members),
            rounds: rounds.iter().map(|round| Round::of(round)).collect(),
            intervals: Vec::new(),
            cdf: all.cdf(),
        }
    }

    /// Marks the row if it has fewer rounds than planned, and adds the lane's own marks.
    pub fn judged(mut self, rounds_planned: u32, marks: Vec<String>) -> Row {
        self.rounds_planned = rounds_planned;
        if self.rounds.len() < rounds_planned as usize {
            self.marks.push(format!("{FEW}rounds ({} of {rounds_planned})", self.rounds.len()));
        }
        self.marks.extend(marks);
        self
    }

    /// Whether the row has too few rounds or samples to base a recommendation on.
    pub fn has_too_few_samples(&self) -> bool {
        let is_short = self.rounds.len() < self.rounds_planned as usize;
        is_short || self.marks.iter().any(|mark| mark.starts_with(FEW))
    }

    /// The least and the greatest p50 of the rounds; both are the same if there is one round.
    pub fn spread_us(&self) -> Option<(f64, f64)> {
        let p50s = || self.rounds.iter().map(|round| round.p50_us);
        Some((p50s().min_by(f64::total_cmp)?, p50s().max_by(f64::total_cmp)?))
    }

    /// Adds the figures of the floor to the row if both sync; otherwise they are not comparable.
    pub fn compared_with(mut self, floor: &Row) -> Row {
        // A floor that had no bytes to write cannot be compared with.
        if self.is_durable() && floor.is_durable() && floor.p50_us > 0.0 && self.size > 0 {
            self.floor = Some(floor.backend.clone());
            self.floor_p50_us = Some(floor.p50_us);
            self.floor_p99_us = Some(floor.p99_us);
            self.ratio = Some(self.p50_us / floor.p50_us);
        }
        self
    }

    /// Whether acknowledged writes survive a power cut.
    pub fn is_durable(&self) -> bool {
        self.durability == POWER_LOSS
    }

    /// The workload of this row. Rows with the same workload may be in one plot.
    pub fn workload(&self) -> Workload {
        Workload { size: self.size, batch: self.batch, clients: self.clients, rate: self.rate }
    }
}

impl Round {
    fn of(tally: &Tally) -> Round {
        Round {
            p50_us: tally.samples.quantile_us(0.5),
            p99_us: tally.samples.quantile_us(0.99),
            p999_us: tally.samples.quantile_us(0.999),
            max_us: tally.samples.max_us(),
            per_second: per_second(tally),
        }
    }
}

/// The beginning of a mark for too few rounds, samples or writes.
const FEW: &str = "few ";

/// The mark for too few latencies, or for too few writes where writes are counted.
fn thinness(all: &Samples, rounds: &[&Tally], members: u64) -> Vec<String> {
    let writes = rounds.iter().map(|round| round.writes).sum::<u64>() / members.max(1);
    if all.len() < FEWEST_SAMPLES {
        vec![format!("{FEW}samples ({})", all.len())]
    } else if (1..FEWEST_WRITES).contains(&writes) {
        vec![format!("{FEW}writes ({writes})")]
    } else {
        Vec::new()
    }
}

fn per_second(round: &Tally) -> f64 {
    per(round.entries as f64, round.busy.as_secs_f64()).unwrap_or(0.0)
}

/// The bytes that a log wrote. A count below the payload is incomplete and is not used.
fn written(round: &Tally, payload: f64) -> Option<f64> {
    let handed = round.spent.handed.map(|handed| handed as f64);
    handed.filter(|handed| *handed >= payload).or(Some(round.spent.written? as f64))
}

/// The quotient, if there is a divisor.
fn per(amount: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| amount / of)
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter::Spent;

    pub fn subject(name: &str, durability: &str) -> Subject {
        Subject {
            role: Role::Store,
            name: name.to_owned(),
            durability: durability.to_owned(),
            sync_verb: "fdatasync".to_owned(),
            members: 1,
        }
    }

    pub fn tally(micros: u64) -> Tally {
        let mut tally = Tally::new();
        tally.samples.record(Duration::from_micros(micros), 10);
        tally.entries = 1000;
        tally.writes = 10;
        tally.written_entries = 1000;
        tally.busy = Duration::from_millis(100);
        tally.spent =
            Spent { cpu: Duration::from_millis(5), handed: Some(300_000), written: Some(512_000) };
        tally
    }

    pub fn workload() -> Workload {
        Workload { size: 256, batch: 100, clients: 1, rate: None }
    }

    #[test]
    fn a_row_has_the_medians_of_its_rounds() {
        let rounds = [tally(90), tally(70), tally(80), Tally::new()];
        let row = Row::new("log", &subject("file", POWER_LOSS), &workload(), &rounds);
        assert!((row.p50_us - 80.0).abs() < 0.1);
        assert_eq!((row.per_second, row.syncs_per_second), (10_000.0, Some(100.0)));
        assert_eq!((row.entries_per_sync, row.device_per_payload), (Some(100.0), Some(2.0)));
        assert_eq!(row.written_per_payload, Some(300_000.0 / 256_000.0));
        assert_eq!((row.cpu_us_per_entry, row.rounds.len()), (Some(5.0), 3));
    }

    #[test]
    fn bytes_written_without_system_calls_are_counted_by_the_kernel() {
        let mut ring = tally(80);
        ring.spent.handed = Some(10);
        let row = Row::new("log", &subject("file", POWER_LOSS), &workload(), &[ring]);
        assert_eq!(row.written_per_payload, Some(2.0));
    }

    #[test]
    fn a_row_that_does_not_sync_has_no_ratio() {
        let floor = Row::new("log", &subject("disk", POWER_LOSS), &workload(), &[tally(40)]);
        let file = Row::new("log", &subject("file", POWER_LOSS), &workload(), &[tally(80)]);
        let ratio = file.compared_with(&floor).ratio.expect("both sync");
        assert!((ratio - 2.0).abs() < 0.01);
        let memory = Row::new("log", &subject("memory", "volatile"), &workload(), &[tally(1)]);
        let memory = memory.compared_with(&floor);
        assert_eq!((memory.ratio, memory.syncs_per_second), (None, None));
    }

    #[test]
    fn a_row_with_fewer_rounds_or_samples_than_planned_is_marked() {
        let many = || {
            let mut tally = tally(80);
            tally.samples.record(Duration::from_micros(81), 500);
            tally.writes = 500;
            tally
        };
        let row = |rounds: &[Tally], planned| {
            let row = Row::new("log", &subject("file", POWER_LOSS), &workload(), rounds);
            row.judged(planned, Vec::new())
        };
        assert!(row(&[many(), many()], 2).marks.is_empty());
        assert_eq!(row(&[many()], 5).marks, ["few rounds (1 of 5)"]);
        assert!(
            row(&[many()], 5).has_too_few_samples() && !row(&[many()], 1).has_too_few_samples()
        );
        assert_eq!(row(&[tally(80)], 1).marks, ["few samples (10)"]);
        // Many clients that are answered by few writes are few samples, too.
        let few = Tally { writes: 3, ..many() };
        assert_eq!(row(&[few], 1).marks, ["few writes (3)"]);
    }

    #[test]
    fn the_longest_of_all_is_kept_and_the_spread_of_the_rounds() {
        let mut slow = tally(70);
        slow.samples.record(Duration::from_millis(40), 1);
        let rounds = [tally(90), slow, tally(80)];
        let row = Row::new("log", &subject("file", POWER_LOSS), &workload(), &rounds);
        assert!((row.max_us - 40_000.0).abs() < 40.0, "a stall in one round is not lost");
        let (low, high) = row.spread_us().expect("it has rounds");
        assert!((low - 70.0).abs() < 0.1 && (high - 90.0).abs() < 0.1);
    }

    #[test]
    fn entries_without_payload_have_no_ratio() {
        let nothing = Workload { size: 0, ..workload() };
        let row = |name| Row::new("log", &subject(name, POWER_LOSS), &nothing, &[tally(80)]);
        assert_eq!(row("file").compared_with(&row("disk")).ratio, None);
    }
}
