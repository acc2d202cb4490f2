//! The recommendation: which log suits this disk, and why.

use super::numbers::{count, micros};
use crate::lane::Role;
use crate::{Report, Row};

/// Latencies within this factor count as equal, and other properties decide.
const NEARLY: f64 = 1.15;

/// The advice about one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The name of the backend.
    pub backend: String,
    /// Whether this backend is recommended if no other requirement decides.
    pub best: bool,
    /// The flags with which a member uses this log.
    pub flags: String,
    /// What the figures say for and against it.
    pub reason: String,
}

impl Advice {
    /// The first line of the advice, the same in every form of output. It is a name or, for the
    /// recommended backend, the name with the flags of `kontiki up` and `kontiki serve` that select
    /// it.
    pub fn headline(&self) -> String {
        if self.best {
            format!("take {}: {}", self.backend, self.flags)
        } else {
            self.backend.clone()
        }
    }
}

/// The flags with which a member uses the log of this name. `auto` is how the file log writes if no
/// flag is given.
fn flags(backend: &str, auto: Option<&str>) -> String {
    match backend.split_once(':') {
        Some((backend, io)) if Some(io) == auto => format!("--backend {backend}"),
        Some((backend, io)) => format!("--backend {backend} --io {io}"),
        None => format!("--backend {backend}"),
    }
}

/// The advice about each backend, the best one first, at the workload with the fewest clients and
/// the smallest batch. Stores that do not survive a power cut are listed but never recommended. A
/// report that was interrupted, or that has too few rounds or samples in a row, recommends nothing.
pub fn advise(report: &Report) -> Vec<Advice> {
    if report.doubts().is_empty() {
        advise_on(&report.rows, report.facts.file_log_io.as_deref())
    } else {
        Vec::new()
    }
}

fn advise_on(rows: &[Row], auto: Option<&str>) -> Vec<Advice> {
    let is_store = |row: &&Row| row.role == Role::Store && row.work != "soak";
    let stores: Vec<&Row> = rows.iter().filter(is_store).collect();
    // The first requested size at which a durable log was measured.
    let smallest = |row: &&&Row| (!row.is_durable(), row.clients, row.batch);
    let Some(least) = stores.iter().min_by_key(smallest) else { return Vec::new() };
    let mut one: Vec<&Row> = Vec::new();
    for row in &stores {
        let is_listed = one.iter().any(|other| other.backend == row.backend);
        if !is_listed && row.work == least.work && row.workload() == least.workload() {
            one.push(row);
        }
    }
    one.sort_by(|one, other| {
        (!one.is_durable()).cmp(&!other.is_durable()).then(one.p50_us.total_cmp(&other.p50_us))
    });
    let fastest = one.first().filter(|row| row.is_durable()).map(|row| row.p50_us);
    if let Some(place) = fastest.and_then(|fastest| preferred(&one, fastest, auto)) {
        let best = one.remove(place);
        one.insert(0, best);
    }
    let advice = |(place, row): (usize, &&Row)| Advice {
        backend: row.backend.clone(),
        best: place == 0 && row.is_durable(),
        flags: flags(&row.backend, auto),
        reason: match row.is_durable() {
            true => durable_reason(row, &stores, fastest.unwrap_or(row.p50_us)),
            false => volatile_reason(row),
        },
    };
    one.iter().enumerate().map(advice).collect()
}

/// The position of the recommended log. It is the fastest one, unless a member that opens the same
/// backend without further flags is about as fast. So two runs on one machine do not contradict
/// each other.
fn preferred(sorted: &[&Row], fastest: f64, auto: Option<&str>) -> Option<usize> {
    let backend = sorted.first()?.backend.split(':').next()?;
    let is_near = |row: &Row| row.is_durable() && row.p50_us <= fastest * NEARLY;
    let is_default = |row: &Row| match row.backend.split_once(':') {
        Some((name, io)) => name == backend && Some(io) == auto,
        None => row.backend == backend,
    };
    sorted.iter().position(|row| is_default(row) && is_near(row)).or(Some(0))
}

