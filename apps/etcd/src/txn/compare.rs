//! Compares: conditions on a key, or on every key of a span.

use std::cmp::Ordering;

use crate::api::etcdserverpb::Compare;
use crate::api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::errors::Refusal;
use crate::mvcc::{Found, Span, View};

/// Whether a compare holds. For a key that does not exist, no compare of its value holds, not even
/// with an empty value, and every number counts as 0.
///
/// # Errors
///
/// If it examines more than `keys_left` keys. The call lowers `keys_left` by the number of keys
/// that it examined.
pub(super) fn holds(
    view: View<'_>,
    compare: &Compare,
    keys_left: &mut usize,
) -> Result<bool, Refusal> {
    let mut found = view.newest(Span::of(&compare.key, &compare.range_end)).peekable();
    if found.peek().is_none() {
        let is_of_a_number = compare.target != CompareTarget::Value as i32;
        return Ok(is_of_a_number && holds_for(compare, None));
    }
    for found in found {
        *keys_left = keys_left.checked_sub(1).ok_or(Refusal::TooManyCompared)?;
        if !holds_for(compare, Some(found)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_for(compare: &Compare, found: Option<Found<'_>>) -> bool {
    let order = order(compare, found);
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        // In etcd a relation that does not exist holds.
        Err(_) => true,
    }
}

/// The order of the key and the compare's operand. An operand of another kind than the target
/// counts as absent, that is, as 0 or as empty.
fn order(compare: &Compare, found: Option<Found<'_>>) -> Ordering {
    let operand = compare.target_union.as_ref();
    let number = |of: fn(Found<'_>) -> i64, wanted: Option<i64>| {
        found.map_or(0, of).cmp(&wanted.unwrap_or(0))
    };
    match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => number(
            |found| found.value.version,
            operand.and_then(|operand| match operand {
                TargetUnion::Version(version) => Some(*version),
                _ => None,
            }),
        ),
        Ok(CompareTarget::Create) => number(
            |found| found.value.created,
            operand.and_then(|operand| match operand {
                TargetUnion::CreateRevision(revision) => Some(*revision),
                _ => None,
            }),
        ),
        Ok(CompareTarget::Mod) => number(
            |found| found.modified,
            operand.and_then(|operand| match operand {
                TargetUnion::ModRevision(revision) => Some(*revision),
                _ => None,
            }),
        ),
        Ok(CompareTarget::Lease) => number(
            |found| found.value.lease,
            operand.and_then(|operand| match operand {
                TargetUnion::Lease(lease) => Some(*lease),
                _ => None,
            }),
        ),
        Ok(CompareTarget::Value) => {
            let wanted = match operand {
                Some(TargetUnion::Value(value)) => &value[..],
                _ => &[],
            };
            found.map_or(&[][..], |found| &found.value.bytes[..]).cmp(wanted)
        }
        Err(_) => Ordering::Equal,
    }
}
