//! The report as one HTML file that loads nothing else: it has no script, font or address.

use super::advice::{Advice, advise};
use super::plots::{latencies, throughput};
use super::svg::Plot;
use super::table::{HEADS, cells, footnotes, sorted, workloads};
use super::{over_time, series};
use crate::lane::Role;
use crate::{Report, Row, Workload};

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1f2328; --back: #fff; --dim: #59636e; --rule: #999 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --back: #0d1117; --dim: #9198a1; --rule: #656c76 }
}
body { font: 15px/1.5 sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em;
  color: var(--text); background: var(--back) }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; font-size: 13px }
td, th { padding: .2em .7em; text-align: right }
th { border-bottom: 1px solid var(--rule) } td:first-child, th:first-child { text-align: left }
tr.floor td, .note { color: var(--dim) }
tr.apart td { text-align: left; color: var(--dim); font-style: italic }
.best { border-left: 4px solid #1b9e77; padding-left: .8em } .warning { color: #d1442f }
dt { font-weight: bold } dd { margin: 0 0 .6em 0 } svg { max-width: 100%; height: auto }
";

/// The page.
pub fn page(report: &Report) -> String {
    let mut body = format!("<h1>{}</h1>\n", escaped(&report.command));
    for line in report.facts.lines() {
        body += &format!("<div>{}</div>\n", escaped(&line));
    }
    for warning in report.warnings() {
        body += &format!("<p class=\"warning\">Warning: {}</p>\n", escaped(&warning));
    }
    body += &recommendation(&advise(report));
    for (work, workload) in workloads(&report.rows) {
        let of_this = |row: &&Row| row.work == work && row.workload() == workload;
        let rows: Vec<&Row> = report.rows.iter().filter(of_this).collect();
        body += &format!("<h2>{work}: {}</h2>\n{}", workload.describe(), columns(&rows));
        for row in rows.iter().filter(|row| !row.intervals.is_empty()) {
            body += &intervals_table(row);
        }
        body += &concat(&series_plots(&work, &workload, &rows));
        body += &concat(&cdf_plots(&work, &workload, &rows));
    }
    let against_clients = concat(&throughput_plots(&report.rows));
    if !against_clients.is_empty() {
        body += &format!("<h2>Throughput against clients</h2>\n{against_clients}");
    }
    body += "<p>Every figure is the median of the rounds, in which all subjects took turns, and \
             max the longest of all. x floor is p50 divided by that of the disk's fastest way \
             to write.</p>\n";
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escaped(&report.command)
    )
}

fn concat(plots: &[Plot]) -> String {
    plots.iter().map(|plot| plot.svg.as_str()).collect()
}

fn recommendation(advice: &[Advice]) -> String {
    let mut text = String::new();
    if advice.is_empty() {
        return text;
    }
    text += "<h2>Which one?</h2>\n<dl>\n";
    for one in advice {
        let class = if one.best { " class=\"best\"" } else { "" };
        text += &format!("<div{class}><dt>{}</dt>", escaped(&one.headline()));
        text += &format!("<dd>{}</dd></div>\n", escaped(&one.reason));
    }
    text + "</dl>\n"
}

fn columns(rows: &[&Row]) -> String {
    let heads: String = HEADS.iter().map(|head| format!("<th>{head}</th>")).collect();
    let mut text = format!("<table>\n<tr>{heads}</tr>\n");
    let mut durable = true;
    for row in sorted(rows) {
        if durable && !row.is_durable() {
            let words = format!("{}, so not compared:", row.durability);
            let (wide, words) = (HEADS.len(), escaped(&words));
            text += &format!("<tr class=\"apart\"><td colspan=\"{wide}\">{words}</td></tr>\n");
        }
        durable = row.is_durable();
        let class = if row.role == Role::Floor { " class=\"floor\"" } else { "" };
        let cells = cells(row).into_iter().map(|cell| format!("<td>{}</td>", escaped(&cell)));
        text += &format!("<tr{class}>{}</tr>\n", cells.collect::<String>());
    }
    text += "</table>\n";
    for note in footnotes(rows) {
        text += &format!("<p class=\"note\">{}</p>\n", escaped(&note));
    }
    text
}

