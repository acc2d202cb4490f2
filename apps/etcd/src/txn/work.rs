//! How much work a transaction causes on every member, estimated before it is proposed.
//!
//! A compare or a deletion over a range examines each key of the range in one step, and deleted
//! keys that are not swept yet cost as much as others. The number of those differs between members.
//! So the limit is checked once, by the member that proposes the transaction, and never while the
//! log is applied: there every member must decide the same, and so must a later version that
//! replays the log.
//!
//! Absent: a count of keys that are put between the estimate and the transaction.

use crate::api::etcdserverpb::request_op::Request;
use crate::api::etcdserverpb::{RequestOp, TxnRequest};
use crate::errors::Refusal;
use crate::mvcc::{Span, View};

use super::MAX_COMPARED_KEYS;

/// The most keys that the deletions of a transaction may examine; branches that are not taken count
/// too. A deletion by itself has no limit, since it is applied in slices.
pub const MAX_DELETED_KEYS: usize = 50_000;

/// Refuses a transaction that would keep every member busy for too long.
///
/// # Errors
///
/// [`Refusal::TooManyCompared`] and [`Refusal::TooManyDeleted`]. Nothing was proposed.
pub(crate) fn check_work(view: View<'_>, request: &TxnRequest) -> Result<(), Refusal> {
    Allowance { compared: MAX_COMPARED_KEYS, deleted: MAX_DELETED_KEYS }.spend(view, request)
}

/// How many more keys may be examined.
struct Allowance {
    compared: usize,
    deleted: usize,
}

impl Allowance {
    fn spend(&mut self, view: View<'_>, request: &TxnRequest) -> Result<(), Refusal> {
        for compare in &request.compare {
            let span = Span::of(&compare.key, &compare.range_end);
            take(&mut self.compared, view, span).ok_or(Refusal::TooManyCompared)?;
        }
        let operations = request.success.iter().chain(&request.failure);
        operations.into_iter().try_for_each(|operation| self.spend_on(view, operation))
    }

    fn spend_on(&mut self, view: View<'_>, operation: &RequestOp) -> Result<(), Refusal> {
        match &operation.request {
            Some(Request::RequestDeleteRange(request)) => {
                let span = Span::of(&request.key, &request.range_end);
                take(&mut self.deleted, view, span).ok_or(Refusal::TooManyDeleted)
            }
            Some(Request::RequestTxn(inner)) => self.spend(view, inner),
            _ => Ok(()),
        }
    }
}

/// Subtracts the number of keys in a span from what is left; `None` if there are more keys than
/// that.
fn take(left: &mut usize, view: View<'_>, span: Span<'_>) -> Option<()> {
    *left = left.checked_sub(view.examined(span, *left + 1))?;
    Some(())
}
