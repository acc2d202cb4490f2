//! Which log on this disk, and why: the answer that a measurement is taken for.

use super::table::{count, micros};
use crate::Row;
use crate::lane::Role;

/// Within this factor two latencies are the same to a user, and other things decide.
const NEARLY: f64 = 1.15;

/// What is said of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The backend's name.
    pub backend: String,
    /// Whether it is the one to take where nothing else decides.
    pub best: bool,
    /// What the figures say for and against it.
    pub reason: String,
}

/// What the rows say of each backend, the best one first, at the work with the fewest clients and
/// the smallest batch. Stores that do not survive a power cut are told about, and never the best.
pub fn advise(rows: &[Row]) -> Vec<Advice> {
    let is_store = |row: &&Row| row.role == Role::Store && row.work != "verbs";
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
    let best = one.first().filter(|row| row.is_durable()).map(|row| row.p50_us);
    let advice = |(place, row): (usize, &&Row)| Advice {
        backend: row.backend.clone(),
        best: place == 0 && row.is_durable(),
        reason: match row.is_durable() {
            true => durable_reason(row, busiest(&stores, row), best.unwrap_or(row.p50_us)),
            false => volatile_reason(row),
        },
    };
    one.iter().enumerate().map(advice).collect()
}

/// The most that this backend did, with however many clients.
fn busiest<'a>(stores: &[&'a Row], row: &Row) -> Option<&'a Row> {
    let kind = |row: &Row| (row.work.clone(), row.backend.clone(), row.size, row.batch);
    let alike = stores.iter().filter(|other| kind(other) == kind(row));
    alike.copied().max_by(|one, other| one.per_second.total_cmp(&other.per_second))
}

/// Whose latency it is.
fn whose(row: &Row) -> String {
    match (row.rate, row.clients) {
        (Some(rate), _) => format!("at {rate} arrivals/s"),
        (None, 1) => "for one client".to_owned(),
        (None, clients) => format!("for {clients} clients"),
    }
}

fn durable_reason(row: &Row, busiest: Option<&Row>, best: f64) -> String {
    let disk = match row.ratio {
        Some(ratio) => format!(", {ratio:.2} x what the disk itself takes"),
        None => String::new(),
    };
    let most = busiest.filter(|most| most.clients > row.clients).map_or(String::new(), |most| {
        format!("; {} entries/s with {} clients", count(most.per_second), most.clients)
    });
    let behind = row.p50_us / best;
    let verdict = match behind {
        behind if behind <= 1.0 => "the quickest durable log here".to_owned(),
        behind if behind <= NEARLY => "as quick as the quickest, to a user".to_owned(),
        behind => format!("{behind:.1} x the quickest; take it for what else it offers"),
    };
    let (p50, whose) = (micros(row.p50_us), whose(row));
    format!("p50 {p50} us {whose}{disk}{most}: {verdict}.{}", why(row))
}

/// What the figures show of the reason.
fn why(row: &Row) -> String {
    let mut reasons = String::new();
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
        let advice = advise(&report().rows);
        let names: Vec<&str> = advice.iter().map(|one| one.backend.as_str()).collect();
        assert_eq!(names, ["file", "sqlite", "memory"]);
        assert_eq!([true, false, false], [0, 1, 2].map(|place: usize| advice[place].best));
        assert!(advice[0].reason.contains("1.10 x what the disk"), "{}", advice[0].reason);
        assert!(advice[1].reason.contains("1.8 x the quickest"), "{}", advice[1].reason);
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
        let advice = advise(&rows);
        let names: Vec<&str> = advice.iter().map(|one| one.backend.as_str()).collect();
        assert_eq!(names, ["file", "sqlite"]);
        assert!(advice[0].reason.starts_with("p50 20.0 us for 64 clients"), "{}", advice[0].reason);
        assert!(advice[1].reason.contains("1.5 x the quickest"), "{}", advice[1].reason);
    }

    #[test]
    fn the_most_is_that_of_the_same_batch_and_an_open_loop_has_no_clients() {
        let mut rows: Vec<Row> =
            [1, 64].map(|clients| row(Role::Store, "file", POWER_LOSS, clients, 70)).into();
        rows.push(Row { batch: 64, per_second: 9e9, ..rows[1].clone() });
        let reason = &advise(&rows)[0].reason;
        assert!(reason.contains("914.3 k entries/s with 64 clients"), "{reason}");
        rows.iter_mut().for_each(|row| row.rate = Some(500.0));
        let reason = &advise(&rows)[0].reason;
        assert!(reason.contains("at 500 arrivals/s"), "{reason}");
    }

    #[test]
    fn memory_alone_is_no_advice() {
        let rows: Vec<Row> =
            report().rows.into_iter().filter(|row| row.backend == "memory").collect();
        assert!(advise(&rows).iter().all(|one| !one.best));
        assert_eq!(advise(&[]), []);
    }
}
