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

/// What the rows say of each backend, the best one first. Stores that do not survive a power cut
/// are told about, and never the best.
pub fn advise(rows: &[Row]) -> Vec<Advice> {
    let stores: Vec<&Row> =
        rows.iter().filter(|row| row.role == Role::Store && row.work != "verbs").collect();
    let alone = |row: &&&Row| row.clients == least(&stores) && row.size == stores[0].size;
    let mut one: Vec<&Row> = stores.iter().filter(alone).copied().collect();
    one.sort_by(|one, other| {
        (!one.is_durable()).cmp(&!other.is_durable()).then(one.p50_us.total_cmp(&other.p50_us))
    });
    one.dedup_by(|one, other| one.backend == other.backend);
    let best = one.first().filter(|row| row.is_durable()).map(|row| row.p50_us);
    let advice = |(place, row): (usize, &&Row)| Advice {
        backend: row.backend.clone(),
        best: place == 0 && row.is_durable(),
        reason: match row.is_durable() {
            true => durable_reason(row, busiest(&stores, &row.backend), best.unwrap_or(row.p50_us)),
            false => volatile_reason(row),
        },
    };
    one.iter().enumerate().map(advice).collect()
}

fn least(stores: &[&Row]) -> u64 {
    stores.iter().map(|row| row.clients).min().unwrap_or(1)
}

fn busiest<'a>(stores: &[&'a Row], backend: &str) -> Option<&'a Row> {
    let of_this = stores.iter().filter(|row| row.backend == backend);
    of_this.copied().max_by(|one, other| one.per_second.total_cmp(&other.per_second))
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
    format!("p50 {} us for one client{disk}{most}: {verdict}.{}", micros(row.p50_us), why(row))
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
        "p50 {} us, and all is gone with the process ({}): for tests, and for data that is \
         elsewhere; not ranked beside logs that survive a power cut.",
        micros(row.p50_us),
        row.durability,
    )
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::report;
    use super::*;

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

    #[test]
    fn memory_alone_is_no_advice() {
        let rows: Vec<Row> =
            report().rows.into_iter().filter(|row| row.backend == "memory").collect();
        assert!(advise(&rows).iter().all(|one| !one.best));
        assert_eq!(advise(&[]), []);
    }
}
