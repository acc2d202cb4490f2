//! Rows in columns. Stores that do not sync are listed separately, because their figures are not
//! comparable with those of stores that do.

use super::numbers::{count, micros};
use super::series;
use crate::lane::Role;
use crate::{Report, Row, Workload};

/// The headings of the columns.
pub(super) const HEADS: [&str; 12] = [
    "",
    "p50 us",
    "p99",
    "p99.9",
    "max",
    "p50 of rounds",
    "x floor",
    "entries/s",
    "syncs/s",
    "per sync",
    "written",
    "CPU us",
];

/// The meaning of the columns, in a few words.
const LEGEND: &str = "\
us: microseconds; p50 of rounds: the least and the greatest; x floor: p50 divided by that of\n\
the disk's fastest way to write, measured in turns; entries/s: of wall-clock time;\n\
per sync: entries in one synced write; written: bytes written for each byte of payload (and\n\
member); CPU us: processor time for each entry.";

/// The report as text: the machine, the table of each workload, and the warnings.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    for line in report.facts.lines() {
        text += &format!("{line}\n");
    }
    for (work, workload) in workloads(&report.rows) {
        let of_this = |row: &&Row| row.work == work && row.workload() == workload;
        let rows: Vec<&Row> = report.rows.iter().filter(of_this).collect();
        text += &format!("\n{work}: {}\n", workload.describe());
        text += &columns(&rows);
        footnotes(&rows).iter().for_each(|note| text += &format!("  {note}\n"));
        for row in rows.iter().filter(|row| !row.intervals.is_empty()) {
            text += &format!("\n{}", series::lines(&row.intervals));
        }
    }
    text += &format!("\n{LEGEND}\n");
    for warning in report.warnings() {
        text += &format!("warning: {warning}\n");
    }
    text
}

/// A line for each mark with the rows that have it, and the name of the floor of the ratios.
pub fn footnotes(rows: &[&Row]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    if let Some(floor) = rows.iter().find_map(|row| row.floor.as_ref()) {
        notes.push(format!("the floor is the fastest way to write here: {floor}"));
    }
    for mark in distinct_marks(rows) {
        let of_row = |row: &&Row| {
            let found = row.marks.iter().map(|mark| split(mark)).find(|(text, _)| *text == mark);
            found.map(|(_, detail)| format!("{}{detail}", row.backend))
        };
        let subjects: Vec<String> = rows.iter().filter_map(of_row).collect();
        notes.push(format!("{MARK} {mark}: {}", subjects.join("; ")));
    }
    notes
}

/// The marks of these rows without their details, each with the names of the subjects that have it.
pub(super) fn marks_in_brief(rows: &[&Row]) -> Vec<String> {
    let has = |row: &Row, mark: &str| row.marks.iter().any(|other| split(other).0 == mark);
    let with_names = |mark: &str| {
        let mut names: Vec<&str> = Vec::new();
        for row in rows.iter().filter(|row| has(row, mark)) {
            if !names.contains(&row.backend.as_str()) {
                names.push(&row.backend);
            }
        }
        let is_on_all = rows.iter().all(|row| has(row, mark));
        format!("{mark}: {}", if is_on_all { "all".to_owned() } else { names.join("; ") })
    };
    distinct_marks(rows).into_iter().map(with_names).collect()
}

/// The texts of the marks of these rows, without details and duplicates.
fn distinct_marks<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let mut marks: Vec<&str> =
        rows.iter().flat_map(|row| &row.marks).map(|mark| split(mark).0).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// The text of a mark, and its detail in brackets with the space before it, if it has one. Rows
/// whose marks differ only in the detail share a note.
fn split(mark: &str) -> (&str, &str) {
    mark.split_at(mark.find(" (").unwrap_or(mark.len()))
}

/// Follows the name of a row that has marks.
pub(super) const MARK: char = '*';

/// The workloads of a report, without duplicates, in their order.
pub fn workloads(rows: &[Row]) -> Vec<(String, Workload)> {
    let mut found: Vec<(String, Workload)> = Vec::new();
    for row in rows {
        let this = (row.work.clone(), row.workload());
        if !found.contains(&this) {
            found.push(this);
        }
    }
    found
}

