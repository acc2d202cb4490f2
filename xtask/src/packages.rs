//! Provides the programs that the other jobs call and that a fresh machine may lack: rustfmt and
//! clippy from the toolchain; from Debian's packages a real etcd and its client, which tests
//! compare with, and a C++ compiler and libclang, which build RocksDB.
//!
//! Parts of the toolchain are added through rustup; without them nothing can be checked. Packages
//! are installed by root on a Debian machine; elsewhere one line names the missing ones. The tests
//! that need etcd then report that they were skipped, or fail under `KONTIKI_REQUIRE=all`. Jobs
//! that need a compiler fail and say so.

use std::env;
use std::path::Path;

use crate::command::{cargo, command};

/// A part of the toolchain as cargo calls it, and the component that provides it.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

/// A program, and the package that provides it.
const PROGRAMS: [(&str, &str); 3] =
    [("etcd", "etcd-server"), ("etcdctl", "etcd-client"), ("c++", "g++")];
/// The library that reads RocksDB's headers, and the package that provides it.
const LIBCLANG: (&str, &str) = ("libclang", "libclang-dev");
/// Folders where that library may be: directly, in a folder below, or in that folder's `lib`.
const LIBRARY_FOLDERS: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib"];

/// Looks for everything, and installs what is missing where it can. An error names what failed.
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
        return Ok("all packages are installed".to_owned());
    }
    let names = missing.join(" ");
    if can_install() {
        install(&missing)?;
        return Ok(format!("installed {names}"));
    }
    let line = format!("missing packages: {names} (install with: apt-get install {names})");
    if is_required() {
        Err(format!("{line}; KONTIKI_REQUIRE=all makes this a failure"))
    } else {
        Ok(format!("{line}; the tests that need them are skipped"))
    }
}

fn missing() -> Vec<&'static str> {
    let absent = PROGRAMS.iter().filter(|(program, _)| !is_on_path(program));
    let library = (!has_libclang()).then_some(LIBCLANG.1);
    absent.map(|(_, package)| *package).chain(library).collect()
}

/// Looks where RocksDB's build looks: in the environment and in the library folders.
fn has_libclang() -> bool {
    let below = LIBRARY_FOLDERS.iter().flat_map(|folder| {
        let inner = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let inner: Vec<_> = inner.map(|entry| entry.path()).collect();
        let deeper: Vec<_> = inner.iter().map(|path| path.join("lib")).collect();
        [vec![folder.into()], inner, deeper].concat()
    });
    env::var_os("LIBCLANG_PATH").is_some()
        || below.into_iter().any(|folder| holds_libclang(&folder))
}

fn holds_libclang(folder: &Path) -> bool {
    let is_it = |name: &str| {
        let rest = name.strip_prefix(LIBCLANG.0);
        rest.is_some_and(|rest| rest.starts_with(['.', '-']) && rest.contains(".so"))
    };
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_str().is_some_and(is_it))
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_required() -> bool {
    env::var("KONTIKI_REQUIRE").is_ok_and(|what| what == "all")
}

/// Whether this is root on Debian or a derived system. The user id is read from `/proc`, since the
/// standard library does not provide it.
fn can_install() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_root(&status) && is_on_path("apt-get") && Path::new("/etc/debian_version").exists()
}

/// Whether the effective user id, the second number of the line `Uid:`, is 0.
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
        still => {
            Err(format!("apt-get succeeded, yet {} did not provide its program", still.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_recognized_by_the_effective_user_id() {
        assert!(is_root("Name:\tx\nUid:\t1000\t0\t0\t0\n"));
        assert!(!is_root("Name:\tx\nUid:\t0\t1000\t0\t0\n"));
        assert!(!is_root(""));
    }

    #[test]
    fn a_folder_with_the_library_is_recognized() {
        let folder = env::temp_dir().join(format!("kontiki-libclang-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("creates");
        for other in ["libclang", "libclangBasic.so", "clang.so"] {
            std::fs::write(folder.join(other), "").expect("writes");
        }
        assert!(!holds_libclang(&folder));
        std::fs::write(folder.join("libclang-14.so.1"), "").expect("writes");
        assert!(holds_libclang(&folder));
        std::fs::remove_dir_all(&folder).expect("removes");
        assert!(!holds_libclang(&folder));
    }

    #[test]
    fn a_program_that_is_not_on_the_path_is_missing() {
        assert!(is_on_path("sh"));
        assert!(!is_on_path("a program that does not exist"));
    }
}
