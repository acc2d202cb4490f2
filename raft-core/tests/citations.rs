//! Every law and promise that a source cites is listed in `docs/laws.md`, and every rule in
//! `docs/rules.md`; each of them is cited somewhere.
//!
//! A citation is an L, a P or a K with a number, as a separate word.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates whose sources cite laws and promises.
const CITING: [&str; 6] =
    ["raft-core", "raft-node", "raft-net", "log-memory", "log-file", "harness"];

#[test]
fn every_cited_law_is_in_the_docs() {
    let known = defined();
    let unknown: Vec<String> = cited()
        .into_iter()
        .filter(|(law, _)| !known.contains(law))
        .map(|(law, place)| format!("{place} cites {law}"))
        .collect();
    assert!(unknown.is_empty(), "docs/laws.md and docs/rules.md lack:\n{}", unknown.join("\n"));
}

#[test]
fn every_rule_is_cited() {
    let cited: BTreeSet<String> = cited().into_iter().map(|(rule, _)| rule).collect();
    let idle: Vec<String> =
        table("rules.md").into_iter().filter(|rule| !cited.contains(rule)).collect();
    assert!(idle.is_empty(), "neither source nor trace cites {}", idle.join(", "));
}

#[test]
fn every_law_and_promise_is_cited_in_the_core() {
    let cited: BTreeSet<String> = cited()
        .into_iter()
        .filter(|(_, place)| place.contains("src"))
        .map(|(law, _)| law)
        .collect();
    let idle: Vec<String> =
        table("laws.md").into_iter().filter(|law| !cited.contains(law)).collect();
    assert!(idle.is_empty(), "no source cites {}", idle.join(", "));
}

#[test]
fn a_citation_is_a_separate_word() {
    let text = "law L3, (P16): L12; XL4 L5x P L_6 0xL7 L8; K35, 4K K_1.";
    assert_eq!(citations(text), ["L3", "P16", "L12", "L8", "K35"]);
}

fn workspace() -> PathBuf {
    PathBuf::from("..")
}

/// Everything that may be cited.
fn defined() -> BTreeSet<String> {
    let mut all = table("laws.md");
    all.extend(table("rules.md"));
    all
}

/// What the tables of a page define.
fn table(page: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace().join("docs").join(page)).expect("a page of the docs");
    let row =
        |line: &str| line.strip_prefix("| ")?.split_once(" |").map(|(law, _)| law.to_string());
    let laws = text.lines().filter_map(row).filter(|law| citations(law) == [law.clone()]);
    laws.collect()
}

/// Every citation in sources and traces, with its file.
fn cited() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for name in CITING {
        gather(&workspace().join(name), &mut files);
    }
    let own = Path::new(file!()).file_name();
    files.retain(|file| file.file_name() != own);
    let text = |file: &PathBuf| fs::read_to_string(file).unwrap_or_default();
    let in_file = |file: &PathBuf| {
        let place = file.display().to_string();
        citations(&text(file)).into_iter().map(move |law| (law, place.clone())).collect::<Vec<_>>()
    };
    files.iter().flat_map(in_file).collect()
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if path.is_dir() => gather(&path, files),
            Some("rs" | "trace") => files.push(path),
            _ => {}
        }
    }
}

fn citations(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_citation = |word: &&str| {
        let number = word.strip_prefix(['L', 'P', 'K']);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    words.filter(is_citation).map(String::from).collect()
}
