//! A process that owns a directory may also start child processes.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use owned_dir::Lock;

const ROUNDS: u32 = 20_000;

/// This failure was seen in a test of the tool: one thread started a process, and another found its
/// own directory in use. Without the explicit unlock this test fails within some hundred rounds.
#[test]
fn a_child_process_that_starts_meanwhile_does_not_hold_the_lock() {
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
