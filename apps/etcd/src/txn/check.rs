//! The checks that refuse a transaction before it is proposed.

use crate::api::etcdserverpb::request_op::Request;
use crate::api::etcdserverpb::{RequestOp, TxnRequest};
use crate::errors::Refusal;
use crate::{delete, put, range};

use super::overlap;

/// The most compares, and the most operations of one branch. Inner transactions may use only what
/// the outer one leaves.
pub const MAX_OPERATIONS: usize = 128;

/// How deep transactions may be nested. etcd has no such limit. Here it keeps hostile bytes from
/// exhausting the stack, and keeps every answer within the nesting that the decoder of messages
/// accepts.
pub const MAX_DEPTH: usize = 40;

/// Refuses a transaction that can never succeed.
pub fn check(request: &TxnRequest) -> Result<(), Refusal> {
    check_operations(request, MAX_OPERATIONS, MAX_DEPTH)?;
    // This comes last, when the sizes are known to be within the limits.
    overlap::check(&request.success)?;
    overlap::check(&request.failure)
}

fn check_operations(request: &TxnRequest, allowed: usize, depth: usize) -> Result<(), Refusal> {
    if depth == 0 {
        return Err(Refusal::TooManyOperations);
    }
    let used = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = allowed.checked_sub(used) else {
        return Err(Refusal::TooManyOperations);
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    let operations = request.success.iter().chain(&request.failure);
    operations.into_iter().try_for_each(|operation| check_operation(operation, left, depth - 1))
}

fn check_operation(operation: &RequestOp, allowed: usize, depth: usize) -> Result<(), Refusal> {
    match &operation.request {
        Some(Request::RequestRange(request)) => range::check(request),
        Some(Request::RequestPut(request)) => put::check(request),
        Some(Request::RequestDeleteRange(request)) => delete::check(request),
        Some(Request::RequestTxn(request)) => check_operations(request, allowed, depth),
        None => Err(Refusal::KeyNotFound),
    }
}
