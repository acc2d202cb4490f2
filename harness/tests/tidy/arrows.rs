//! The arrows of the design: which crate or folder may depend on which. They only point down.

use crate::source::{self, SourceFile, hold, is_word};

/// Each crate of the workspace, and the crates of the workspace that it may depend on. The
/// dependencies of tests are not restricted: a backend tests itself with the harness.
const ARROWS: [(&str, &[&str]); 18] = [
    ("raft-core", &[]),
    ("owned-dir", &[]),
    ("log-memory", &["raft-core"]),
    ("log-file", &["owned-dir", "raft-core"]),
    ("log-rocksdb", &["owned-dir", "raft-core"]),
    ("log-sqlite", &["owned-dir", "raft-core"]),
    ("raft-node", &["owned-dir", "raft-core"]),
    ("raft-net", &["raft-core", "raft-node"]),
    (
        "kontiki",
        &[
            "raft-core",
            "raft-node",
            "raft-net",
            "log-memory",
            "log-file",
            "log-rocksdb",
            "log-sqlite",
        ],
    ),
    ("crash-disk", &[]),
    ("harness", &["raft-core", "raft-node", "crash-disk"]),
    ("openraft-adapter", &["raft-core", "harness"]),
    ("openraft-durable", &["raft-core", "harness", "openraft-adapter"]),
    ("benches", &["kontiki", "log-memory", "log-file", "kontiki-etcd"]),
    ("kontiki-etcd", &["kontiki"]),
    ("kontiki-cli", &["kontiki", "kontiki-etcd", "harness", "benches", "owned-dir"]),
    ("xtask", &[]),
    ("examples", &["kontiki"]),
];

/// Crates without any dependency, of the workspace or from outside.
const BARE: [&str; 1] = ["xtask"];

/// Folders of a crate, and the words that may not occur in their code, most of them names of other
/// modules. The tests of a folder may use any name.
const FOLDERS: [(&str, &[&str]); 8] = [
    ("raft-core/src/types/", &["storage", "consensus"]),
    ("raft-core/src/storage/", &["consensus"]),
    ("raft-core/src/consensus/", &["storage"]),
    ("raft-node/src/requests/", &["pump", "member", "transport", "consensus"]),
    ("raft-node/src/pump/", &["member", "tokio"]),
    ("raft-node/src/transport/", &["pump", "member"]),
    ("raft-node/src/application/", &["pump", "member", "transport"]),
    ("raft-node/src/member/", &["Member", "Node"]),
];

/// The file of the member itself, on which its parts must not depend.
const MEMBER: &str = "raft-node/src/member/mod.rs";

#[test]
fn arrows_between_crates_point_down() {
    let manifests: Vec<SourceFile> =
        source::tree().into_iter().filter(|f| f.path.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() > 9, "only {} manifests were found", manifests.len());
    hold(manifests.iter().flat_map(wrong_arrows).collect());
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let up = "[package]\nname = \"raft-core\"\n[dependencies]\nbytes = \"1\"\nraft-node.workspace \
              = true\n";
    assert_eq!(wrong_arrows(&SourceFile::sample("a/Cargo.toml", up)).len(), 1);
    let table = "[package]\nname = \"harness\"\n[dependencies.log-file]\nworkspace = true\n";
    assert_eq!(wrong_arrows(&SourceFile::sample("b/Cargo.toml", table)).len(), 1);
    let hidden = "[package]\nname = \"harness\"\n[target.'cfg(unix)'.dependencies]\nlog-file = {}";
    assert_eq!(wrong_arrows(&SourceFile::sample("c/Cargo.toml", hidden)).len(), 1);
    let bare = "[package]\nname = \"xtask\"\n[dependencies]\nserde = \"1\"\n";
    assert_eq!(wrong_arrows(&SourceFile::sample("d/Cargo.toml", bare)).len(), 1);
    let published = "[package]\nname = \"kontiki-core\"\n[dependencies]\nraft-node = {}\n";
    assert_eq!(wrong_arrows(&SourceFile::sample("g/Cargo.toml", published)).len(), 1);
    let unknown = "[package]\nname = \"raft-utils\"\n[dependencies]\n";
    assert_eq!(wrong_arrows(&SourceFile::sample("e/Cargo.toml", unknown)).len(), 1);
    let tests = "[package]\nname = \"harness\"\n[dev-dependencies]\nlog-file = {}\n";
    assert_eq!(wrong_arrows(&SourceFile::sample("f/Cargo.toml", tests)), [""; 0]);
}

