//! The one binary encoding of everything that travels or is stored: postcard.

use serde::{Serialize, de::DeserializeOwned};

/// The bytes of a value.
///
/// Writing to memory cannot fail; a type of the user's own whose `Serialize` returns an error is broken, and panics here.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("a Serialize that fails is a mistake in the program")
}

/// Decodes all of `bytes`; what is left over is an error.
pub(crate) fn decode_whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}
