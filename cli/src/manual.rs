//! The commands about the tool itself: completions for a shell, man pages, the version.

use std::fs;
use std::process::ExitCode;

use clap::CommandFactory;
use kontiki::LogConfig;

use crate::arguments::{Completions, Man};
use crate::command_line::Arguments;
use crate::failure::Failure;
use crate::output::{print_bytes, print_line};

const NAME: &str = "kontiki";

/// Prints a script that completes commands and flags.
pub fn completions(completions: &Completions) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Arguments::command(), NAME, &mut script);
    print_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a man page for the tool and one for each of its commands.
pub fn pages(man: &Man) -> Result<ExitCode, Failure> {
    let failed = |error| {
        Failure::of(format!("man pages cannot be written to {}", man.dir.display()), &error)
            .advise("choose a writable directory")
    };
    fs::create_dir_all(&man.dir).map_err(failed)?;
    clap_mangen::generate_to(Arguments::command(), &man.dir).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the version, and the backends that were compiled in.
pub fn version() -> Result<ExitCode, Failure> {
    print_line(&format!("{NAME} {}", env!("CARGO_PKG_VERSION")))?;
    print_line(&format!("log backends: {}", LogConfig::compiled().join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().expect("a directory");
        pages(&Man { dir: dir.path().join("man1") }).expect("it can be written");
        for page in
            ["kontiki.1", "kontiki-serve.1", "kontiki-log-show.1", "kontiki-member-replace.1"]
        {
            let text = fs::read_to_string(dir.path().join("man1").join(page));
            assert!(text.is_ok_and(|text| text.contains(".TH")), "{page}");
        }
    }
}
