//! Width, length, characters, module heads, `match` on a bool, and files that no module names.

use crate::source::{self, SourceFile, hold, is_word};

/// The maximum number of columns in a line.
const MAX_COLUMNS: usize = 100;

/// The maximum number of lines in a file; the aim is below 400.
const MAX_FILE_LINES: usize = 600;

/// The maximum number of lines in a function, from its `fn` to its closing brace; the aim is 8.
const MAX_FUNCTION_LINES: usize = 70;

/// Functions that were longer when the rule was introduced, as (file, function, lines). There were
/// none, so the list stays empty.
const RATCHET: &[(&str, &str, usize)] = &[];

#[test]
fn lines_are_not_too_wide() {
    hold(source::rust_files().iter().flat_map(wide_lines).collect());
}

#[test]
fn a_wide_line_is_found() {
    let text = format!("{}\n{}\n", "x".repeat(MAX_COLUMNS), "y".repeat(MAX_COLUMNS + 1));
    assert_eq!(wide_lines(&SourceFile::sample("a.rs", &text)).len(), 1);
}

#[test]
fn sources_are_ascii() {
    hold(source::rust_files().iter().flat_map(foreign_characters).collect());
}

#[test]
fn a_foreign_character_is_found() {
    let file = SourceFile::sample("a.rs", "let ok = 1;\n// na\u{ef}ve\n");
    assert_eq!(foreign_characters(&file).len(), 1);
}

#[test]
fn files_are_not_too_long() {
    hold(source::rust_files().iter().filter_map(long_file).collect());
}

#[test]
fn a_long_file_is_found() {
    let lines = |count| SourceFile::sample("a.rs", &"x\n".repeat(count));
    assert_eq!(long_file(&lines(MAX_FILE_LINES)), None);
    assert!(long_file(&lines(MAX_FILE_LINES + 1)).is_some());
}

#[test]
fn functions_are_not_too_long() {
    hold(source::rust_files().iter().flat_map(long_functions).collect());
}

#[test]
fn a_long_function_is_found() {
    let function =
        |body| format!("impl A {{\n    fn f(\n    ) {{\n{}    }}\n}}\n", "x;\n".repeat(body));
    let file = |body| SourceFile::sample("a.rs", &function(body));
    assert_eq!(long_functions(&file(MAX_FUNCTION_LINES - 3)), [""; 0]);
    assert_eq!(long_functions(&file(MAX_FUNCTION_LINES - 2)).len(), 1);
    let named = SourceFile::sample("a.rs", "trait T { fn a(); fn b(x: [u8; 3]) -> fn(); }\n");
    assert_eq!(functions(&named.code()), []);
}

#[test]
fn no_bool_is_matched() {
    hold(source::rust_files().iter().flat_map(matched_bools).collect());
}

#[test]
fn a_matched_bool_is_found() {
    let found = |text| matched_bools(&SourceFile::sample("a.rs", text)).len();
    assert_eq!(found("match a {\n    true => b,\n    false => c,\n}\n"), 2);
    assert_eq!(found("match () {\n    () if a => b,\n    () => c,\n}\n"), 1);
    assert_eq!(found("match (a, b) {\n    (true, _) => c, // true => d\n    _ => e,\n}\n"), 0);
}

#[test]
fn every_source_file_begins_with_its_head() {
    hold(source::rust_files().iter().filter_map(missing_head).collect());
}

#[test]
fn a_missing_head_is_found() {
    let head = |text| missing_head(&SourceFile::sample("x/src/a.rs", text));
    assert_eq!(head("//! A head.\n\nuse core::fmt;\n"), None);
    assert!(head("use core::fmt;\n").is_some());
    assert!(head("//!\n").is_some());
}

#[test]
fn every_source_file_is_named_by_another() {
    let files = source::rust_files();
    hold(files.iter().filter_map(|file| dead_file(file, &files)).collect());
}