/// The rows of one workload: the durable ones with their floors, then the others.
pub fn sorted<'a>(rows: &[&'a Row]) -> Vec<&'a Row> {
    let place = |row: &&Row| (!row.is_durable(), row.role == Role::Floor && row.work != "verbs");
    let mut rows = rows.to_vec();
    // Rows of the same kind are in the order of their p50.
    rows.sort_by(|one, other| {
        place(one).cmp(&place(other)).then(one.p50_us.total_cmp(&other.p50_us))
    });
    rows
}

fn columns(rows: &[&Row]) -> String {
    let mut lines = vec![HEADS.map(str::to_owned).to_vec()];
    let mut durable = true;
    for row in sorted(rows) {
        if durable && !row.is_durable() {
            lines.push(vec![format!("-- {}, so not compared:", row.durability)]);
        }
        durable = row.is_durable();
        lines.push(cells(row));
    }
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| line.len() > 1).map(|line| line[column].len());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        text += &aligned(line, &widths);
        text += "\n";
    }
    text
}

/// Aligns names to the left and numbers to the right.
fn aligned(line: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (column, cell) in line.iter().enumerate() {
        let width = widths[column];
        match column {
            0 => text += &format!("  {cell:<width$}"),
            _ => text += &format!("  {cell:>width$}"),
        }
    }
    text.trim_end().to_owned()
}

/// The cells of a row, one for each of [`HEADS`].
pub(super) fn cells(row: &Row) -> Vec<String> {
    let some = |figure: Option<f64>, format: fn(f64) -> String| figure.map_or("-".into(), format);
    let two = |figure: f64| format!("{figure:.2}");
    vec![
        marked_name(row),
        micros(row.p50_us),
        micros(row.p99_us),
        micros(row.p999_us),
        micros(row.max_us),
        spread(row),
        some(row.ratio, two),
        count(row.per_second),
        some(row.syncs_per_second, count),
        some(row.entries_per_sync, |figure| format!("{figure:.1}")),
        some(row.written_per_payload.filter(|_| row.is_durable()), two),
        some(row.cpu_us_per_entry, two),
    ]
}

/// The least and the greatest p50 of the rounds.
pub(super) fn spread(row: &Row) -> String {
    row.spread_us()
        .map_or("-".to_owned(), |(low, high)| format!("{}-{}", micros(low), micros(high)))
}

/// The name, with a mark if a footnote says why the row is not reliable.
pub fn marked_name(row: &Row) -> String {
    if row.marks.is_empty() { name(row) } else { format!("{} {MARK}", name(row)) }
}

