//! Values of an application as bytes, in postcard's wire format.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value as bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let encoded = postcard::to_extend(value, Vec::new());
    Bytes::from(encoded.expect("an application's types are plain data"))
}

/// The value in these bytes, if they hold one and nothing else.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}
