//! Runs the conformance suite on the store of `examples/bring_your_own`.

#[path = "../examples/bring_your_own/journal.rs"]
mod journal;

harness::conformance!(own, harness::conformance::in_dir(async |dir| journal::Journal::open(dir)));
