//! What the other jobs call and a fresh machine may lack: the toolchain's own rustfmt and clippy,
//! and a real etcd with its client, from Debian's packages, that tests compare with.
//!
//! Parts of the toolchain are added through rustup; without them nothing can be checked. Packages
//! are installed as root on a Debian machine. Anywhere else they are named in one line, and the
//! tests that need them say that they skipped; under `KONTIKI_REQUIRE=all` that is a failure.

use std::env;
use std::path::Path;

use crate::command::{cargo, command};

/// A part of the toolchain as cargo calls it, and the component that brings it.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

/// A program, and the package that brings it.
const PROGRAMS: [(&str, &str); 2] = [("etcd", "etcd-server"), ("etcdctl", "etcd-client")];

/// Looks, and installs where it can. An error names what failed.
pub fn provide() -> Result<String, String> {
    provide_components()?;
    provide_packages()
}

fn provide_components() -> Result<(), String> {
    let absent =
        COMPONENTS.iter().filter(|(part, _)| command(&cargo(), [*part, "--version"], &[]).is_err());
    let names: Vec<&str> = absent.map(|(_, component)| *component).collect();
    if names.is_empty() {
        return Ok(());
    }
    let add = ["component", "add"].into_iter().chain(names.iter().copied());
    command("rustup", add, &[]).map_err(|wrong| {
        format!("the toolchain lacks {}, and it could not be added: {wrong}", names.join(" and "))
    })
}

fn provide_packages() -> Result<String, String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok("all there".to_owned());
    }
    let names = missing.join(" ");
    if can_install() {
        install(&missing)?;
        return Ok(format!("installed {names}"));
    }
    let line = format!("missing packages: {names} (install with: apt-get install {names})");
    match is_required() {
        true => Err(format!("{line}; KONTIKI_REQUIRE=all makes this a failure")),
        false => Ok(format!("{line}; the tests that need them are skipped")),
    }
}

fn missing() -> Vec<&'static str> {
    let absent = PROGRAMS.iter().filter(|(program, _)| !is_on_path(program));
    absent.map(|(_, package)| *package).collect()
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_required() -> bool {
    env::var("KONTIKI_REQUIRE").is_ok_and(|what| what == "all")
}

/// Root on Debian or one of its children. The user's number is read where the kernel shows it,
/// since the standard library does not tell it.
fn can_install() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_root(&status) && is_on_path("apt-get") && Path::new("/etc/debian_version").exists()
}

/// The effective user is the second number of the line.
fn is_root(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|numbers| numbers.split_whitespace().nth(1)) == Some("0")
}

fn install(packages: &[&str]) -> Result<(), String> {
    let quiet: &[(&str, &str)] = &[("DEBIAN_FRONTEND", "noninteractive")];
    command("apt-get", ["update", "--quiet"], quiet)?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    command("apt-get", install.iter().chain(packages).copied(), quiet)?;
    match missing() {
        still if still.is_empty() => Ok(()),
        still => Err(format!("apt-get succeeded, yet {} brought no program", still.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_told_by_its_effective_number() {
        assert!(is_root("Name:\tx\nUid:\t1000\t0\t0\t0\n"));
        assert!(!is_root("Name:\tx\nUid:\t0\t1000\t0\t0\n"));
        assert!(!is_root(""));
    }

    #[test]
    fn a_program_that_is_nowhere_is_missed() {
        assert!(is_on_path("sh"));
        assert!(!is_on_path("a program that nobody wrote"));
    }
}
