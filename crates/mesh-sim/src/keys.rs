//! The keys that a simulation writes to: a few of each type, so that concurrent writes meet.

use mesh_proto::{Key, Kind};

/// How many keys of each type there are.
pub(crate) const NUMBERS: usize = 8;

const BUILT_IN: [Kind; 4] = [Kind::GCounter, Kind::PnCounter, Kind::Register, Kind::Set];

/// A key by its number: type by type.
pub(crate) type KeyIx = usize;

/// How many keys there are.
pub(crate) const KEYS: usize = NUMBERS * (BUILT_IN.len() + 1);

/// The first key of the user's own type.
pub(crate) const OWN: KeyIx = NUMBERS * BUILT_IN.len();

pub(crate) fn index(kind: &Kind, number: usize) -> KeyIx {
    let kind = BUILT_IN.iter().position(|built_in| built_in == kind).unwrap_or(BUILT_IN.len());
    kind * NUMBERS + number % NUMBERS
}

/// All keys, in order of their numbers; `own` is the name of the user's own type.
pub(crate) fn all(own: &'static str) -> Vec<Key> {
    BUILT_IN
        .into_iter()
        .chain([Kind::from(own)])
        .flat_map(|kind| {
            let name = if matches!(kind, Kind::Custom(_)) { "own".into() } else { kind.to_string() };
            (0..NUMBERS).map(move |number| Key::new(kind.clone(), format!("{name}-{number}")))
        })
        .collect()
}
