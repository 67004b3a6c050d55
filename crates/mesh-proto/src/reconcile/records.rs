use crate::{Key, Kind, codec::encode, keyspace::KeyPiece};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How many bytes of its name a key may share with the one before it: a few bytes must not become a long name each.
const MAX_SHARED: usize = 63;

/// The type is not that of the record before.
const OTHER_KIND: u8 = 1 << 6;

/// There are not as many bytes as in the record before.
const OTHER_LENGTH: u8 = 1 << 7;

/// What one side has of some keys, strictly ascending by key.
///
/// Each record is told by what it adds to the one before it: a byte with the number of leading bytes that the names share
/// and with the two marks above; the type, if it is another; the rest of the name; the newest events, unless the bytes tell
/// them; how many bytes there are, if not as many as before; and the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub(crate) struct Records(pub(crate) Vec<KeyPiece>);

impl Records {
    /// How many bytes are values, and names of the keys that have them.
    pub(crate) fn payload(&self) -> usize {
        let mut last = "";
        let mut payload = 0;
        for KeyPiece { key, bytes, .. } in &self.0 {
            payload += key.name.len() - shared(last, &key.name) + bytes.len();
            last = &key.name;
        }
        payload
    }
}

/// How many leading bytes two names share, in whole characters.
fn shared(one: &str, other: &str) -> usize {
    let equal = one.bytes().zip(other.bytes()).take(MAX_SHARED).take_while(|(a, b)| a == b).count();
    (0..=equal).rev().find(|at| other.is_char_boundary(*at)).unwrap_or(0)
}

/// Whether a record of this type says itself which events it is of.
fn names_events(kind: &Kind) -> bool {
    matches!(kind, Kind::Set | Kind::Register)
}

impl From<Records> for Vec<u8> {
    fn from(records: Records) -> Self {
        let mut out = Vec::new();
        let mut last: Option<&KeyPiece> = None;
        for record in &records.0 {
            let KeyPiece { key, newest, bytes } = record;
            let shared = last.map_or(0, |last| shared(&last.key.name, &key.name));
            let is_other_kind = last.is_none_or(|last| last.key.kind != key.kind);
            let is_other_length = last.is_none_or(|last| last.bytes.len() != bytes.len());
            let marks = (u8::from(is_other_kind) * OTHER_KIND) | (u8::from(is_other_length) * OTHER_LENGTH);
            out.push(marks | u8::try_from(shared).expect("at most MAX_SHARED"));
            if is_other_kind {
                out.extend(encode(&key.kind));
            }
            out.extend(encode(&&key.name[shared..]));
            if !names_events(&key.kind) {
                out.extend(encode(newest));
            }
            if is_other_length {
                out.extend(encode(&(bytes.len() as u64)));
            }
            out.extend(bytes);
            last = Some(record);
        }
        out
    }
}

impl TryFrom<Vec<u8>> for Records {
    type Error = &'static str;

    fn try_from(all: Vec<u8>) -> Result<Self, &'static str> {
        let mut records: Vec<KeyPiece> = Vec::new();
        let mut left = all.as_slice();
        while let Some((marks, after)) = left.split_first() {
            left = after;
            let last = records.last();
            let shared = usize::from(marks & !(OTHER_KIND | OTHER_LENGTH));
            let kind = match last {
                _ if marks & OTHER_KIND != 0 => take::<Kind>(&mut left)?,
                Some(last) => last.key.kind.clone(),
                None => return Err("the first record has no type"),
            };
            let prefix = last.map_or("", |last| &*last.key.name).get(..shared);
            let prefix = prefix.ok_or("a name shares more than there is")?;
            let key = Key::new(kind, [prefix, &take::<String>(&mut left)?].concat());
            if last.is_some_and(|last| last.key >= key) {
                return Err("records are out of order");
            }
            let newest = if names_events(&key.kind) { <_>::default() } else { take(&mut left)? };
            let length = match last {
                _ if marks & OTHER_LENGTH != 0 => {
                    usize::try_from(take::<u64>(&mut left)?).unwrap_or(usize::MAX)
                }
                Some(last) => last.bytes.len(),
                None => return Err("the first record has no length"),
            };
            let (bytes, rest) = left.split_at_checked(length).ok_or("a record is cut off")?;
            left = rest;
            records.push(KeyPiece { key, newest, bytes: bytes.to_vec() });
        }
        Ok(Records(records))
    }
}

fn take<T: DeserializeOwned>(left: &mut &[u8]) -> Result<T, &'static str> {
    let (value, rest) = postcard::take_from_bytes(left).map_err(|_| "a record is malformed")?;
    *left = rest;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode_whole, encode};

    #[test]
    fn names_are_told_by_what_they_add() {
        let long = "x".repeat(200);
        let names =
            ["a", "ab", "ab\u{e9}", "ab\u{e8}", "key-0001", "key-0002", "", &long, &format!("{long}y")];
        let mut keys: Vec<Key> = [Kind::Register, Kind::Set, Kind::from("own")]
            .into_iter()
            .flat_map(|kind| names.map(|name| Key::new(kind.clone(), name)))
            .collect();
        keys.sort();
        let record = |(at, key): (usize, Key)| {
            let rows = [(7, 8)].into_iter().filter(|_| !names_events(&key.kind));
            KeyPiece { newest: rows.collect(), key, bytes: vec![7; [2, 2, 0, 3][at % 4]] }
        };
        let records = Records(keys.into_iter().enumerate().map(record).collect());
        let bytes = encode(&records);
        assert_eq!(decode_whole::<Records>(&bytes).as_ref(), Ok(&records));
        let told = records.payload() - records.0.iter().map(|record| record.bytes.len()).sum::<usize>();
        let names: usize = records.0.iter().map(|record| record.key.name.len()).sum();
        assert!(told < names && bytes.windows(8).filter(|window| window == b"key-0001").count() == 3);
        for (at, byte) in bytes.iter().enumerate() {
            let mut damaged = bytes.clone();
            damaged[at] = byte.wrapping_add(1);
            if let Ok(records) = decode_whole::<Records>(&damaged) {
                assert!(records.0.is_sorted_by(|one, other| one.key < other.key), "{at}");
                assert_eq!(decode_whole(&encode(&records)), Ok(records));
            }
        }
    }
}
