//! Checks that documents link to files that exist.

use std::path::Path;

use crate::source::{self, SourceFile, hold};

#[test]
fn links_between_documents_lead_somewhere() {
    let root = source::root();
    let files = source::tree();
    let documents = files.iter().filter(|file| file.path.ends_with(".md"));
    hold(documents.flat_map(|file| broken_links(file, &root)).collect());
}

#[test]
fn a_broken_link_is_found() {
    let text = "[a](lib.rs) [b](gone.md#part) [c](https://x.org) [d](#here) `[e](code)`\n\
                ```\n[f](fenced)\n```\n[g](/Cargo.toml)\n";
    let file = SourceFile::sample("harness/src/a.md", text);
    assert_eq!(broken_links(&file, &source::root()), ["harness/src/a.md: gone.md does not exist"]);
}

fn broken_links(file: &SourceFile, root: &Path) -> Vec<String> {
    let path = root.join(&file.path);
    let folder = path.parent().expect("a file is in a folder");
    let exists = |target: &str| match target.strip_prefix('/') {
        Some(from_root) => root.join(from_root).exists(),
        None => folder.join(target).exists(),
    };
    let targets = targets(&file.text).into_iter().filter(|target| !exists(target));
    targets.map(|target| format!("{}: {target} does not exist", file.path)).collect()
}

/// The files that a document links to, without web addresses, anchors in the document, and links in
/// code.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            found.extend(prose.split("](").skip(1).filter_map(target));
        }
    }
    found
}

fn target(after: &str) -> Option<String> {
    let whole = after.split([')', ' ']).next()?;
    let file = whole.split('#').next()?;
    let elsewhere = whole.contains("://") || whole.starts_with("mailto:") || file.is_empty();
    (!elsewhere).then(|| file.to_owned())
}
