//! The one binary encoding of everything that travels or is stored: postcard.

use serde::{Serialize, de::DeserializeOwned};

/// Most of what is encoded is shorter: a piece of a key, a frame with an update or two. A vector that grows to it byte by
/// byte moves five times.
const USUAL: usize = 128;

/// The bytes of a value.
///
/// Writing to memory cannot fail; a type of the user's own whose `Serialize` returns an error is broken, and panics here.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    encode_within(value, USUAL)
}

/// As [`encode`], of what is about so long.
pub(crate) fn encode_within(value: &impl Serialize, bytes: usize) -> Vec<u8> {
    postcard::to_extend(value, Vec::with_capacity(bytes))
        .expect("a Serialize that fails is a mistake in the program")
}

/// Decodes all of `bytes`; what is left over is an error.
pub(crate) fn decode_whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// Bytes in one piece. Encoded as a sequence of numbers they are the same, at the cost of a call for each.
pub(crate) mod bytes {
    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };
    use std::fmt;

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize)]
    struct InOnePiece(#[serde(with = "bytes")] Vec<u8>);

    #[test]
    fn bytes_in_one_piece_are_encoded_as_a_sequence_is() {
        for length in [0, 1, 127, 128, 300, 20_000] {
            let value: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            let encoded = encode(&value);
            assert_eq!(encode(&InOnePiece(value.clone())), encoded);
            assert!(decode_whole::<InOnePiece>(&encoded).is_ok_and(|read| read.0 == value));
            assert!(decode_whole::<InOnePiece>(&encoded[..encoded.len() - 1]).is_err());
        }
    }
}
