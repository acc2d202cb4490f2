//! Txn: evaluates compares, and then runs one of two lists of operations, all in one revision.
//!
//! A transaction may hold others, nested up to a limit. First all compares are evaluated against
//! the store as it was before, those of inner transactions on the branches taken included. Then it
//! is checked that no operation on those branches can fail. Only then is anything changed, so there
//! is nothing to roll back.

mod check;
mod compare;
mod overlap;
mod work;

use crate::answer::Deferrals;
use crate::api::etcdserverpb::request_op::Request;
use crate::api::etcdserverpb::response_op::Response;
use crate::api::etcdserverpb::{
    RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use crate::errors::Refusal;
use crate::mvcc::{Store, View, Write};
use crate::range::header_at;
use crate::{delete, put};

pub use check::{MAX_DEPTH, MAX_OPERATIONS, check};
pub use work::MAX_DELETED_KEYS;
pub(crate) use work::check_work;

/// The most keys that the compares of a transaction may examine. Every member evaluates compares
/// while it applies the log, so a request of a few thousand bytes must not be able to delay all
/// members. etcd has no such limit.
pub const MAX_COMPARED_KEYS: usize = 100_000;

/// Runs a transaction that may change something. Its larger ranges are deferred.
pub(crate) fn run(
    store: &mut Store,
    request: TxnRequest,
    deferrals: &mut Deferrals,
) -> Result<TxnResponse, Refusal> {
    let plan = Plan::of(store.view(), request, &mut { MAX_COMPARED_KEYS })?;
    plan.check_puts(store.view())?;
    plan.check_ranges(store.view())?;
    let (mut response, revision) = store.write(|write| {
        let response = plan.run(write, deferrals);
        (response, write.revision())
    });
    response.header = Some(header_at(revision));
    Ok(response)
}

/// Answers a transaction that only reads (see [`is_read_only`]). Its larger ranges are deferred.
pub(crate) fn read(
    view: View<'_>,
    request: TxnRequest,
    deferrals: &mut Deferrals,
) -> Result<TxnResponse, Refusal> {
    let plan = Plan::of(view, request, &mut { MAX_COMPARED_KEYS })?;
    plan.check_ranges(view)?;
    let mut response = plan.read(view, deferrals);
    response.header = Some(header_at(view.revision()));
    Ok(response)
}

/// Whether a transaction holds only ranges. One that holds another transaction counts as changing,
/// whatever that one holds.
pub fn is_read_only(request: &TxnRequest) -> bool {
    ranges(request).all(|range| range.is_some())
}

/// Whether a transaction that only reads may be answered without a barrier.
pub fn is_serializable(request: &TxnRequest) -> bool {
    ranges(request).all(|range| range.is_some_and(|range| range.serializable))
}

fn ranges(request: &TxnRequest) -> impl Iterator<Item = Option<&RangeRequest>> {
    request.success.iter().chain(&request.failure).map(|operation| match &operation.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    })
}

/// A transaction whose compares are evaluated: the operations to run.
struct Plan {
    succeeded: bool,
    steps: Vec<Step>,
}

enum Step {
    Plain(Request),
    Inner(Plan),
}

impl Plan {
    /// Evaluates the compares, which may examine at most `keys_left` keys.
    fn of(view: View<'_>, request: TxnRequest, keys_left: &mut usize) -> Result<Plan, Refusal> {
        let mut succeeded = true;
        for compare in &request.compare {
            succeeded = succeeded && compare::holds(view, compare, keys_left)?;
        }
        let branch = if succeeded { request.success } else { request.failure };
        let steps = branch.into_iter().filter_map(|operation: RequestOp| operation.request);
        let steps = steps.map(|request| match request {
            Request::RequestTxn(inner) => Plan::of(view, inner, keys_left).map(Step::Inner),
            plain => Ok(Step::Plain(plain)),
        });
        Ok(Plan { succeeded, steps: steps.collect::<Result<_, _>>()? })
    }

    fn check_puts(&self, view: View<'_>) -> Result<(), Refusal> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Inner(plan) => plan.check_puts(view),
            Step::Plain(Request::RequestPut(request)) => put::check_in_transaction(view, request),
            Step::Plain(_) => Ok(()),
        })
    }

    fn check_ranges(&self, view: View<'_>) -> Result<(), Refusal> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Inner(plan) => plan.check_ranges(view),
            Step::Plain(Request::RequestRange(request)) => check_range(view, request),
            Step::Plain(_) => Ok(()),
        })
    }

    fn run(self, write: &mut Write<'_>, deferrals: &mut Deferrals) -> TxnResponse {
        let responses = self.steps.into_iter().map(|step| match step {
            Step::Inner(plan) => Response::ResponseTxn(plan.run(write, deferrals)),
            Step::Plain(request) => run_plain(write, request, deferrals),
        });
        answer(self.succeeded, responses.collect())
    }

    fn read(self, view: View<'_>, deferrals: &mut Deferrals) -> TxnResponse {
        let responses = self.steps.into_iter().map(|step| match step {
            Step::Plain(Request::RequestRange(request)) => {
                deferrals.next_slot();
                Response::ResponseRange(deferrals.range(view, request))
            }
            _ => panic!("a transaction that only reads holds something else than ranges"),
        });
        answer(self.succeeded, responses.collect())
    }
}

fn run_plain(write: &mut Write<'_>, request: Request, deferrals: &mut Deferrals) -> Response {
    deferrals.next_slot();
    match request {
        Request::RequestRange(request) => {
            Response::ResponseRange(deferrals.range(write.view(), request))
        }
        Request::RequestPut(request) => {
            Response::ResponsePut(put::put(write, request, deferrals.is_wanted()))
        }
        Request::RequestDeleteRange(request) => {
            Response::ResponseDeleteRange(delete::delete(write, &request, deferrals))
        }
        Request::RequestTxn(_) => panic!("an inner transaction was planned as a plain step"),
    }
}

/// Checks a range on a branch that is taken. Here, unlike outside of a transaction, a negative
/// revision that is not above the compacted one is refused.
fn check_range(view: View<'_>, request: &RangeRequest) -> Result<(), Refusal> {
    match request.revision {
        0 => Ok(()),
        future if future > view.revision() => Err(Refusal::FutureRevision),
        past if past < view.compacted() => Err(Refusal::Compacted),
        _ => Ok(()),
    }
}

/// The header of an inner transaction stays empty, as in etcd.
fn answer(succeeded: bool, responses: Vec<Response>) -> TxnResponse {
    let responses = responses.into_iter().map(|response| ResponseOp { response: Some(response) });
    TxnResponse {
        header: Some(ResponseHeader::default()),
        succeeded,
        responses: responses.collect(),
    }
}

#[cfg(test)]
mod tests;
