//! `cargo xtask`: runs the project's own checks.
//!
//! `cargo xtask test` is the one command that checks everything: it runs the jobs of [`jobs`] in
//! their order, prints how long each took, and stops at the first that fails. It needs Rust and a C
//! compiler, and installs the further packages that some tests need where it can ([`packages`]).
//!
//! Deliberately has no dependencies, so that it compiles in a moment.

mod command;
mod jobs;
mod packages;
mod run;

use std::process::ExitCode;

const HELP: &str = "\
Runs the checks of the Kontiki project.

Usage: cargo xtask test [--deep] [--list]

  test          run every job in order; stop at the first that fails
    --deep      also run the jobs that take longer
    --list      print the jobs and run none
  help, --help  this text

Environment:
  KONTIKI_REQUIRE=all  fail if this machine cannot run a check, instead of skipping it
  CARGO_TARGET_DIR     cargo's build directory, as usual

Exit status: 0 all passed, 1 a job failed, 2 the command was not understood.
";

/// The parsed arguments of `cargo xtask test`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    deep: bool,
    list: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| matches!(argument.as_str(), "help" | "--help" | "-h")) {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match parse(&arguments) {
        Ok(Asked { list: true, deep }) => {
            jobs::list(deep);
            ExitCode::SUCCESS
        }
        Ok(Asked { list: false, deep }) => run::all(&jobs::table(deep)),
        Err(wrong) => {
            eprintln!("error: {wrong}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Asked, String> {
    let Some((command, options)) = arguments.split_first() else {
        return Err("a command is missing".to_owned());
    };
    if command != "test" {
        return Err(format!("there is no command {command:?}"));
    }
    let mut asked = Asked::default();
    for option in options {
        match option.as_str() {
            "--deep" => asked.deep = true,
            "--list" => asked.list = true,
            other => return Err(format!("there is no option {other:?}")),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn an_unknown_command_or_option_is_named() {
        assert_eq!(parsed("test --deep"), Ok(Asked { deep: true, list: false }));
        assert_eq!(parsed("test --fast"), Err("there is no option \"--fast\"".to_owned()));
        assert_eq!(parsed("tset"), Err("there is no command \"tset\"".to_owned()));
        assert_eq!(parsed(""), Err("a command is missing".to_owned()));
    }
}