#[test]
fn a_dead_file_is_found() {
    let sample = SourceFile::sample;
    let root = sample("x/src/lib.rs", "pub mod alive;\n// mod dead;\n");
    let files = [root, sample("x/src/alive.rs", ""), sample("x/src/dead.rs", "")];
    let dead: Vec<String> = files.iter().filter_map(|file| dead_file(file, &files)).collect();
    assert_eq!(dead, ["x/src/dead.rs: no `mod dead` names this file"]);
}

fn wide_lines(file: &SourceFile) -> Vec<String> {
    let wide = |(_, line): &(usize, &str)| line.chars().count() > MAX_COLUMNS;
    let lines = file.text.lines().enumerate().filter(wide);
    lines.map(|(n, _)| format!("{}:{}: wider than {MAX_COLUMNS}", file.path, n + 1)).collect()
}

/// Lines with an arm of a `match` on a bool, or on `()`, where `if` and `else` should be used. Code
/// that measures is exempt for now.
fn matched_bools(file: &SourceFile) -> Vec<String> {
    if ["benches/", "cli/src/bench/"].iter().any(|start| file.path.starts_with(start)) {
        return Vec::new();
    }
    let is_arm = |line: &str| {
        let line = line.trim_start();
        ["true =>", "false =>", "() if "].iter().any(|arm| line.starts_with(arm))
    };
    let code = file.code();
    let lines = code.lines().enumerate().filter(|(_, line)| is_arm(line));
    lines.map(|(n, _)| format!("{}:{}: write `if` and `else`", file.path, n + 1)).collect()
}

fn foreign_characters(file: &SourceFile) -> Vec<String> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
    lines.map(|(n, _)| format!("{}:{}: a character beyond ASCII", file.path, n + 1)).collect()
}

fn long_file(file: &SourceFile) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > MAX_FILE_LINES)
        .then(|| format!("{}: {lines} lines, more than {MAX_FILE_LINES}", file.path))
}

fn long_functions(file: &SourceFile) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, lines) in functions(&file.code()) {
        let exempt = RATCHET.iter().find(|(path, of, _)| *path == file.path && *of == name);
        let limit = exempt.map_or(MAX_FUNCTION_LINES, |(_, _, lines)| *lines);
        if lines > limit {
            findings.push(format!("{}: fn {name} has {lines} lines, over {limit}", file.path));
        }
    }
    findings
}

/// The functions that have a body, by name and number of lines.
fn functions(code: &str) -> Vec<(String, usize)> {
    let starts = code.match_indices("fn ").filter(|(at, _)| !code[..*at].ends_with(is_word));
    starts.filter_map(|(at, word)| function(&code[at + word.len()..])).collect()
}

/// The function whose name comes next, unless it has no name (it is a type) or no body.
fn function(code: &str) -> Option<(String, usize)> {
    let name: String = code.chars().take_while(|c| is_word(*c)).collect();
    if name.is_empty() {
        return None;
    }
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ';' if depth == 0 => return None,
            _ => {}
        }
        if c == '}' && depth == 0 {
            return Some((name, code[..=at].lines().count()));
        }
    }
    None
}

fn missing_head(file: &SourceFile) -> Option<String> {
    let first = file.text.lines().next().unwrap_or_default();
    let has_text = first.strip_prefix("//! ").is_some_and(|words| !words.trim().is_empty());
    let bound = file.path.contains("src/") || file.path.contains("tests/");
    (bound && !has_text).then(|| format!("{}: has no `//!` module head", file.path))
}

fn dead_file(file: &SourceFile, files: &[SourceFile]) -> Option<String> {
    let (folder, inner) = file.path.split_once("src/")?;
    let mut names = inner.trim_end_matches(".rs").rsplit('/').filter(|name| *name != "mod");
    let name = names.next()?;
    if matches!(inner, "lib.rs" | "main.rs") || inner.starts_with("bin/") {
        return None;
    }
    let siblings = files.iter().filter(|other| other.path.starts_with(&format!("{folder}src/")));
    let named = siblings.map(SourceFile::code).any(|code| code.contains(&format!("mod {name};")));
    (!named).then(|| format!("{}: no `mod {name}` names this file", file.path))
}
