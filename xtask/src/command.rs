//! Runs programs, so that an error names the whole command.

use std::process::Command;

/// Runs a program and waits for it. An error names the whole command.
pub fn command<'a>(
    program: &str,
    arguments: impl IntoIterator<Item = &'a str>,
    environment: &[(&str, &str)],
) -> Result<(), String> {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let line = format!("{program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(&arguments)
        .envs(environment.iter().copied())
        .status()
        .map_err(|error| format!("could not start {line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

/// The cargo that runs this, so that both build with one toolchain.
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_named() {
        assert_eq!(command("true", [], &[]), Ok(()));
        let failed = command("sh", ["-c", "exit 3"], &[]).expect_err("it fails");
        assert!(failed.contains("sh -c exit 3") && failed.contains('3'), "{failed}");
        let absent =
            command("a program that does not exist", [], &[]).expect_err("it is not there");
        assert!(absent.starts_with("could not start"), "{absent}");
    }
}
