//! What a type can do beyond merging, as plain functions: the kit runs without further bounds, and a type that lacks
//! an ability is checked for the rest.

use crate::subject::{Event, Model, Subject};
use crdt_core::{
    Delta, Gap,
    wire::{DecodeError, Wire},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{cmp::Ordering, fmt::Debug, rc::Rc};

/// A delta that was cut: applying it is all that can be done with it.
pub(crate) type Change<T> = Rc<dyn Fn(&mut T) -> Result<bool, Gap>>;

/// What the model wants and what the state shows, if they differ.
pub(crate) type Mismatch = Option<(String, String)>;

type Compare<T> = fn(&T, &T) -> Option<Ordering>;
type CutByWire<T> = fn(&T, &T) -> Result<Change<T>, String>;
type CheckModel<T, Op> = fn(&T, &[&Event<Op>]) -> Mismatch;

pub(crate) struct Abilities<S: Subject> {
    pub(crate) order: Option<Compare<S::State>>,
    pub(crate) delta: Option<Deltas<S::State>>,
    /// As `Deltas::cut`, with version and change sent through bytes.
    pub(crate) wire: Option<CutByWire<S::State>>,
    pub(crate) serde: Option<Bytes<S::State>>,
    pub(crate) binary: Option<Binary<S::State>>,
    pub(crate) model: Option<CheckModel<S::State, S::Op>>,
}

pub(crate) struct Deltas<T> {
    /// The delta of the first state since the version of the second.
    pub(crate) cut: fn(&T, &T) -> Change<T>,
    pub(crate) compare: Compare<T>,
}

pub(crate) struct Bytes<T> {
    pub(crate) encode: fn(&T) -> Result<Encoded, String>,
    pub(crate) decode: fn(&[u8]) -> Result<T, String>,
    pub(crate) decode_json: fn(&str) -> Result<T, String>,
}

/// The compact binary form.
pub(crate) struct Binary<T> {
    pub(crate) encode: fn(&T) -> Vec<u8>,
    pub(crate) decode: fn(&[u8]) -> Result<T, DecodeError>,
}

pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) json: String,
}

impl<T> Bytes<T> {
    pub(crate) fn round_trip(&self, state: &T) -> Result<T, String> {
        (self.decode)(&(self.encode)(state)?.bytes)
    }
}

impl<S: Subject> Abilities<S> {
    pub(crate) const NONE: Self =
        Abilities { order: None, delta: None, wire: None, serde: None, binary: None, model: None };

    pub(crate) fn order(&mut self)
    where
        S::State: PartialOrd,
    {
        self.order = Some(S::State::partial_cmp);
    }

    pub(crate) fn delta(&mut self)
    where
        S::State: Delta<Change: 'static>,
    {
        self.delta = Some(Deltas {
            cut: |source, since| {
                let change = source.delta_since(since.version());
                Rc::new(move |to| to.apply(&change))
            },
            compare: |a, b| a.version().partial_cmp(b.version()),
        });
    }

    pub(crate) fn wire(&mut self)
    where
        S::State:
            Delta<Version: Serialize + DeserializeOwned, Change: Serialize + DeserializeOwned + 'static>,
    {
        self.wire = Some(|source, since| {
            let version = through_bytes(since.version())?;
            let change: <S::State as Delta>::Change = through_bytes(&source.delta_since(&version))?;
            Ok(Rc::new(move |to| to.apply(&change)))
        });
    }

    pub(crate) fn serde(&mut self)
    where
        S::State: Serialize + DeserializeOwned,
    {
        self.serde = Some(Bytes {
            encode: |state| {
                Ok(Encoded {
                    bytes: postcard::to_allocvec(state).map_err(|e| format!("postcard: {e}"))?,
                    json: serde_json::to_string(state).map_err(|e| json_refuses(&e.to_string()))?,
                })
            },
            decode: |bytes| postcard::from_bytes(bytes).map_err(|e| format!("postcard: {e}")),
            decode_json: |json| serde_json::from_str(json).map_err(|e| format!("JSON: {e}")),
        });
    }

    pub(crate) fn binary(&mut self)
    where
        S::State: Wire,
    {
        self.binary = Some(Binary { encode: S::State::to_bytes, decode: S::State::from_bytes });
    }

    pub(crate) fn model(&mut self)
    where
        S: Model,
    {
        self.model = Some(|state, past| {
            let (expected, shown) = (S::expected(past), S::view(state));
            (expected != shown).then(|| (show(&expected), show(&shown)))
        });
    }
}

/// What JSON has against a value; where there is a remedy, with it.
fn json_refuses(error: &str) -> String {
    let remedy = match error {
        "key must be a string" => {
            "; JSON takes strings, integers, characters and booleans as keys of a map: give the key's type a string \
             form where `is_human_readable()`, or serialise the map as a list of pairs"
        }
        _ => "",
    };
    format!("JSON: {error}{remedy}")
}

fn through_bytes<V: Serialize + DeserializeOwned>(value: &V) -> Result<V, String> {
    let bytes = postcard::to_allocvec(value).map_err(|e| e.to_string())?;
    postcard::from_bytes(&bytes).map_err(|e| e.to_string())
}

/// On one line, cut where nobody reads on.
pub(crate) fn show(value: &impl Debug) -> String {
    const LONGEST: usize = 600;
    let mut text = format!("{value:?}");
    if text.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}
