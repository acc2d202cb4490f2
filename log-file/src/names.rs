//! The names of the files in a log's directory.

/// The file that is locked while a store is open.
pub(crate) const LOCK_NAME: &str = "lock";

/// The durable mark, which records how far the stream was synced.
pub(crate) const DURABLE_MARK_NAME: &str = "proof";

/// A durable mark that is being written.
pub(crate) const NEW_DURABLE_MARK_NAME: &str = "new-proof";

/// The kind of file that a name in the directory denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Lock,
    DurableMark,
    NewDurableMark,
    Segment(u64),
    Spare(u64),
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("seg-{number:016x}")
}

pub(crate) fn spare_name(number: u64) -> String {
    format!("spare-{number:016x}")
}

/// The kind of file that a name denotes; `None` for a foreign name.
pub(crate) fn parse(name: &str) -> Option<Name> {
    match name {
        LOCK_NAME => return Some(Name::Lock),
        DURABLE_MARK_NAME => return Some(Name::DurableMark),
        NEW_DURABLE_MARK_NAME => return Some(Name::NewDurableMark),
        _ => {}
    }
    if let Some(digits) = name.strip_prefix("seg-") {
        return number(digits).filter(|number| *number > 0).map(Name::Segment);
    }
    number(name.strip_prefix("spare-")?).map(Name::Spare)
}

fn number(digits: &str) -> Option<u64> {
    let is_ours = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if digits.len() != 16 || !digits.bytes().all(is_ours) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_format_are_known() {
        assert_eq!(parse("lock"), Some(Name::Lock));
        assert_eq!(parse("proof"), Some(Name::DurableMark));
        assert_eq!(parse("new-proof"), Some(Name::NewDurableMark));
        assert_eq!(parse(&segment_name(31)), Some(Name::Segment(31)));
        assert_eq!(parse(&spare_name(u64::MAX)), Some(Name::Spare(u64::MAX)));
        for name in ["seg-1", "seg-0000000000000000", "seg-000000000000001F", "x", "spare-"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
