//! The disk alone: what one write that is durable costs, whoever asks for it.
//!
//! No log that promises to survive a power cut can be quicker than its disk, so every durable
//! figure stands beside one of these, taken in turn with it. [`RawFile`] is one file, laid out and
//! synced in one of several ways; [`Majority`] is as many of them as a cluster has members, started
//! together, of which a commit needs more than half.

mod majority;
mod raw_file;

pub use majority::Majority;
pub use raw_file::{Aligned, Layout, RawFile, Verb};

/// The name under which a floor stands in a report.
pub fn label(layout: Layout, verb: Verb) -> String {
    format!("{} + {}", layout.name(), verb.name())
}