/// The subject, the number of members, and how it syncs.
pub fn name(row: &Row) -> String {
    let failed = match row.failures {
        0 => String::new(),
        failures => format!(", {failures} failed"),
    };
    match row.role {
        Role::Floor => format!("(floor) {}", row.backend),
        Role::Store | Role::Peer => {
            let members =
                if row.members > 1 { format!(" x{}", row.members) } else { String::new() };
            let verb =
                if row.is_durable() { format!(", {}", row.sync_verb) } else { String::new() };
            format!("{}{members}{verb}{failed}", row.backend)
        }
        Role::Library | Role::Server => format!("{}{failed}", row.backend),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::facts::Facts;
    use crate::lane::{POWER_LOSS, Subject};
    use crate::{SCHEMA, Tally};

    /// A row of this backend with a p50 of this many microseconds.
    pub fn row(role: Role, name: &str, durability: &str, clients: u64, micros: u64) -> Row {
        let subject = Subject {
            role,
            name: name.to_owned(),
            durability: durability.to_owned(),
            sync_verb: "fdatasync".to_owned(),
            members: 1,
        };
        let workload = Workload { size: 256, batch: 1, clients, rate: None };
        let mut tally = Tally::new();
        tally.samples.record(Duration::from_micros(micros), 100 * clients.max(2));
        (tally.entries, tally.writes, tally.written_entries) = (100 * clients, 100, 100 * clients);
        tally.busy = Duration::from_micros(100 * micros);
        Row::new("log", &subject, &workload, &[tally])
    }

    /// A report of two workloads with a floor, two durable stores and one that is not durable.
    pub fn report() -> Report {
        let mut rows = Vec::new();
        for clients in [1, 64] {
            let floor = row(Role::Floor, "pre-written + fdatasync", POWER_LOSS, clients, 70);
            rows.push(row(Role::Store, "sqlite", POWER_LOSS, clients, 140).compared_with(&floor));
            rows.push(row(Role::Store, "file", POWER_LOSS, clients, 77).compared_with(&floor));
            rows.push(row(Role::Store, "memory", "volatile", clients, 1).compared_with(&floor));
            rows.push(floor);
        }
        let facts = Facts::gather(Path::new("."));
        Report {
            schema: SCHEMA,
            command: "kontiki bench log".to_owned(),
            facts,
            interrupted: false,
            rows,
        }
    }

    #[test]
    fn stores_that_do_not_sync_are_listed_separately() {
        let text = table(&report());
        let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(place("  file") < place("  sqlite"), "the faster first");
        assert!(place("  sqlite") < place("(floor)"), "the floor is after what it is for");
        assert!(place("(floor)") < place("not compared"));
        assert!(place("not compared") < place("  memory"));
        assert_eq!(text.matches("  sqlite").count(), 2, "once for each number of clients: {text}");
        assert!(text.contains("1.10") && text.contains("64 clients"), "{text}");
        assert!(text.lines().all(|line| line.len() < 132), "{text}");
    }

    #[test]
    fn a_marked_row_shows_it_in_the_table_and_says_why_below() {
        let mut report = report();
        assert!(!table(&report).contains(MARK), "{}", table(&report));
        report.rows[0].marks.push("filled incompletely (20 of 192 MiB)".to_owned());
        report.rows[1].marks.push("filled incompletely (90 of 192 MiB)".to_owned());
        report.interrupted = true;
        let text = table(&report);
        assert!(text.contains("sqlite, fdatasync *"), "{text}");
        let note = "* filled incompletely: sqlite (20 of 192 MiB); file (90 of 192 MiB)\n";
        assert!(text.contains(note), "{text}");
        assert!(text.contains("warning: interrupted"), "{text}");
        assert!(text.contains("fastest way to write here: pre-written + fdatasync"), "{text}");
    }

    #[test]
    fn the_notes_of_a_plot_name_each_subject_once_and_have_no_details() {
        let mut report = report();
        for (number, row) in report.rows.iter_mut().enumerate() {
            row.marks.push(format!("few samples ({number})"));
        }
        report.rows[0].marks.push("few rounds (1 of 5)".to_owned());
        report.rows[4].marks.push("few rounds (2 of 5)".to_owned());
        let rows: Vec<&Row> = report.rows.iter().collect();
        assert_eq!(rows[0].backend, rows[4].backend);
        assert_eq!(marks_in_brief(&rows), ["few rounds: sqlite", "few samples: all"]);
    }

    #[test]
    fn a_row_names_its_members_and_what_it_wrote_only_if_it_is_durable() {
        let mut report = report();
        for row in &mut report.rows {
            row.members = 3;
            row.written_per_payload = Some(7.25);
        }
        let written = HEADS.iter().position(|head| *head == "written").expect("a column");
        for row in &report.rows {
            let cells = cells(row);
            let wanted = if row.is_durable() { "7.25" } else { "-" };
            assert_eq!(cells[written], wanted, "{cells:?}");
            assert_eq!(cells[0].contains(" x3"), row.role == Role::Store, "{cells:?}");
        }
    }

    #[test]
    fn a_soak_shows_its_series() {
        let mut report = report();
        report.rows = vec![series::tests::soaked()];
        let text = table(&report);
        assert!(text.contains("soak: 256 B, 1 client"), "{text}");
        assert!(text.contains("process MiB") && text.contains("        30.0"), "{text}");
    }
}