/// The highest throughput at any number of clients of this work: of this backend, and of all.
fn busiest<'a>(stores: &[&'a Row], row: &Row) -> Option<(&'a Row, &'a Row)> {
    let kind = |row: &Row| (row.work.clone(), row.size, row.batch, row.rate.is_some());
    let alike = |other: &&&Row| other.is_durable() && kind(other) == kind(row);
    let faster = |one: &&Row, other: &&Row| one.per_second.total_cmp(&other.per_second);
    let all = stores.iter().filter(alike).copied();
    let own = all.clone().filter(|other| other.backend == row.backend).max_by(faster)?;
    let with_as_many = all.filter(|other| other.clients == own.clients).max_by(faster)?;
    Some((own, with_as_many))
}

/// The load under which the latency was measured.
fn whose(row: &Row) -> String {
    match (row.rate, row.clients) {
        (Some(rate), _) => format!("at {rate} arrivals/s"),
        (None, 1) => "for one client".to_owned(),
        (None, clients) => format!("for {clients} clients"),
    }
}

fn durable_reason(row: &Row, stores: &[&Row], fastest: f64) -> String {
    let disk = match row.ratio {
        Some(ratio) => format!(", {ratio:.2} times that of the disk's fastest write"),
        None => String::new(),
    };
    let verdict = match row.p50_us / fastest {
        behind if behind <= 1.0 => "the shortest latency of the durable logs here".to_owned(),
        behind if behind <= NEARLY => "about as short as the shortest".to_owned(),
        behind => {
            format!("{behind:.1} times the shortest latency; choose it for its other properties")
        }
    };
    let (p50, whose) = (micros(row.p50_us), whose(row));
    let most = busiest(stores, row).filter(|(own, _)| own.clients > row.clients);
    let most = most.map_or(String::new(), |(own, all)| throughput(own, all));
    format!("p50 {p50} us {whose}{disk}: {verdict}.{most}{}", why(row))
}

/// Throughput has a separate sentence, so that a ratio of latencies is not read as one of
/// throughput.
fn throughput(own: &Row, all: &Row) -> String {
    let (entries, clients) = (count(own.per_second), own.clients);
    let share = if own.per_second >= all.per_second {
        "the highest of the durable logs".to_owned()
    } else {
        format!("{:.2} of the highest", own.per_second / all.per_second)
    };
    format!(" Throughput with {clients} clients: {entries} entries/s, {share}.")
}

/// The reasons that the figures show.
fn why(row: &Row) -> String {
    let mut reasons = String::new();
    for mark in &row.marks {
        reasons += &format!(" Not fully reliable: {mark}.");
    }
    if let Some(written) = row.written_per_payload.filter(|written| *written > 8.0) {
        reasons += &format!(
            " Each payload byte costs {written:.0} bytes on the disk at this size; larger batches \
             reduce this."
        );
    }
    if row.p99_us > 4.0 * row.p50_us {
        reasons += " One write of a hundred takes more than four times as long as the median.";
    }
    reasons
}