#[test]
fn the_folders_of_a_crate_depend_only_on_those_below_them() {
    let files = source::rust_files();
    for (folder, _) in FOLDERS {
        assert!(files.iter().any(|file| file.path.starts_with(folder)), "no folder {folder}");
    }
    assert!(files.iter().any(|file| file.path == MEMBER), "no file {MEMBER}");
    hold(files.iter().flat_map(wrong_words).collect());
}

#[test]
fn a_folder_that_depends_on_another_is_found() {
    let text = "//! Of storage.\nuse crate::{storage::WriteBatch, types::Term};\n";
    let file = SourceFile::sample("raft-core/src/consensus/append.rs", text);
    assert_eq!(wrong_words(&file).len(), 1);
    assert_eq!(wrong_words(&SourceFile::sample("raft-core/src/storage/x.rs", text)), [""; 0]);
    let found = |path, text| wrong_words(&SourceFile::sample(path, text)).len();
    let part = "//! A part.\nuse super::Member;\n";
    assert_eq!(found("raft-node/src/member/turn.rs", part), 1);
    assert_eq!((found(MEMBER, part), found("raft-node/src/member/tests.rs", part)), (0, 0));
    assert_eq!(found("raft-node/src/requests/quota.rs", "use crate::pump::Event;\n"), 1);
    assert_eq!(found("raft-node/src/pump/reads.rs", "async fn f() { tokio::spawn(f()) }\n"), 1);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let files = source::tree();
    let manifests = files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    hold(manifests.filter_map(missing_lints).collect());
}

#[test]
fn a_crate_without_lints_is_found() {
    let file = SourceFile::sample("a/Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\n");
    assert!(missing_lints(&file).is_some());
}

fn wrong_arrows(manifest: &SourceFile) -> Vec<String> {
    let Some(package) = package_name(&manifest.text) else { return Vec::new() };
    let name = crate_name(&package);
    let Some((_, allowed)) = ARROWS.iter().find(|(of, _)| *of == name) else {
        return vec![format!("{}: write the arrows of {name} into the tidy test", manifest.path)];
    };
    let mut findings = Vec::new();
    for dependency in dependencies(&manifest.text) {
        let ours = ARROWS.iter().any(|(of, _)| *of == dependency);
        let up = ours && !allowed.contains(&dependency.as_str());
        if up || BARE.contains(&name.as_str()) {
            findings.push(format!("{}: {name} must not depend on {dependency}", manifest.path));
        }
    }
    findings
}

/// The name that other crates of the workspace use for a package: `raft-core` is published as
/// `kontiki-core`.
fn crate_name(package: &str) -> String {
    let is_known = |name: &str| ARROWS.iter().any(|(of, _)| *of == name);
    match package.strip_prefix("kontiki-") {
        Some(rest) if is_known(rest) => rest.to_owned(),
        Some(rest) if is_known(&format!("raft-{rest}")) => format!("raft-{rest}"),
        _ => package.to_owned(),
    }
}

fn package_name(manifest: &str) -> Option<String> {
    let package = manifest.lines().skip_while(|line| line.trim() != "[package]").skip(1);
    let mut section = package.take_while(|line| !line.starts_with('['));
    let line = section.find(|line| line.trim_start().starts_with("name"))?;
    Some(line.split('"').nth(1)?.to_owned())
}

/// The names in all sections of dependencies that are built into the crate, including those of its
/// build script, but not those of the tests, nor the workspace's list of versions.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let free = section.contains("dev-dependencies") || section.starts_with("workspace");
            inside = !free && section.ends_with("dependencies");
            if let (false, Some((_, name))) = (free, section.split_once("dependencies.")) {
                names.push(name.to_owned());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            names.push(line[..end].to_owned());
        }
    }
    names
}

fn wrong_words(file: &SourceFile) -> Vec<String> {
    let of = FOLDERS.iter().find(|(folder, _)| file.path.starts_with(folder));
    let Some((folder, banned)) = of.filter(|_| file.path != MEMBER) else { return Vec::new() };
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    if is_test(&file.path) {
        return Vec::new();
    }
    let code = file.code();
    let words = code.split(|c| !is_word(c));
    words
        .filter(|word| banned.contains(word))
        .map(|word| format!("{}: {folder} must not depend on {word}", file.path))
        .collect()
}

fn missing_lints(manifest: &SourceFile) -> Option<String> {
    package_name(&manifest.text)?;
    let lints = manifest.text.split("[lints]").nth(1).unwrap_or_default();
    let taken = lints.trim_start().starts_with("workspace = true");
    (!taken).then(|| format!("{}: add [lints] workspace = true", manifest.path))
}
