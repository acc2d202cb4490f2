//! No import circles between the modules of a crate.
//!
//! A file is a module. Its `crate::`, `super::` and `self::` paths are followed, through
//! re-exports, to the module that contains the item. Two modules are compared at the level at which
//! their paths differ: if `pump::reads` imports `member::turn`, that is an arrow from `pump` to
//! `member`. A module and its own children may depend on each other, since a folder is one module
//! in several files; any other circle is a finding.
//!
//! Deliberately absent: imports of tests, and inline modules.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{self, SourceFile, hold, is_word};

/// A module, as the names on its path from the crate's root.
type Module = Vec<String>;

#[test]
fn modules_import_each_other_in_no_circle() {
    let files = source::rust_files();
    let crates: BTreeSet<&str> = files.iter().filter_map(|file| crate_of(&file.path)).collect();
    assert!(crates.len() > 9, "only {crates:?} were found");
    hold(crates.iter().flat_map(|name| circles(name, &files)).collect());
}

#[test]
fn a_circle_of_modules_is_found() {
    let found = |files: &[(&str, &str)]| {
        let files: Vec<SourceFile> =
            files.iter().map(|(path, text)| SourceFile::sample(path, text)).collect();
        circles("x", &files)
    };
    let root = ("x/src/lib.rs", "mod a;\nmod b;\nmod c;\npub use b::{Deep, deep::Deeper};\n");
    let through_the_root = [
        root,
        ("x/src/a.rs", "use crate::{Deep, c};\n"),
        ("x/src/b/mod.rs", "mod deep;\npub use self::deep::Deep;\n"),
        ("x/src/b/deep.rs", "pub struct Deep;\nfn f() -> super::super::a::A { todo() }\n"),
        ("x/src/c.rs", "//! use crate::a::A;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n"),
    ];
    let expected = "x: a (x/src/a.rs) -> b (x/src/b/deep.rs) -> a";
    assert_eq!(found(&through_the_root), [expected]);
    let of_three = [
        root,
        ("x/src/a.rs", "use crate::b;\n"),
        ("x/src/b.rs", "use super::c::{C, D};\n"),
        ("x/src/c.rs", "type A = crate::a::A;\n"),
    ];
    assert_eq!(found(&of_three).len(), 1);
    let inside_a_folder = [
        ("x/src/lib.rs", "mod a;\n"),
        ("x/src/a/mod.rs", "mod b;\nmod c;\n"),
        ("x/src/a/b.rs", "use super::c::C;\n"),
        ("x/src/a/c.rs", "use crate::a::b;\n"),
    ];
    assert_eq!(found(&inside_a_folder).len(), 1);
    let none = [
        ("x/src/lib.rs", "mod a;\nmod b;\n"),
        ("x/src/a/mod.rs", "mod c;\nuse self::c::C;\nuse crate::b::B;\n"),
        ("x/src/a/c.rs", "use super::A;\nuse crate::b::B;\n"),
        ("x/src/b.rs", "use std::fmt;\n"),
        ("x/src/tests.rs", "use crate::a;\n"),
    ];
    assert_eq!(found(&none), [""; 0]);
}

/// The folder of the crate to which a source file belongs; `None` for programs, which have roots of
/// their own.
fn crate_of(path: &str) -> Option<&str> {
    let (folder, inner) = path.split_once("src/")?;
    (!inner.starts_with("bin/")).then(|| folder.trim_end_matches('/'))
}

/// The circles of a crate.
fn circles(name: &str, files: &[SourceFile]) -> Vec<String> {
    let modules = Modules::of(name, files);
    // For each parent: which of its children import which others, and in which file.
    let mut arrows: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
    for (from, (path, _)) in &modules.files {
        for to in modules.imports(from) {
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
                let of_parent = arrows.entry(from[..common].to_vec()).or_default();
                of_parent.entry((a.clone(), b.clone())).or_insert_with(|| path.clone());
            }
        }
    }
    arrows.values().filter_map(|arrows| circle(name, arrows)).collect()
}

/// The first circle among these arrows, shown with a file for each arrow.
fn circle(name: &str, arrows: &BTreeMap<(String, String), String>) -> Option<String> {
    let starts: BTreeSet<&String> = arrows.keys().map(|(from, _)| from).collect();
    let way = starts.into_iter().find_map(|start| shortest_way_back(start, arrows))?;
    let mut text = format!("{name}: ");
    for step in way.windows(2) {
        let file = &arrows[&(step[0].clone(), step[1].clone())];
        text.push_str(&format!("{} ({file}) -> ", step[0]));
    }
    Some(text + &way[0])
}

