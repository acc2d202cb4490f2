//! The storage contract: the calls that the engine makes to a log, and the promises of a log.
//!
//! The engine uses three traits: [`StableStore`] keeps the identity and the hard state,
//! [`LogStore`] keeps entries, and [`Store`] combines both and adds [`Store::write`], which writes
//! a whole batch at once, and [`Store::recover`], which returns what a member needs when it
//! restarts. For changes the engine calls only `save_identity` and `write`.
//!
//! A backend whose every change is one batch implements [`BatchStore`] alone, and thereby all
//! three. A reader of a log is a [`LogReader`]. [`Split`] combines two stores into one. [`Inspect`]
//! is for operators: it shows what a log holds and changes nothing.
//!
//! The promises are numbered P1, P2, ... in `docs/laws.md`; the documentation of each verb cites
//! its own. One task owns a store and calls its mutating verbs one after another, so a store needs
//! no lock for them. A verb may block the thread; [`StoreInfo::may_block`] says whether it does.
//! One place implements the contract's refusals: the [`Gate`], which every backend may use.

mod batch;
mod batch_store;
mod error;
mod gate;
mod info;
mod inspect;
mod log_store;
mod log_summary;
mod read_budget;
pub mod record;
mod recovered;
mod scan;
mod split;
mod stable_store;
mod store;

pub use batch::{MAX_BATCH_BYTES, WriteBatch};
pub use batch_store::{BatchStore, StableState};
pub use error::{LogError, LogErrorKind, LogOp, Refusal};
pub use gate::{Gate, Plan, check_identity};
pub use info::{Detects, Durability, StoreInfo};
pub use inspect::{Inspect, Inspection};
pub use log_store::{LogBounds, LogReader, LogStore, range_to_read};
pub use log_summary::{LogSummary, SummaryChange, SummaryPart};
pub use read_budget::ReadBudget;
pub use recovered::{Recovered, Tail};
pub use split::Split;
pub use stable_store::StableStore;
pub use store::Store;
