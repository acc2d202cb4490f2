//! `kontiki log show`: what a log holds, for people or as JSON. A damaged log is shown as far as it
//! can be read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use kontiki::storage::{Inspection, LogReader};
use kontiki::types::{Entry, EntryId, EntryKind, LogIndex, Membership, NodeId};
use serde::Serialize;

use super::Damage;
use super::arguments::Show;
use super::place::{Looked, Named};
use super::snapshots::{self, ShownSnapshot};
use crate::failure::{Failure, chain};
use crate::output::{print, print_json};

/// The number of bytes of a payload that are shown.
const PREVIEW_BYTES: usize = 40;

/// The output of the command.
#[derive(Serialize)]
struct Shown {
    dir: String,
    backend: String,
    format_version: u32,
    identity: Option<ShownIdentity>,
    hard_state: ShownHardState,
    boundary: ShownId,
    last: ShownId,
    entries: u64,
    commit_hint: u64,
    terms: Vec<ShownRun>,
    memberships: Vec<ShownMembership>,
    proven: String,
    beyond: Vec<String>,
    /// The snapshots of a member's directory, the newest first.
    snapshots: Vec<ShownSnapshot>,
    page: Vec<ShownEntry>,
    damage: Option<Damage>,
}

#[derive(Serialize)]
struct ShownIdentity {
    node: u64,
    cluster: String,
    store: String,
}

#[derive(Serialize)]
struct ShownHardState {
    term: u64,
    vote: Option<u64>,
}

#[derive(Serialize)]
struct ShownId {
    index: u64,
    term: u64,
}

/// A run of entries of one term, by its first entry.
#[derive(Serialize)]
struct ShownRun {
    first: u64,
    term: u64,
}

#[derive(Serialize)]
struct ShownMembership {
    index: u64,
    voters: Vec<u64>,
    outgoing: Vec<u64>,
    learners: Vec<u64>,
    metadata: BTreeMap<u64, String>,
    /// The metadata's readable parts, by member.
    #[serde(skip)]
    words: BTreeMap<u64, String>,
}

/// An entry of the page. If its payload is damaged, only its id is known.
#[derive(Serialize)]
struct ShownEntry {
    index: u64,
    term: Option<u64>,
    kind: Option<&'static str>,
    bytes: Option<u64>,
    preview: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

/// Shows a log; the exit status is 1 if some of it is damaged.
pub async fn run(show: Show) -> Result<ExitCode, Failure> {
    let looked = Named::parse(&show.dir).look()?;
    let from = first_of_page(&show, looked.inspection.result())?;
    let page = page(looked.inspection.reader().as_mut(), from, show.count, &looked).await;
    let snapshots = snapshots::check(looked.snapshots.as_ref())?;
    let shown = Shown::of(&looked, page, snapshots);
    if show.json {
        print_json(&shown)?
    } else {
        print(&shown.table())?
    }
    let rotten = shown.page.iter().find_map(|entry| entry.damage.clone());
    let snapshot = shown.snapshots.iter().find_map(|one| one.damage().cloned());
    match shown.damage.or(snapshot).map(|damage| damage.message).or(rotten) {
        None => Ok(ExitCode::SUCCESS),
        Some(what) => Err(Failure::new(format!("{} is damaged: {what}", shown.dir))
            .advise("the output ends before the damage; `kontiki log verify` finds all damage")),
    }
}

fn first_of_page(show: &Show, inspection: &Inspection) -> Result<LogIndex, Failure> {
    let bounds = inspection.recovered.bounds;
    let (first, last) = (bounds.first(), bounds.last.index);
    let from = show.from.map_or(first, LogIndex::new);
    if from < first {
        return Err(Failure::new(format!("entry {from} is no longer in the log"))
            .advise(format!("it begins at {first}: --from {first}")));
    }
    if from > last && from > first {
        return Err(Failure::new(format!("entry {from} is not in the log"))
            .advise(format!("its last entry is {last}")));
    }
    Ok(from)
}

async fn page(
    reader: &mut dyn LogReader,
    from: LogIndex,
    count: u64,
    looked: &Looked,
) -> Vec<ShownEntry> {
    let last = looked.inspection.result().recovered.bounds.last.index;
    let mut page = Vec::new();
    let mut at = from;
    while at <= last && (page.len() as u64) < count {
        page.push(match reader.read(at..at.next(), 0).await {
            Ok(entries) => ShownEntry::of(&entries[0]),
            Err(error) => ShownEntry {
                index: at.get(),
                term: reader.term(at).await.ok().map(|term| term.get()),
                kind: None,
                bytes: None,
                preview: String::new(),
                damage: Some(chain(&error)),
            },
        });
        at = at.next();
    }
    page
}

impl ShownEntry {
    fn of(entry: &Entry) -> ShownEntry {
        let front = &entry.payload[..entry.payload.len().min(PREVIEW_BYTES)];
        let more = if entry.payload.len() > PREVIEW_BYTES { "..." } else { "" };
        ShownEntry {
            index: entry.id.index.get(),
            term: Some(entry.id.term.get()),
            kind: Some(kind_name(entry.kind)),
            bytes: Some(entry.size()),
            preview: format!("{}{more}", front.escape_ascii()),
            damage: None,
        }
    }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Noop => "no-op",
        EntryKind::Command => "command",
        EntryKind::SessionCommand => "session command",
        EntryKind::SessionControl => "session control",
        EntryKind::Membership => "membership",
        EntryKind::FeatureLevel => "feature level",
        _ => "other",
    }
}