fn shortest_way_back(
    start: &String,
    arrows: &BTreeMap<(String, String), String>,
) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for (from, to) in arrows.keys().filter(|(from, _)| Some(from) == way.last()) {
                debug_assert_eq!(Some(from), way.last());
                let mut next = way.clone();
                next.push(to.clone());
                if to == start {
                    return Some(next);
                }
                if seen.insert(to.clone()) {
                    longer.push(next);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The modules of a crate.
struct Modules {
    /// The path and the code of each, without tests.
    files: BTreeMap<Module, (String, String)>,
}

impl Modules {
    fn of(name: &str, files: &[SourceFile]) -> Modules {
        let mut modules = BTreeMap::new();
        for file in files.iter().filter(|file| crate_of(&file.path) == Some(name)) {
            let Some((_, inner)) = file.path.split_once("src/") else { continue };
            let inner = inner.trim_end_matches(".rs").trim_end_matches("/mod");
            let module: Module = match inner {
                "lib" | "main" => Vec::new(),
                _ => inner.split('/').map(str::to_owned).collect(),
            };
            if !module.iter().any(|name| name == "tests") {
                modules.insert(module, (file.path.clone(), without_tests(&file.code())));
            }
        }
        Modules { files: modules }
    }

    /// The modules that a module names.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let (_, code) = &self.files[module];
        let named = absolute_paths(code, module);
        named.iter().map(|path| self.owner(path, 0)).collect()
    }

    /// The module that contains the item that a path from the root names.
    fn owner(&self, path: &[String], depth: usize) -> Module {
        /// The most re-exports of re-exports that are followed.
        const MAX_DEPTH: usize = 9;
        let is_module = |length: &usize| self.files.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_module).unwrap_or(0);
        let module = path[..length].to_vec();
        let Some(name) = path.get(length).filter(|_| depth < MAX_DEPTH) else { return module };
        match self.reexport(&module, name) {
            Some(target) => self.owner(&target, depth + 1),
            None => module,
        }
    }

    /// What a module re-exports under this name, as a path from the root.
    fn reexport(&self, module: &Module, name: &str) -> Option<Module> {
        let (_, code) = self.files.get(module)?;
        let uses = code.match_indices("pub").filter_map(|(at, _)| {
            let rest = code[at + 3..].trim_start();
            let rest = rest.strip_prefix("(crate)").unwrap_or(rest).trim_start();
            rest.strip_prefix("use ")
        });
        uses.flat_map(tree_paths).find_map(|path| {
            let is_it = path.last().is_some_and(|last| last == name) && path.len() > 1;
            is_it.then(|| rooted(&path, module)).flatten().or_else(|| {
                let child = [&module[..], &path[..1]].concat();
                let is_child = is_it && self.files.contains_key(&child);
                is_child.then(|| [&module[..], &path[..]].concat())
            })
        })
    }
}

/// All paths in code that begin with `crate`, `super` or `self`, from the root.
fn absolute_paths(code: &str, module: &Module) -> Vec<Module> {
    let mut paths = Vec::new();
    for first in ["crate", "super", "self"] {
        for (at, _) in code.match_indices(first) {
            let before = code[..at].chars().next_back();
            let is_start = before.is_none_or(|c| !is_word(c) && c != ':');
            if is_start && code[at + first.len()..].starts_with("::") {
                let named = tree_paths(&code[at..]);
                paths.extend(named.iter().filter_map(|path| rooted(path, module)));
            }
        }
    }
    paths
}

/// A path that begins with `crate`, `super` or `self`, from the root.
fn rooted(path: &[String], module: &Module) -> Option<Module> {
    let mut base = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.clone(),
        _ => return None,
    };
    let ups = path.iter().take_while(|name| *name == "super").count();
    base.truncate(base.len().saturating_sub(ups));
    base.extend(path[ups.max(1)..].iter().cloned());
    Some(base)
}

/// The paths of the import tree at the beginning of the code: `a::{b, c::d}` is `a::b` and
/// `a::c::d`.
fn tree_paths(code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    tree(&mut code.chars().peekable(), &Vec::new(), &mut paths);
    paths
}

fn tree(
    code: &mut std::iter::Peekable<std::str::Chars<'_>>,
    before: &Module,
    paths: &mut Vec<Module>,
) {
    let skip = |code: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        while code.next_if(|c| c.is_whitespace()).is_some() {}
    };
    let mut path = before.clone();
    loop {
        skip(code);
        if code.next_if_eq(&'{').is_some() {
            while code.peek().is_some_and(|c| *c != '}') {
                tree(code, &path, paths);
                skip(code);
                // Skips `as other` after a name.
                while code.next_if(|c| *c != ',' && *c != '}').is_some() {}
                code.next_if_eq(&',');
                skip(code);
            }
            code.next();
            return;
        }
        let mut name = String::new();
        while let Some(c) = code.next_if(|c| is_word(*c)) {
            name.push(c);
        }
        if name.is_empty() || name == "self" && !path.is_empty() {
            break;
        }
        path.push(name);
        if code.next_if_eq(&':').is_none() || code.next_if_eq(&':').is_none() {
            break;
        }
    }
    if path.len() > before.len() || !path.is_empty() {
        paths.push(path);
    }
}

/// Code without its inline modules of tests.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, tests) = rest.split_at(at);
        kept.push_str(before);
        rest = &tests["#[cfg(test)]".len()..];
        if rest.trim_start().starts_with("mod ") {
            let end = rest.find(['{', ';']).unwrap_or(rest.len());
            rest = &rest[end..];
            rest = &rest[block_length(rest)..];
        }
    }
    kept + rest
}

/// The length of the block at the beginning of the code; 0 if there is none.
fn block_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if c == '}' { at + 1 } else { 0 };
        }
    }
    code.len()
}
