//! What may not be written: calls that would let chance or a clock into the core, leftovers of
//! unfinished work, and paths of one person's machine.
//!
//! The words are put together from parts here, or this file would be its own first finding.

use crate::source::{self, SourceFile, hold, is_word};

/// Names that bring a clock, a thread, global randomness, hash order or output into the core.
/// `no_std` keeps them out of what is built; this keeps them out of the core's own tests too.
const BANNED_IN_CORE: [&str; 10] = [
    "Instant",
    "SystemTime",
    "thread",
    "HashMap",
    "HashSet",
    "rand",
    "println",
    "eprintln",
    "print",
    "eprint",
];

/// Where they are banned.
const CORE: &str = "raft-core/src/";

/// Leftovers, in Rust files.
const LEFTOVERS: [&str; 8] = [
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
    concat!("d", "bg!"),
    concat!("#[ig", "nore"),
    concat!("allow(dead", "_code"),
    concat!("allow(un", "used"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

#[test]
fn the_core_calls_nothing_banned() {
    hold(source::rust_files().iter().flat_map(banned_calls).collect());
}

#[test]
fn a_banned_call_is_found() {
    let text = "//! No Instant here.\nuse std::thread;\nfn now() { std::time::Instant::now() }\n";
    let found = banned_calls(&SourceFile::sample("raft-core/src/consensus/a.rs", text));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(banned_calls(&SourceFile::sample("log-file/src/a.rs", text)), [""; 0]);
}

#[test]
fn the_core_is_without_the_standard_library() {
    let files = source::rust_files();
    let root = files.iter().find(|file| file.path == format!("{CORE}lib.rs"));
    assert!(root.is_some_and(is_no_std), "{CORE}lib.rs must say #![no_std]");
}

#[test]
fn a_core_with_the_standard_library_is_found() {
    assert!(is_no_std(&SourceFile::sample("lib.rs", "//! Core.\n#![no_std]\n")));
    assert!(!is_no_std(&SourceFile::sample("lib.rs", "//! Core.\n// #![no_std]\n")));
}

#[test]
fn nothing_is_left_over() {
    hold(source::rust_files().iter().flat_map(leftovers).collect());
}

#[test]
fn a_leftover_is_found() {
    for word in LEFTOVERS {
        let file = SourceFile::sample("a.rs", &format!("fn f() {{\n    {word}\n}}\n"));
        assert_eq!(leftovers(&file).len(), 1, "{word}");
    }
}

#[test]
fn no_path_of_one_machine_is_named() {
    hold(source::tree().iter().flat_map(machine_paths).collect());
}

#[test]
fn a_path_of_one_machine_is_found() {
    for path in MACHINE_PATHS {
        let found = |text: String| machine_paths(&SourceFile::sample("a.md", &text)).len();
        assert_eq!(found(format!("See `{path}notes`.\n")), 1);
        assert_eq!(found(format!("See tests{path}notes.\n")), 0);
    }
}

fn banned_calls(file: &SourceFile) -> Vec<String> {
    if !file.path.starts_with(CORE) {
        return Vec::new();
    }
    let code = file.code();
    let lines = code.lines().enumerate();
    let words = lines.flat_map(|(n, line)| line.split(|c| !is_word(c)).map(move |word| (n, word)));
    words
        .filter(|(_, word)| BANNED_IN_CORE.contains(word))
        .map(|(n, word)| format!("{}:{}: `{word}` must not reach the core", file.path, n + 1))
        .collect()
}

fn is_no_std(file: &SourceFile) -> bool {
    file.code().lines().any(|line| line == "#![no_std]")
}

fn leftovers(file: &SourceFile) -> Vec<String> {
    let found = |line: &str| LEFTOVERS.into_iter().find(|word| line.contains(word));
    let lines = file.text.lines().enumerate();
    lines
        .filter_map(|(n, line)| found(line).map(|word| (n, word)))
        .map(|(n, word)| format!("{}:{}: `{word}` was left over", file.path, n + 1))
        .collect()
}

fn machine_paths(file: &SourceFile) -> Vec<String> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| names_machine_path(line));
    lines.map(|(n, _)| format!("{}:{}: a path of one machine", file.path, n + 1)).collect()
}

/// Whether a path begins in this line; in the middle of a longer path the same names are fine.
fn names_machine_path(line: &str) -> bool {
    let begins = |at: usize| !line[..at].ends_with(|c: char| is_word(c) || ".-})*".contains(c));
    MACHINE_PATHS.iter().any(|path| line.match_indices(path).any(|(at, _)| begins(at)))
}
