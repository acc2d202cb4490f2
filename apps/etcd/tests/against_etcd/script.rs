//! Reads a list of `etcdctl` commands and runs it against one server.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::mask;

/// The output formats in which every command is run, one after the other.
const FORMS: [&str; 3] = ["simple", "json", "fields"];

/// One line of the list: a command, and its standard input.
#[derive(Default)]
pub struct Step {
    words: Vec<OsString>,
    input: String,
}

/// The result of a command, with the values masked that may differ between two servers.
#[derive(PartialEq, Eq)]
pub struct Outcome {
    command: String,
    status: Option<i32>,
    output: String,
    errors: String,
}

/// Reads the list: one command on each line, with its input in the lines after it that begin with
/// `|`. Words may be in single quotes, and `\\xff` is the byte of that number. Lines that begin
/// with `#` are comments.
pub fn parse(list: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('|') {
            Some(input) => {
                let step = steps.last_mut().expect("input follows a command");
                step.input += input.trim_start();
                step.input.push('\n');
            }
            None => steps.push(Step { words: words(line), input: String::new() }),
        }
    }
    steps
}

fn words(line: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut letters = line.bytes();
    while let Some(letter) = letters.next() {
        match letter {
            b'\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b' ' if !quoted => words.extend(word.take().map(OsString::from_vec)),
            b'\\' => {
                let number: Vec<u8> = letters.by_ref().skip(1).take(2).collect();
                let number = std::str::from_utf8(&number).expect("two digits follow \\x");
                let byte = u8::from_str_radix(number, 16).expect("two digits follow \\x");
                word.get_or_insert_default().push(byte);
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    assert!(!quoted, "a quote is not closed: {line}");
    words.extend(word.map(OsString::from_vec));
    words
}

/// Runs the list against the server at `endpoint`.
pub async fn run(steps: &[Step], endpoint: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for step in steps {
        for form in FORMS {
            outcomes.push(step.run(endpoint, form).await);
        }
        // Only these commands print tables, and print more for an endpoint that is given as a URL.
        if ["endpoint", "member"].iter().any(|first| step.words[0] == *first) {
            outcomes.push(step.run(endpoint, "table").await);
            outcomes.push(step.run(&format!("http://{endpoint}"), "simple").await);
        }
    }
    outcomes
}

impl Step {
    async fn run(&self, endpoint: &str, form: &str) -> Outcome {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint, "-w", form]);
        command.args(&self.words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl starts");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        // In some cases the command ends before it has read all of its input.
        let _ = stdin.write_all(self.input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.expect("etcdctl ends");
        let printable = |bytes: &[u8]| mask::all(&bytes.escape_ascii().to_string());
        Outcome {
            command: format!("-w {form} {:?} {:?}", self.words, self.input),
            status: output.status.code(),
            output: printable(&output.stdout),
            errors: printable(&output.stderr),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nexit status {:?}", self.command, self.status)?;
        write!(f, "{}{}", self.output, self.errors)
    }
}
