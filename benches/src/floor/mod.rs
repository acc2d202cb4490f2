//! The disk alone: what one write that is durable costs, whoever asks for it.
//!
//! No log that promises to survive a power cut can be quicker than its disk, so every durable
//! figure stands beside one of these, taken in turn with it. [`RawFile`] is one file, laid out and
//! synced in one of several ways; [`Trio`] is three of them started together, as the members of a
//! cluster do, of which a commit needs the second.

mod raw_file;
mod trio;

pub use raw_file::{Aligned, Layout, RawFile, Verb};
pub use trio::Trio;

/// The name under which a floor stands in a report.
pub fn label(layout: Layout, verb: Verb) -> String {
    format!("{} + {}", layout.name(), verb.name())
}
