//! The process that owns a directory begins children, too.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use owned_dir::Lock;

const ROUNDS: u32 = 20_000;

/// A test of the tool failed so, twice in months: one thread began a process, and another found
/// its own directory in use. Without the explicit unlock this fails within some hundred rounds.
#[test]
fn children_that_begin_meanwhile_do_not_keep_a_lock() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("lock");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                Command::new("true").status().expect("a program that does nothing");
            }
        });
        let refused = (0..ROUNDS).find_map(|round| Lock::own(&file).err().map(|why| (round, why)));
        is_over.store(true, Ordering::Relaxed);
        assert!(refused.is_none(), "{refused:?}");
    });
}
