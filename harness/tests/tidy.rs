//! Tidy is a test: the project's rules that a machine can check.
//!
//! Each rule is one test on the whole tree, and each has a second test that shows it finding a
//! planted breach in a small sample; a check that never finds anything proves nothing. The rules
//! live in modules: `arrows` (which crate or folder may depend on which), `circles` (between the
//! modules of a crate), `shape` (width, length, module heads, `match` on a bool), `words` (what may
//! not be written at all), `links` (documents that link to missing files). `source` reads the tree
//! and blanks comments and strings out of Rust code, so that prose is never taken for code.
//!
//! Absent: what rustfmt and clippy already hold.

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