fn numbers<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u64> {
    nodes.into_iter().map(|node| node.get()).collect()
}

impl ShownMembership {
    fn of(index: LogIndex, membership: &Membership) -> ShownMembership {
        let parts = membership.parts();
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        ShownMembership {
            index: index.get(),
            voters: numbers(&parts.voters),
            outgoing: numbers(&parts.outgoing),
            learners: numbers(&parts.learners),
            metadata: parts.metadata.iter().map(|(node, it)| (node.get(), text(it))).collect(),
            words: parts.metadata.iter().map(|(node, it)| (node.get(), words(it))).collect(),
        }
    }
}

/// The readable words in some bytes.
fn words(bytes: &[u8]) -> String {
    let parts = bytes.split(|byte| !byte.is_ascii_graphic()).filter(|part| !part.is_empty());
    let parts: Vec<_> = parts.map(String::from_utf8_lossy).collect();
    parts.join(" ")
}

impl Shown {
    fn of(looked: &Looked, page: Vec<ShownEntry>, snapshots: Vec<ShownSnapshot>) -> Shown {
        let inspection = looked.inspection.result();
        let found = &inspection.recovered;
        let id = |EntryId { term, index }| ShownId { index: index.get(), term: term.get() };
        let run = |run: &kontiki::types::TermRun| ShownRun {
            first: run.first.get(),
            term: run.term.get(),
        };
        let members = found.memberships.iter();
        Shown {
            dir: looked.dir.display().to_string(),
            backend: inspection.info.backend.to_string(),
            format_version: inspection.info.format_version,
            identity: inspection.identity.map(|identity| ShownIdentity {
                node: identity.node.get(),
                cluster: identity.cluster.to_string(),
                store: identity.store.to_string(),
            }),
            hard_state: ShownHardState {
                term: found.hard_state.term.get(),
                vote: found.hard_state.vote.map(|vote| vote.get()),
            },
            boundary: id(found.bounds.boundary),
            last: id(found.bounds.last),
            entries: found.bounds.last.index.since(found.bounds.boundary.index),
            commit_hint: found.commit_hint.get(),
            terms: found.term_runs.iter().map(run).collect(),
            memberships: members.map(|(at, it)| ShownMembership::of(*at, it)).collect(),
            proven: inspection.proven.clone(),
            beyond: inspection.beyond.clone(),
            snapshots,
            page,
            damage: inspection.damage.as_ref().map(Damage::of),
        }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<12}{value}").expect("writing to a string cannot fail");
        };
        line("log", format!("{}, format {}, in {}", self.backend, self.format_version, self.dir));
        line("identity", self.identity_line());
        let vote = self.hard_state.vote.map_or("no vote".to_owned(), |vote| format!("vote {vote}"));
        line("hard state", format!("term {}, {vote}", self.hard_state.term));
        line("entries", self.entries_line());
        line("committed", format!("at least up to {}", self.commit_hint));
        for ShownRun { first, term } in &self.terms {
            line("term", format!("{term} from entry {first} on"));
        }
        self.memberships.iter().for_each(|it| line("members", it.line()));
        let proven = if self.proven.is_empty() { "nothing" } else { &self.proven };
        line("proven", proven.to_owned());
        self.beyond.iter().for_each(|beyond| line("beyond", beyond.clone()));
        self.snapshots.iter().for_each(|snapshot| line("snapshot", snapshot.line()));
        let damage = self.damage.iter();
        for damage in damage.chain(self.snapshots.iter().filter_map(ShownSnapshot::damage)) {
            line("damaged", damage.message.clone());
        }
        self.write_page(&mut text);
        text
    }

    fn identity_line(&self) -> String {
        match &self.identity {
            Some(ShownIdentity { node, cluster, store }) => {
                format!("node {node} of cluster {cluster}, store {store}")
            }
            None => "none: the log belongs to no member yet".to_owned(),
        }
    }

    fn entries_line(&self) -> String {
        let ShownId { index, term } = self.boundary;
        let purged = match index {
            0 => String::new(),
            index => format!("; purged up to {index} (term {term})"),
        };
        match self.entries {
            0 => format!("none{purged}"),
            count => {
                let last = &self.last;
                let (first, end) = (index + 1, last.index);
                format!("{count}, from {first} to {end} (term {}){purged}", last.term)
            }
        }
    }

    fn write_page(&self, text: &mut String) {
        let Some(last) = self.page.last() else { return };
        text.push('\n');
        *text += &row(["INDEX", "TERM", "KIND", "BYTES", "PAYLOAD"]);
        for entry in &self.page {
            let number = |number: Option<u64>| number.map_or("?".to_owned(), |it| it.to_string());
            let (index, term) = (entry.index.to_string(), number(entry.term));
            let preview = match entry.damage {
                Some(_) => "damaged",
                None => &entry.preview,
            };
            let kind = entry.kind.unwrap_or("?");
            *text += &row([&index, &term, kind, &number(entry.bytes), preview]);
        }
        if last.index < self.last.index {
            let (more, next) = (self.last.index - last.index, last.index + 1);
            writeln!(text, "... {more} more: --from {next}")
                .expect("writing to a string cannot fail");
        }
    }
}

/// A line of the page. The longest kind is `session command`.
fn row([index, term, kind, bytes, preview]: [&str; 5]) -> String {
    format!("{index:>10} {term:>6} {kind:<15} {bytes:>9}  {preview}\n")
}

impl ShownMembership {
    fn line(&self) -> String {
        let named = |nodes: &[u64]| {
            let one = |node: &u64| match self.words.get(node).map(String::as_str) {
                None | Some("") => node.to_string(),
                Some(words) => format!("{node} ({words})"),
            };
            nodes.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let mut line = format!("from entry {} on: voters {}", self.index, named(&self.voters));
        for (name, nodes) in [("outgoing", &self.outgoing), ("learners", &self.learners)] {
            if !nodes.is_empty() {
                line = format!("{line}; {name} {}", named(nodes));
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_aligned_for_every_kind_of_entry() {
        let head = row(["INDEX", "TERM", "KIND", "BYTES", "PAYLOAD"]).find("PAYLOAD");
        for kind in [EntryKind::Noop, EntryKind::SessionCommand, EntryKind::SessionControl] {
            let line = row(["1", "1", kind_name(kind), "7", "PAYLOAD"]);
            assert_eq!(line.find("PAYLOAD"), head, "{line}");
        }
    }
}
