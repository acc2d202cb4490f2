//! Put: writes the value of one key.

use crate::api::etcdserverpb::{PutRequest, PutResponse};
use crate::errors::Refusal;
use crate::mvcc::{View, Write};
use crate::range::header_at;

/// Refuses a request that can never succeed.
pub fn check(request: &PutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// A put outside of a transaction. etcd checks the lease before it checks the key.
pub(crate) fn put_alone(
    write: &mut Write<'_>,
    request: PutRequest,
    is_wanted: bool,
) -> Result<PutResponse, Refusal> {
    check_lease(&request)?;
    check_previous(write.view(), &request)?;
    Ok(put(write, request, is_wanted))
}

/// Whether a put inside a transaction can succeed; called before the transaction changes anything.
/// Here etcd checks the key first.
pub fn check_in_transaction(view: View<'_>, request: &PutRequest) -> Result<(), Refusal> {
    check_previous(view, request)?;
    check_lease(request)
}

/// Puts a key, after all checks have passed. If the former value or lease is to be kept, but an
/// earlier operation of the same transaction has deleted the key, the key is created again with an
/// empty value and no lease; etcd's server panics there. The previous pair is returned only if it
/// is wanted.
pub(crate) fn put(write: &mut Write<'_>, request: PutRequest, is_wanted: bool) -> PutResponse {
    let previous = write.view().get(&request.key);
    let prev_kv =
        previous.filter(|_| request.prev_kv && is_wanted).map(|found| found.to_key_value());
    let kept_value = previous.filter(|_| request.ignore_value).map(|found| &found.value.bytes);
    let value = kept_value.cloned().unwrap_or(request.value);
    let kept_lease = previous.filter(|_| request.ignore_lease).map(|found| found.value.lease);
    let lease = kept_lease.unwrap_or(request.lease);
    let revision = write.put(&request.key, value, lease);
    PutResponse { header: Some(header_at(revision)), prev_kv }
}

/// There are no leases yet, so any lease that a request names is unknown.
fn check_lease(request: &PutRequest) -> Result<(), Refusal> {
    if request.lease == 0 { Ok(()) } else { Err(Refusal::LeaseNotFound) }
}

fn check_previous(view: View<'_>, request: &PutRequest) -> Result<(), Refusal> {
    let needs_previous = request.ignore_value || request.ignore_lease;
    if needs_previous && view.get(&request.key).is_none() {
        return Err(Refusal::KeyNotFound);
    }
    Ok(())
}
