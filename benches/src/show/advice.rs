//! Which log on this disk, and why: the answer that a measurement is taken for.

use super::table::{count, micros};
use crate::lane::Role;
use crate::{Report, Row};

/// Within this factor two latencies are the same to a user, and other things decide.
const NEARLY: f64 = 1.15;

/// What is said of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The backend's name.
    pub backend: String,
    /// Whether it is the one to take where nothing else decides.
    pub best: bool,
    /// The flags with which a member gets this log.
    pub flags: String,
    /// What the figures say for and against it.
    pub reason: String,
}

impl Advice {
    /// The line that begins it, the same wherever it is shown: a name, or what to take, with the
    /// flags of `kontiki up` and `kontiki serve` that say so.
    pub fn headline(&self) -> String {
        if self.best {
            format!("take {}: {}", self.backend, self.flags)
        } else {
            self.backend.clone()
        }
    }
}

/// The flags with which a member gets the log of this name, where the file log takes `auto`
/// without a flag.
fn flags(backend: &str, auto: Option<&str>) -> String {
    match backend.split_once(':') {
        Some((backend, io)) if Some(io) == auto => format!("--backend {backend}"),
        Some((backend, io)) => format!("--backend {backend} --io {io}"),
        None => format!("--backend {backend}"),
    }
}

/// What the report says of each backend, the best one first, at the work with the fewest clients
/// and the smallest batch. Stores that do not survive a power cut are told about, and never the
/// best. A report that was interrupted, or whose rows are thin, recommends nothing.
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
    // Of the sizes the first that was asked for; and one at which something can be the best.
    let smallest = |row: &&&Row| (!row.is_durable(), row.clients, row.batch);
    let Some(least) = stores.iter().min_by_key(smallest) else { return Vec::new() };
    let mut one: Vec<&Row> = Vec::new();
    for row in &stores {
        let is_told = one.iter().any(|other| other.backend == row.backend);
        if !is_told && row.work == least.work && row.workload() == least.workload() {
            one.push(row);
        }
    }
    one.sort_by(|one, other| {
        (!one.is_durable()).cmp(&!other.is_durable()).then(one.p50_us.total_cmp(&other.p50_us))
    });
    let quickest = one.first().filter(|row| row.is_durable()).map(|row| row.p50_us);
    if let Some(place) = quickest.and_then(|quickest| preferred(&one, quickest, auto)) {
        let best = one.remove(place);
        one.insert(0, best);
    }
    let advice = |(place, row): (usize, &&Row)| Advice {
        backend: row.backend.clone(),
        best: place == 0 && row.is_durable(),
        flags: flags(&row.backend, auto),
        reason: match row.is_durable() {
            true => durable_reason(row, &stores, quickest.unwrap_or(row.p50_us)),
            false => volatile_reason(row),
        },
    };
    one.iter().enumerate().map(advice).collect()
}

/// The place of the log to take: the quickest, or the same backend as a member opens it without
/// further flags, if that is as quick to a user. So one run does not name what another denies.
fn preferred(sorted: &[&Row], quickest: f64, auto: Option<&str>) -> Option<usize> {
    let backend = sorted.first()?.backend.split(':').next()?;
    let is_near = |row: &Row| row.is_durable() && row.p50_us <= quickest * NEARLY;
    let is_default = |row: &Row| match row.backend.split_once(':') {
        Some((name, io)) => name == backend && Some(io) == auto,
        None => row.backend == backend,
    };
    sorted.iter().position(|row| is_default(row) && is_near(row)).or(Some(0))
}

/// The most that was done by any number of clients of this work: by this backend, and by all.
fn busiest<'a>(stores: &[&'a Row], row: &Row) -> Option<(&'a Row, &'a Row)> {
    let kind = |row: &Row| (row.work.clone(), row.size, row.batch, row.rate.is_some());
    let alike = |other: &&&Row| other.is_durable() && kind(other) == kind(row);
    let quicker = |one: &&Row, other: &&Row| one.per_second.total_cmp(&other.per_second);
    let all = stores.iter().filter(alike).copied();
    let own = all.clone().filter(|other| other.backend == row.backend).max_by(quicker)?;
    let with_as_many = all.filter(|other| other.clients == own.clients).max_by(quicker)?;
    Some((own, with_as_many))
}

/// Whose latency it is.
fn whose(row: &Row) -> String {
    match (row.rate, row.clients) {
        (Some(rate), _) => format!("at {rate} arrivals/s"),
        (None, 1) => "for one client".to_owned(),
        (None, clients) => format!("for {clients} clients"),
    }
}

