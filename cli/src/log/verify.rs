//! `kontiki log verify`: checks every checksum of a log, and of the snapshots beside it, without
//! changing them.

use std::process::ExitCode;

use serde::Serialize;

use super::Damage;
use super::arguments::Verify;
use super::place::{Looked, Named};
use super::progress::Progress;
use super::snapshots::{self, ShownSnapshot};
use crate::failure::Failure;
use crate::output::{print, print_json};

/// The number of damaged places in the text output; `--json` prints all.
const MAX_LINES: usize = 50;

/// The result of the check.
#[derive(Serialize)]
struct Verdict {
    dir: String,
    backend: String,
    format_version: u32,
    sound: bool,
    /// The first entry, or the index that it would have, and the last entry that is sound.
    first: u64,
    last: u64,
    proven: String,
    beyond: Vec<String>,
    /// The snapshots of a member's directory, the newest first.
    snapshots: Vec<ShownSnapshot>,
    damage: Vec<Damage>,
}

/// Verifies a log; the exit status is 1 if it is damaged.
pub fn run(verify: &Verify) -> Result<ExitCode, Failure> {
    let looked = Named::parse(&verify.dir).look()?;
    let verdict = Verdict::of(looked)?;
    if verify.json {
        print_json(&verdict)?
    } else {
        print(&verdict.text())?
    }
    match verdict.damage.len() {
        0 => Ok(ExitCode::SUCCESS),
        places => Err(Failure::new(format!("{} is damaged in {places} place(s)", verdict.dir))
            .advise(
                "do not change the files, and keep a copy: the other members continue as long as \
                 they are a majority",
            )),
    }
}

impl Verdict {
    fn of(mut looked: Looked) -> Result<Verdict, Failure> {
        let progress = Progress::new("verifying");
        let findings = looked.inspection.verify(&mut |done, all| progress.show(done, all));
        let snapshots = snapshots::check(looked.snapshots.as_ref())?;
        let mut damage: Vec<Damage> = findings.iter().map(Damage::of).collect();
        damage.extend(snapshots.iter().filter_map(ShownSnapshot::damage).cloned());
        let inspection = looked.inspection.result();
        let bounds = inspection.recovered.bounds;
        Ok(Verdict {
            dir: looked.dir.display().to_string(),
            backend: inspection.info.backend.to_string(),
            format_version: inspection.info.format_version,
            sound: damage.is_empty(),
            first: bounds.first().get(),
            last: bounds.last.index.get(),
            proven: inspection.proven.clone(),
            beyond: inspection.beyond.clone(),
            snapshots,
            damage,
        })
    }

    fn text(&self) -> String {
        let Verdict { dir, backend, format_version, first, last, proven, .. } = self;
        let mut lines = vec![format!("{dir}: {backend} log, format {format_version}")];
        lines.push(if last < first {
            format!("no entry after {last}")
        } else {
            format!("entries {first} to {last}")
        });
        lines.push(if proven.is_empty() {
            "nothing is proven to be synced".to_owned()
        } else {
            format!("proven to be synced up to {proven}")
        });
        lines.extend(self.beyond.iter().map(|beyond| format!("beyond: {beyond}")));
        lines.extend(self.snapshots.iter().map(|one| format!("snapshot {}", one.line())));
        let shown = self.damage.iter().take(MAX_LINES);
        lines.extend(shown.map(|damage| format!("damaged: {}", damage.message)));
        match self.damage.len() {
            0 => lines.push("sound: every checksum holds".to_owned()),
            all if all > MAX_LINES => lines.push(format!("... and {} more", all - MAX_LINES)),
            _ => {}
        }
        lines.join("\n") + "\n"
    }
}