/// A table of the intervals, collapsed until the reader opens it.
fn intervals_table(row: &Row) -> String {
    let heads: String = series::HEADS.iter().map(|head| format!("<th>{head}</th>")).collect();
    let mut text = format!("<details><summary>Over time</summary><table>\n<tr>{heads}</tr>\n");
    for interval in &row.intervals {
        let cells = series::cells(interval).map(|cell| format!("<td>{}</td>", escaped(&cell)));
        text += &format!("<tr>{}</tr>\n", cells.concat());
    }
    text + "</table></details>\n"
}

/// The plots of a report: for each workload the figures over time and the distributions, then the
/// throughput.
pub fn plots_of(report: &Report) -> Vec<Plot> {
    let mut plots = Vec::new();
    for (work, workload) in workloads(&report.rows) {
        let of_this = |row: &&Row| row.work == work && row.workload() == workload;
        let rows: Vec<&Row> = report.rows.iter().filter(of_this).collect();
        plots.extend(series_plots(&work, &workload, &rows));
        plots.extend(cdf_plots(&work, &workload, &rows));
    }
    plots.extend(throughput_plots(&report.rows));
    plots
}

/// The plots of the rows that have figures over time.
fn series_plots(work: &str, workload: &Workload, rows: &[&Row]) -> Vec<Plot> {
    let title = format!("{work}, {}", workload.describe());
    rows.iter().flat_map(|row| over_time::plots(&title, row)).collect()
}

/// One plot for subjects that survive a power cut, and one for the others.
fn cdf_plots(work: &str, workload: &Workload, rows: &[&Row]) -> Vec<Plot> {
    let mut plots = Vec::new();
    for (durable, words) in [(true, "durable"), (false, "not durable")] {
        let of_this: Vec<&Row> =
            rows.iter().copied().filter(|row| row.is_durable() == durable).collect();
        // A plot of a single line compares nothing.
        let is_alone = !durable && of_this.len() == 1 && rows.len() > 1;
        if !of_this.is_empty() && !is_alone {
            let title = format!("{work}, {}, {words}: latency", workload.describe());
            plots.push(Plot::new(&title, latencies(&title, &of_this)));
        }
    }
    plots
}

/// Entries against clients, for workloads that were measured with several numbers of clients.
fn throughput_plots(rows: &[Row]) -> Vec<Plot> {
    let mut plots = Vec::new();
    let mut seen: Vec<(String, usize, u64, bool)> = Vec::new();
    let kind = |row: &Row| (row.work.clone(), row.size, row.batch, row.is_durable());
    for row in rows.iter().filter(|row| row.rate.is_none()) {
        let this = kind(row);
        if seen.contains(&this) {
            continue;
        }
        let alike = |other: &&Row| other.rate.is_none() && kind(other) == this;
        let alike: Vec<&Row> = rows.iter().filter(alike).collect();
        if alike.iter().any(|other| other.clients != row.clients) {
            let words = if this.3 { "durable" } else { "not durable" };
            let batch = row.workload().describe_batch();
            let title = format!("{}, {batch}, {words}: entries per second", row.work);
            plots.push(Plot::new(&title, throughput(&title, &alike)));
        }
        seen.push(this);
    }
    plots
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::report;
    use super::*;

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page(&report());
        // The name of the SVG language looks like an address, but nothing is fetched from it.
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for word in ["http://", "https://", "src=", "href=", "<script", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.matches("<svg").count() >= 4, "distributions and throughput");
    }

    #[test]
    fn the_page_names_the_recommended_log() {
        let page = page(&report());
        let file = page.find("<dt>take file: --backend file</dt>").expect("the best one is named");
        assert!(file < page.find("<dt>sqlite").expect("the others are listed"));
        assert!(!page.contains("take memory"));
    }

    #[test]
    fn a_page_of_an_interrupted_run_says_so_and_recommends_nothing() {
        let page = page(&Report { interrupted: true, ..report() });
        assert!(page.contains("Warning: interrupted") && !page.contains("Which one?"));
    }

    #[test]
    fn a_page_of_a_soak_shows_what_changes_over_time() {
        let rows = vec![series::tests::soaked()];
        let page = page(&Report { rows, ..report() });
        assert!(page.contains("<summary>Over time") && page.contains("<td>90000</td>"), "{page}");
        assert_eq!(page.matches("<svg").count(), 4, "latency, throughput, sizes, distribution");
    }

    #[test]
    fn a_name_cannot_break_the_page() {
        let mut report = report();
        report.rows[0].backend = "<b>&\"".to_owned();
        let page = page(&report);
        assert!(page.contains("&lt;b&gt;&amp;&quot;") && !page.contains("<td><b>"));
    }
}