fn durable_reason(row: &Row, stores: &[&Row], quickest: f64) -> String {
    let disk = match row.ratio {
        Some(ratio) => format!(", {ratio:.2} times that of the disk's quickest write"),
        None => String::new(),
    };
    let verdict = match row.p50_us / quickest {
        behind if behind <= 1.0 => "the shortest latency of the durable logs here".to_owned(),
        behind if behind <= NEARLY => "as short as the shortest, to a user".to_owned(),
        behind => {
            format!("{behind:.1} times the shortest latency; take it for what else it offers")
        }
    };
    let (p50, whose) = (micros(row.p50_us), whose(row));
    let most = busiest(stores, row).filter(|(own, _)| own.clients > row.clients);
    let most = most.map_or(String::new(), |(own, all)| throughput(own, all));
    format!("p50 {p50} us {whose}{disk}: {verdict}.{most}{}", why(row))
}

/// A sentence of its own, so that no ratio of latencies is read as one of throughput.
fn throughput(own: &Row, all: &Row) -> String {
    let (entries, clients) = (count(own.per_second), own.clients);
    let share = if own.per_second >= all.per_second {
        "the most of the durable logs".to_owned()
    } else {
        format!("{:.2} of the most", own.per_second / all.per_second)
    };
    format!(" Throughput with {clients} clients: {entries} entries/s, {share}.")
}

/// What the figures show of the reason.
fn why(row: &Row) -> String {
    let mut reasons = String::new();
    for mark in &row.marks {
        reasons += &format!(" Not quite fair: {mark}.");
    }
    if let Some(written) = row.written_per_payload.filter(|written| *written > 8.0) {
        reasons += &format!(
            " Each payload byte costs {written:.0} on the disk at this size; larger batches share."
        );
    }
    if row.p99_us > 4.0 * row.p50_us {
        reasons += " One write of a hundred takes more than four times as long as the median.";
    }
    reasons
}

fn volatile_reason(row: &Row) -> String {
    format!(
        "p50 {} us {}, and all is gone with the process ({}): for tests, and for data that is \
         elsewhere; not ranked beside logs that survive a power cut.",
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
    fn the_quickest_durable_log_is_the_best_and_memory_never() {
        let advice = advise(&report());
        let names: Vec<&str> = advice.iter().map(|one| one.backend.as_str()).collect();
        assert_eq!(names, ["file", "sqlite", "memory"]);
        assert_eq!([true, false, false], [0, 1, 2].map(|place: usize| advice[place].best));
        assert!(advice[0].reason.contains("1.10 times that of the disk"), "{}", advice[0].reason);
        assert!(advice[1].reason.contains("1.8 times the shortest"), "{}", advice[1].reason);
        assert!(advice[2].reason.contains("not ranked"), "{}", advice[2].reason);
    }

    /// As `--batch 1,64 --clients 64,64` leaves it: batches mixed, and a workload twice.
    #[test]
    fn each_backend_is_told_about_once_and_at_the_same_work() {
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
    fn the_most_is_that_of_the_same_batch_and_an_open_loop_has_no_clients() {
        let mut rows: Vec<Row> =
            [1, 64].map(|clients| row(Role::Store, "file", POWER_LOSS, clients, 70)).into();
        rows.push(Row { batch: 64, per_second: 9e9, ..rows[1].clone() });
        let reason = &advise_on(&rows, None)[0].reason;
        assert!(reason.contains("with 64 clients: 914.3 k entries/s, the most"), "{reason}");
        rows.iter_mut().for_each(|row| row.rate = Some(500.0));
        let reason = &advise_on(&rows, None)[0].reason;
        assert!(reason.contains("at 500 arrivals/s"), "{reason}");
    }

    #[test]
    fn what_was_interrupted_or_is_thin_recommends_nothing() {
        assert_eq!(advise(&Report { interrupted: true, ..report() }), []);
        let mut thin = report();
        thin.rows[0].rounds_planned = 5;
        assert!(!thin.warnings().is_empty() && advise(&thin).is_empty());
    }

    #[test]
    fn the_log_as_a_member_opens_it_is_taken_where_it_is_as_quick_to_a_user() {
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
    fn the_way_that_a_member_takes_by_itself_needs_no_flag() {
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
        assert!(reason.contains("200.0 k entries/s, 0.20 of the most"), "{reason}");
    }

    #[test]
    fn memory_alone_is_no_advice() {
        let rows: Vec<Row> =
            report().rows.into_iter().filter(|row| row.backend == "memory").collect();
        assert!(advise_on(&rows, None).iter().all(|one| !one.best));
        assert_eq!(advise_on(&[], None), []);
    }
}
