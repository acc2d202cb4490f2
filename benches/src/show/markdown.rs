//! The report as a part of a document: the facts and the tables.

use super::numbers::{count, micros};
use super::table::{footnotes, marked_name, sorted, spread, workloads};
use crate::{Report, Row};

/// Facts and tables, in Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("`{}`\n\n", report.command);
    for line in report.facts.lines() {
        text += &format!("- {line}\n");
    }
    for warning in report.warnings() {
        text += &format!("- **warning**: {warning}\n");
    }
    for (work, workload) in workloads(&report.rows) {
        let of_this = |row: &&Row| row.work == work && row.workload() == workload;
        let rows: Vec<&Row> = report.rows.iter().filter(of_this).collect();
        text += &format!("\n**{work}: {}**\n\n", workload.describe());
        text += "| | p50 us | p99 us | p99.9 us | max us | p50 of rounds | x floor | entries/s ";
        text += "| per sync | written | CPU us |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        sorted(&rows).into_iter().for_each(|row| text += &line(row));
        for note in footnotes(&rows) {
            text += &format!("\n{}\n", note.replace('*', "\\*"));
        }
    }
    text
}

/// The document with this text between the markers of that name, or `None` if it has no such
/// markers.
pub fn fill_in(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{text}\n{end}{after}"))
}

fn line(row: &Row) -> String {
    let some = |figure: Option<f64>, digits: usize| {
        figure.map_or(String::new(), |figure| format!("{figure:.digits$}"))
    };
    let apart = if row.is_durable() { "" } else { " (not durable)" };
    format!(
        "| {}{apart} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        marked_name(row).replace('*', "\\*"),
        micros(row.p50_us),
        micros(row.p99_us),
        micros(row.p999_us),
        micros(row.max_us),
        spread(row),
        some(row.ratio, 2),
        count(row.per_second),
        some(row.entries_per_sync, 1),
        some(row.written_per_payload.filter(|_| row.is_durable()), 2),
        some(row.cpu_us_per_entry, 2),
    )
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::report;
    use super::*;

    #[test]
    fn tables_go_between_their_markers_again_and_again() {
        let document = "a\n<!-- begin log -->\nold\n<!-- end log -->\nb\n";
        let once = fill_in(document, "log", "new\n").expect("the markers are there");
        assert_eq!(once, "a\n<!-- begin log -->\n\nnew\n\n<!-- end log -->\nb\n");
        assert_eq!(fill_in(&once, "log", "new\n"), Some(once.clone()));
        assert_eq!(fill_in(document, "commit", "new"), None);
    }

    #[test]
    fn every_line_of_a_table_has_its_columns() {
        let text = markdown(&report());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 * (2 + 4));
        assert!(rows.iter().all(|line| line.matches('|').count() == 12), "{text}");
        assert!(text.contains("| memory (not durable) |"));
    }
}