fn volatile_reason(row: &Row) -> String {
    format!(
        "p50 {} us {}, and everything is lost when the process ends ({}): for tests, and for data \
         that is elsewhere; not ranked with logs that survive a power cut.",
        micros(row.p50_us),
        whose(row),
        row.durability,
    )
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{report, row};
    use super::*;
    use crate::lane::POWER_LOSS;

    #[test]
    fn the_fastest_durable_log_is_recommended_and_memory_never() {
        let advice = advise(&report());
        let names: Vec<&str> = advice.iter().map(|one| one.backend.as_str()).collect();
        assert_eq!(names, ["file", "sqlite", "memory"]);
        assert_eq!([true, false, false], [0, 1, 2].map(|place: usize| advice[place].best));
        assert!(advice[0].reason.contains("1.10 times that of the disk"), "{}", advice[0].reason);
        assert!(advice[1].reason.contains("1.8 times the shortest"), "{}", advice[1].reason);
        assert!(advice[2].reason.contains("not ranked"), "{}", advice[2].reason);
    }

    /// The rows that `--batch 1,64 --clients 64,64` gives: several batch sizes, and one workload
    /// twice.
    #[test]
    fn each_backend_has_one_advice_for_the_same_workload() {
        let mut rows = Vec::new();
        for batch in [64, 1, 1] {
            for (name, micros) in [("file", 20 * batch), ("sqlite", 30 * batch)] {
                rows.push(Row { batch, ..row(Role::Store, name, POWER_LOSS, 64, micros) });
            }
        }
        rows.push(Row { per_second: 9e9, ..rows[0].clone() });
        let advice = advise_on(&rows, None);
        let names: Vec<&str> = advice.iter().map(|one| one.backend.as_str()).collect();
        assert_eq!(names, ["file", "sqlite"]);
        assert!(advice[0].reason.starts_with("p50 20.0 us for 64 clients"), "{}", advice[0].reason);
        assert!(advice[1].reason.contains("1.5 times the shortest"), "{}", advice[1].reason);
    }

    #[test]
    fn the_highest_is_that_of_the_same_batch_and_an_open_loop_has_no_clients() {
        let mut rows: Vec<Row> =
            [1, 64].map(|clients| row(Role::Store, "file", POWER_LOSS, clients, 70)).into();
        rows.push(Row { batch: 64, per_second: 9e9, ..rows[1].clone() });
        let reason = &advise_on(&rows, None)[0].reason;
        assert!(reason.contains("with 64 clients: 914.3 k entries/s, the highest"), "{reason}");
        rows.iter_mut().for_each(|row| row.rate = Some(500.0));
        let reason = &advise_on(&rows, None)[0].reason;
        assert!(reason.contains("at 500 arrivals/s"), "{reason}");
    }

    #[test]
    fn an_interrupted_report_or_one_with_few_samples_recommends_nothing() {
        assert_eq!(advise(&Report { interrupted: true, ..report() }), []);
        let mut few = report();
        few.rows[0].rounds_planned = 5;
        assert!(!few.warnings().is_empty() && advise(&few).is_empty());
    }

    #[test]
    fn the_log_as_a_member_opens_it_is_recommended_if_it_is_about_as_fast() {
        let log = |file, thread| {
            let rows = [("file", file), ("file:thread", thread), ("sqlite", 300)];
            let row = |(name, micros)| row(Role::Store, name, POWER_LOSS, 1, micros);
            advise_on(&rows.map(row), None).remove(0).headline()
        };
        assert_eq!(log(110, 100), "take file: --backend file");
        assert_eq!(log(100, 110), "take file: --backend file");
        assert_eq!(log(140, 100), "take file:thread: --backend file --io thread");
    }

    #[test]
    fn the_way_that_a_member_uses_by_default_needs_no_flag() {
        let log = |ring, thread| {
            let rows = [("file:ring", ring), ("file:thread", thread), ("sqlite", 300)];
            let row = |(name, micros)| row(Role::Store, name, POWER_LOSS, 1, micros);
            advise_on(&rows.map(row), Some("thread")).remove(0).headline()
        };
        assert_eq!(log(110, 100), "take file:thread: --backend file");
        assert_eq!(log(100, 110), "take file:thread: --backend file");
        assert_eq!(log(100, 140), "take file:ring: --backend file --io ring");
    }

    #[test]
    fn throughput_and_latency_have_ratios_of_their_own() {
        let mut rows = Vec::new();
        for (name, micros, per_second) in [("file", 200, 1e6), ("sqlite", 300, 2e5)] {
            rows.push(row(Role::Store, name, POWER_LOSS, 1, micros));
            rows.push(Row { per_second, ..row(Role::Store, name, POWER_LOSS, 64, micros) });
        }
        let reason = &advise_on(&rows, None)[1].reason;
        assert!(reason.contains("1.5 times the shortest latency"), "{reason}");
        assert!(reason.contains("200.0 k entries/s, 0.20 of the highest"), "{reason}");
    }

    #[test]
    fn memory_alone_gives_no_recommendation() {
        let rows: Vec<Row> =
            report().rows.into_iter().filter(|row| row.backend == "memory").collect();
        assert!(advise_on(&rows, None).iter().all(|one| !one.best));
        assert_eq!(advise_on(&[], None), []);
    }
}
