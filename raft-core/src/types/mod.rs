//! The data types that survive a crash: everything that a member writes to its own disk or to a
//! peer's.
//!
//! Each number has a type of its own, so that a term can never be added to an index, and an entry
//! id is always the pair (term, index), since neither half identifies an entry alone.

mod entry;
mod hard_state;
mod identity;
mod ids;
mod membership;
mod span;

pub use entry::{Entry, EntryKind};
pub use hard_state::HardState;
pub use identity::{ClusterId, Identity, StoreId};
pub use ids::{EntryId, LogIndex, NodeId, Term};
pub use membership::{
    MAX_MEMBERS, MAX_METADATA_BYTES, Membership, MembershipError, MembershipParts,
};
pub use span::{LogSpan, SpanError, TermRun};
