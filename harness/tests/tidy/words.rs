//! Text that is not allowed: calls that would bring randomness or a clock into the core, leftovers
//! of unfinished work, paths of one person's machine, and words that are not plain.
//!
//! The last rule reads names as well as prose: a name such as `FirstEntry` is two words. It
//! refuses metaphors for which the field has a term, and words for people where code is meant.
//!
//! The words are assembled from parts here; otherwise this file would violate the rule itself.

use crate::source::{self, SourceFile, hold, is_word};

/// Names that bring a clock, a thread, global randomness, hash order or output into the core.
/// `no_std` excludes them from the library; this rule excludes them from the core's own tests too.
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

/// The folder in which they are banned.
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

/// Words for people, metaphors, and unusual words. The glossary and the code show the term to use
/// instead.
const NOT_PLAIN: [&str; 48] = [
    concat!("any", "body"),
    concat!("de", "sk"),
    concat!("de", "sks"),
    concat!("err", "and"),
    concat!("err", "ands"),
    concat!("every", "body"),
    concat!("f", "ed"),
    concat!("gre", "et"),
    concat!("gre", "eted"),
    concat!("gre", "eting"),
    concat!("gre", "ets"),
    concat!("he", "ed"),
    concat!("he", "eded"),
    concat!("hou", "se"),
    concat!("in", "box"),
    concat!("in", "boxes"),
    concat!("l", "ap"),
    concat!("l", "aps"),
    concat!("me", "nd"),
    concat!("me", "nded"),
    concat!("me", "nding"),
    concat!("me", "nds"),
    concat!("no", "body"),
    concat!("pro", "logue"),
    concat!("pro", "logues"),
    concat!("rehear", "sal"),
    concat!("rehear", "sals"),
    concat!("rehear", "se"),
    concat!("rehear", "sed"),
    concat!("rou", "se"),
    concat!("rou", "sed"),
    concat!("sc", "ene"),
    concat!("sc", "enes"),
    concat!("si", "ght"),
    concat!("si", "ghts"),
    concat!("some", "body"),
    concat!("some", "one"),
    concat!("stran", "ger"),
    concat!("stran", "gers"),
    concat!("str", "ikes"),
    concat!("str", "uck"),
    concat!("trou", "pe"),
    concat!("trou", "pes"),
    concat!("unt", "old"),
    concat!("wh", "oever"),
    concat!("wh", "om"),
    concat!("ya", "rd"),
    concat!("ya", "rds"),
];

/// The pronoun that is for people only, and the words that it may follow because they are people.
const PERSON: &str = concat!("wh", "o");
const PEOPLE: [&str; 11] = [
    "attacker",
    "author",
    "authors",
    "developer",
    "engineer",
    "everyone",
    "operator",
    "person",
    "those",
    "user",
    "users",
];

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

#[test]
fn words_are_plain() {
    hold(source::tree().iter().flat_map(words_that_are_not_plain).collect());
}

#[test]
fn a_word_that_is_not_plain_is_found() {
    let found =
        |path: &str, text: &str| words_that_are_not_plain(&SourceFile::sample(path, text)).len();
    for word in NOT_PLAIN {
        let mut capital = word.to_owned();
        capital[..1].make_ascii_uppercase();
        assert_eq!(found("a.rs", &format!("/// Waits for {word}.\n")), 1, "{word} in a comment");
        assert_eq!(
            found("a.rs", &format!("panic!(\"{capital} waits\");\n")),
            1,
            "{word} in a string"
        );
        assert_eq!(found("a.rs", &format!("struct First{capital};\n")), 1, "{word} in a type");
        assert_eq!(found("a.rs", &format!("let first_{word} = 1;\n")), 1, "{word} in a name");
        assert_eq!(found("a.md", &format!("# One\n\n{capital} waits.\n")), 1, "{word} in a text");
        assert_eq!(
            found("a.md", &format!("Was `{word}` in [a](b-{word}.md).\n")),
            0,
            "{word} quoted"
        );
        assert_eq!(
            found("a.rs", &format!("let {word}keeping = 1;\n")),
            0,
            "{word} in a longer word"
        );
    }
}

#[test]
fn a_word_for_people_is_found_where_code_is_meant() {
    let found = |text: String| words_that_are_not_plain(&SourceFile::sample("a.rs", &text)).len();
    assert_eq!(found(format!("/// The task {PERSON} waits.\n")), 1);
    assert_eq!(found(format!("// W{} waits is woken.\n", &PERSON[1..])), 1);
    assert_eq!(found(format!("let {PERSON} = 1;\n")), 1);
    for people in PEOPLE {
        assert_eq!(found(format!("/// The {people} {PERSON} waits.\n")), 0, "{people}");
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
        .map(|(n, word)| format!("{}:{}: `{word}` is not allowed in the core", file.path, n + 1))
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

/// Whether a path begins in this line; in the middle of a longer path the same names are allowed.
fn names_machine_path(line: &str) -> bool {
    let begins = |at: usize| !line[..at].ends_with(|c: char| is_word(c) || ".-})*".contains(c));
    MACHINE_PATHS.iter().any(|path| line.match_indices(path).any(|(at, _)| begins(at)))
}

fn words_that_are_not_plain(file: &SourceFile) -> Vec<String> {
    let is_document = file.path.ends_with(".md");
    if !(is_document || file.is_rust()) {
        return Vec::new();
    }
    // A decision keeps its title, because other documents link to it.
    let skipped = usize::from(file.path.starts_with("docs/decisions/"));
    let lines = file.text.lines().enumerate().skip(skipped);
    let found = lines.flat_map(|(n, line)| {
        let line = if is_document { without_quotations(line) } else { line.to_owned() };
        not_plain(&line).into_iter().map(move |word| (n, word))
    });
    found
        .map(|(n, word)| format!("{}:{}: `{word}` is not a plain word", file.path, n + 1))
        .collect()
}

fn not_plain(line: &str) -> Vec<String> {
    let words = words_of(line);
    let before = |at: usize| at.checked_sub(1).map_or("", |before| words[before].as_str());
    let is_plain = |at: usize, word: &str| match word {
        PERSON => PEOPLE.contains(&before(at)),
        _ => !NOT_PLAIN.contains(&word),
    };
    let found = words.iter().enumerate().filter(|(at, word)| !is_plain(*at, word));
    found.map(|(_, word)| word.clone()).collect()
}

/// The words of a line in lower case. A name such as `FirstEntry` is split into its words.
fn words_of(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        let begins = before.is_lowercase() && c.is_uppercase();
        if begins || !c.is_alphabetic() {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A line of a document without names in backquotes and without the targets of links.
fn without_quotations(line: &str) -> String {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut parts = prose.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let after = part.split_once(')').map_or("", |(_, after)| after);
        format!("{text} {after}")
    })
}
