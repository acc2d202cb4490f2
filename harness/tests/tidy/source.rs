//! The source tree: the paths from the workspace's root, and the contents of the files.

use std::fs;
use std::path::{Path, PathBuf};

/// A file that cargo writes into each of its target folders, wherever they are.
const CACHE_MARK: &str = "CACHEDIR.TAG";

/// The extensions of files that are read; other files are not text.
const TEXT_KINDS: [&str; 8] = ["rs", "toml", "md", "sh", "yml", "proto", "trace", "run"];

/// One file of the tree.
pub struct SourceFile {
    /// The path from the workspace's root, with `/` between the names.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl SourceFile {
    /// A file that is not on the disk, as a sample for a check's own test.
    pub fn sample(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether it is a Rust file.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The Rust code, with comments and the contents of strings replaced by spaces. The line
    /// numbers do not change.
    pub fn code(&self) -> String {
        Blanker::new(&self.text).run()
    }
}

/// The workspace's root, which is found through the current folder, since cargo runs a test in its
/// package's folder. A path from compile time could belong to another checkout that shares the
/// target folder.
pub fn root() -> PathBuf {
    let harness = std::env::current_dir().expect("there is a current folder");
    harness.parent().expect("the harness is in the workspace").to_owned()
}

/// All text files of the tree, in the order of their paths.
pub fn tree() -> Vec<SourceFile> {
    let mut files = Vec::new();
    walk(&root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "the walk missed the root");
    files
}

/// The Rust files of the tree.
pub fn rust_files() -> Vec<SourceFile> {
    tree().into_iter().filter(SourceFile::is_rust).collect()
}

/// Fails with a list of all findings, one on each line.
pub fn hold(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) {
    for item in fs::read_dir(folder).expect("a folder of the workspace can be read") {
        let path = item.expect("an item of a folder can be read").path();
        let name =
            path.file_name().expect("a path in a folder has a name").to_string_lossy().into_owned();
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            if !is_foreign(&path, &name) {
                walk(&path, &format!("{relative}/"), files);
            }
        } else if is_text(&name) {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{relative}: {e}"));
            files.push(SourceFile { path: relative, text });
        }
    }
}

fn is_foreign(path: &Path, name: &str) -> bool {
    let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
    let built = name == "target" || path.join(CACHE_MARK).exists();
    hidden || built || name == "kontiki-data"
}

fn is_text(name: &str) -> bool {
    let kind = name.rsplit('.').next().unwrap_or(name);
    TEXT_KINDS.contains(&kind)
}

/// Reads Rust code once and replaces everything that is not code by spaces.
struct Blanker<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    before: char,
    code: String,
}

impl<'a> Blanker<'a> {
    fn new(text: &'a str) -> Blanker<'a> {
        Blanker { rest: text.chars().peekable(), before: ' ', code: String::new() }
    }

    fn run(mut self) -> String {
        while let Some(c) = self.rest.next() {
            match (c, self.rest.peek()) {
                ('/', Some('/')) => self.blank_line(),
                ('/', Some('*')) => self.blank_block(),
                ('"', _) => self.blank_string(),
                ('r', Some('"' | '#')) if !is_word(self.before) || self.before == 'b' => {
                    self.blank_raw();
                }
                ('\'', _) => self.blank_char(),
                _ => self.keep(c),
            }
        }
        self.code
    }

    fn keep(&mut self, c: char) {
        self.before = c;
        self.code.push(c);
    }

    fn blank(&mut self, c: char) {
        self.before = ' ';
        self.code.push(if c == '\n' { '\n' } else { ' ' });
    }

    fn blank_line(&mut self) {
        self.blank('/');
        while let Some(c) = self.rest.next_if(|c| *c != '\n') {
            self.blank(c);
        }
    }

    fn blank_block(&mut self) {
        let mut depth = 0;
        let mut last = '/';
        while let Some(c) = self.rest.next() {
            self.blank(c);
            depth += match (last, c) {
                ('/', '*') => 1,
                ('*', '/') => -1,
                _ => 0,
            };
            last = if matches!((last, c), ('/', '*') | ('*', '/')) { ' ' } else { c };
            if depth == 0 {
                return;
            }
        }
    }

    fn blank_string(&mut self) {
        self.keep('"');
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => {
                    self.blank(c);
                    if let Some(escaped) = self.rest.next() {
                        self.blank(escaped);
                    }
                }
                '"' => return self.keep(c),
                _ => self.blank(c),
            }
        }
    }

    /// Handles the text after an `r`: a raw string, or a raw identifier, which is kept.
    fn blank_raw(&mut self) {
        self.keep('r');
        let mut hashes = 0;
        while self.rest.next_if_eq(&'#').is_some() {
            self.blank('#');
            hashes += 1;
        }
        if self.rest.next_if_eq(&'"').is_none() {
            return;
        }
        self.keep('"');
        let mut closing = None;
        for c in self.rest.by_ref() {
            closing = match (c, closing) {
                ('"', _) => Some(0),
                ('#', Some(seen)) => Some(seen + 1),
                _ => None,
            };
            self.code.push(if c == '\n' { '\n' } else { ' ' });
            if closing == Some(hashes) {
                break;
            }
        }
        self.keep('"');
    }

    /// Handles the text after a quote: a character, or a lifetime, which is kept.
    fn blank_char(&mut self) {
        self.keep('\'');
        let mut ahead = self.rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('\\'), Some(_)) => {
                self.rest.next();
                self.rest.next();
                while self.rest.next_if(|c| *c != '\'').is_some() {
                    self.blank(' ');
                }
            }
            (Some(_), Some('\'')) => {
                self.rest.next();
            }
            _ => return,
        }
        self.rest.next();
        self.keep('\'');
    }
}

/// Whether a character may be part of a Rust name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn prose_is_not_code() {
    let text = "a /* x /* y */ z */ b // c\nlet d = \"e\\\"f\"; r#\"g\"h\"# 'i' '\\'' &'j k '\"' l";
    let code = SourceFile::sample("x.rs", text).code();
    let words: Vec<&str> = code.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    assert_eq!(words, ["a", "b", "let", "d", "r", "j", "k", "l"]);
    assert_eq!(code.lines().count(), text.lines().count());
}
