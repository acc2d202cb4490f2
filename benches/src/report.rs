//! The result of a measurement: facts about the machine, and one row for each subject and workload.
//! It is also the JSON that `docs/benchmarks.md` describes.

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::row::Row;

/// The version of the JSON. Adding a field does not change it.
pub const SCHEMA: u32 = 1;

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format.
    pub schema: u32,
    /// The command that produced the report.
    pub command: String,
    /// The machine.
    pub facts: Facts,
    /// Whether the measurement was interrupted; the figures then cover only its complete rounds.
    #[serde(default)]
    pub interrupted: bool,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Report {
    /// Why no log is recommended from these figures; empty if they are sufficient.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.interrupted {
            doubts.push("interrupted: the measurement was ended before its time".to_owned());
        }
        let few = self.rows.iter().filter(|row| row.has_too_few_samples()).count();
        if few > 0 {
            let all = self.rows.len();
            doubts.push(format!(
                "{few} of {all} rows have fewer rounds or samples than needed; give it more \
                 --seconds"
            ));
        }
        doubts
    }

    /// What the reader must know before relying on the figures: about the machine, and about this
    /// run.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.facts.warnings();
        warnings.extend(self.doubts());
        warnings
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings are JSON")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lane::POWER_LOSS;
    use crate::row::Interval;
    use crate::row::tests::{subject, tally, workload};

    #[test]
    fn the_json_is_what_the_documentation_says() {
        let mut row = Row::new("log", &subject("file", POWER_LOSS), &workload(), &[tally(80)]);
        row.intervals.push(Interval {
            end_s: 1.0,
            per_second: 10.0,
            p50_us: 80.0,
            p99_us: 81.0,
            max_us: 82.0,
            samples: 10,
            log_bytes: 4096,
            rss_bytes: 8192,
        });
        let facts = Facts::gather(Path::new("."));
        let report = Report {
            schema: SCHEMA,
            command: "bench log".to_owned(),
            facts,
            interrupted: false,
            rows: vec![row],
        };
        let json = serde_json::to_value(&report).expect("numbers and strings are JSON");
        let back: Report = serde_json::from_value(json.clone()).expect("what was written");
        assert_eq!(back, report);
        let document = include_str!("../../docs/benchmarks.md");
        let row = &json["rows"][0];
        for part in [row, &row["rounds"][0], &row["intervals"][0], &json["facts"], &json] {
            for name in part.as_object().expect("an object").keys() {
                assert!(document.contains(&format!("`{name}`")), "{name} is not documented");
            }
        }
        for name in ["work", "backend", "size", "batch", "clients", "p50_us", "p99_us"] {
            assert!(json["rows"][0].get(name).is_some_and(|value| !value.is_null()), "{name}");
        }
    }
}
