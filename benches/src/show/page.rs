//! The report as one HTML file that needs nothing else: no script, no font, no address.

use super::advice::{Advice, advise};
use super::plots::{latencies, throughput};
use super::table::{count, micros, name, sorted, workloads};
use crate::lane::Role;
use crate::{BenchError, Report, Row, Workload};

const STYLE: &str = "
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; font-size: 13px }
td, th { padding: .2em .7em; text-align: right }
th { border-bottom: 1px solid #999 } td:first-child, th:first-child { text-align: left }
tr.floor td { color: #777 } tr.apart td { text-align: left; color: #777; font-style: italic }
.best { border-left: 4px solid #1b9e77; padding-left: .8em } .warning { color: #a33 }
dt { font-weight: bold } dd { margin: 0 0 .6em 0 } svg { max-width: 100%; height: auto }
";

/// The page.
pub fn page(report: &Report) -> Result<String, BenchError> {
    let mut body = format!("<h1>{}</h1>\n", escaped(&report.command));
    for line in report.facts.lines() {
        body += &format!("<div>{}</div>\n", escaped(&line));
    }
    for warning in report.facts.warnings() {
        body += &format!("<p class=\"warning\">Warning: {}</p>\n", escaped(&warning));
    }
    body += &recommendation(&advise(&report.rows));
    for (work, workload) in workloads(&report.rows) {
        let of_this = |row: &&Row| row.work == work && row.workload() == workload;
        let rows: Vec<&Row> = report.rows.iter().filter(of_this).collect();
        body += &format!("<h2>{work}: {}</h2>\n{}", workload.describe(), columns(&rows));
        body += &cdf_plots(&work, &workload, &rows)?.concat();
    }
    let against_clients = throughput_plots(&report.rows)?.concat();
    if !against_clients.is_empty() {
        body += &format!("<h2>Throughput against clients</h2>\n{against_clients}");
    }
    body += "<p>Every figure is the median of the rounds, in which all subjects took turns. \
             &times; floor is p50 beside that of the disk's own write and sync.</p>\n";
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escaped(&report.command)
    ))
}

fn recommendation(advice: &[Advice]) -> String {
    let mut text = String::new();
    if advice.is_empty() {
        return text;
    }
    text += "<h2>Which one?</h2>\n<dl>\n";
    for Advice { backend, best, reason } in advice {
        let (class, mark) = if *best { (" class=\"best\"", ": take this one") } else { ("", "") };
        text += &format!("<div{class}><dt>{}{mark}</dt>", escaped(backend));
        text += &format!("<dd>{}</dd></div>\n", escaped(reason));
    }
    text + "</dl>\n"
}

fn columns(rows: &[&Row]) -> String {
    let heads = "<tr><th></th><th>p50 us</th><th>p99</th><th>p99.9</th><th>&times; floor</th>\
                 <th>entries/s</th><th>syncs/s</th><th>per sync</th><th>written per byte</th>\
                 <th>CPU us</th></tr>\n";
    let mut text = format!("<table>\n{heads}");
    let mut durable = true;
    for row in sorted(rows) {
        if durable && !row.is_durable() {
            let words = format!("{}, so not compared:", row.durability);
            text +=
                &format!("<tr class=\"apart\"><td colspan=\"10\">{}</td></tr>\n", escaped(&words));
        }
        durable = row.is_durable();
        let class = if row.role == Role::Floor { " class=\"floor\"" } else { "" };
        let cells: String = cells(row).iter().map(|cell| format!("<td>{cell}</td>")).collect();
        text += &format!("<tr{class}>{cells}</tr>\n");
    }
    text + "</table>\n"
}

fn cells(row: &Row) -> [String; 10] {
    let some = |figure: Option<f64>, format: fn(f64) -> String| figure.map_or("-".into(), format);
    let two = |figure: f64| format!("{figure:.2}");
    [
        escaped(&name(row)),
        micros(row.p50_us),
        micros(row.p99_us),
        micros(row.p999_us),
        some(row.ratio, two),
        count(row.per_second),
        some(row.syncs_per_second, count),
        some(row.entries_per_sync, |figure| format!("{figure:.1}")),
        some(row.written_per_payload.filter(|_| row.is_durable()), two),
        some(row.cpu_us_per_entry, two),
    ]
}

/// The plots of a report: distributions for each workload, then throughput.
pub fn plots_of(report: &Report) -> Result<Vec<String>, BenchError> {
    let mut plots = Vec::new();
    for (work, workload) in workloads(&report.rows) {
        let of_this = |row: &&Row| row.work == work && row.workload() == workload;
        let rows: Vec<&Row> = report.rows.iter().filter(of_this).collect();
        plots.extend(cdf_plots(&work, &workload, &rows)?);
    }
    plots.extend(throughput_plots(&report.rows)?);
    Ok(plots)
}

/// One plot for what survives a power cut, one for what does not.
fn cdf_plots(work: &str, workload: &Workload, rows: &[&Row]) -> Result<Vec<String>, BenchError> {
    let mut plots = Vec::new();
    for (durable, words) in [(true, "durable"), (false, "not durable")] {
        let of_this: Vec<&Row> =
            rows.iter().copied().filter(|row| row.is_durable() == durable).collect();
        if !of_this.is_empty() {
            let title = format!("{work}, {}, {words}: latency", workload.describe());
            plots.push(latencies(&title, &of_this)?);
        }
    }
    Ok(plots)
}

/// Entries against clients, where there are several numbers of clients for the same work.
fn throughput_plots(rows: &[Row]) -> Result<Vec<String>, BenchError> {
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
            let title = format!("{}, {} x {} B, {words}: entries a second", this.0, this.2, this.1);
            plots.push(throughput(&title, &alike)?);
        }
        seen.push(this);
    }
    Ok(plots)
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
        let page = page(&report()).expect("it can be made");
        // The name of the SVG language is an address that nobody fetches.
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for word in ["http://", "https://", "src=", "href=", "<script", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.matches("<svg").count() >= 6, "distributions and throughput");
    }

    #[test]
    fn the_page_answers_which_one() {
        let page = page(&report()).expect("it can be made");
        let file = page.find("<dt>file: take this one").expect("the best one is named");
        assert!(file < page.find("<dt>sqlite").expect("the others are told about"));
        assert!(!page.contains("memory: take"));
    }

    #[test]
    fn a_name_cannot_break_the_page() {
        let mut report = report();
        report.rows[0].backend = "<b>&\"".to_owned();
        let page = page(&report).expect("it can be made");
        assert!(page.contains("&lt;b&gt;&amp;&quot;") && !page.contains("<td><b>"));
    }
}
