//! Tidy: tests for the project's rules that a machine can check.
//!
//! Each rule is one test on the whole tree. Each also has a second test in which it finds a planted
//! violation in a small sample, since a check that never finds anything proves nothing. The rules
//! are in modules: `arrows` (which crate or folder may depend on which), `circles` (between the
//! modules of a crate), `shape` (width, length, module heads, `match` on a bool), `words` (words
//! and calls that are not allowed), `links` (documents that link to missing files). `source` reads
//! the tree, and replaces comments and strings in Rust code by spaces, so that prose is never taken
//! for code.
//!
//! Deliberately absent: rules that rustfmt and clippy already check.

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;
