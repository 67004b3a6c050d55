//! Hashes of ranges of keys: how two leaders that should be alike are compared without sending what they hold.

use super::{
    body::{Named, json},
    error::ApiError,
    request::query,
};
use crate::Leader;
use axum::{extract::State, http::Uri, response::Response};
use mesh_proto::{Engine, Key, VersionVector};
use serde::Serialize;
use std::ops::Bound;

/// A range of at most so many keys is listed rather than summed up.
const LISTED: usize = 32;

/// What a leader holds in a range of keys.
#[derive(Serialize)]
struct Range {
    /// What it has.
    vector: VersionVector,
    keys: usize,
    /// The sum of the keys' hashes; of all keys it is the fingerprint.
    hash: String,
    /// The last key of the first half, where a longer range is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    middle: Option<Named>,
    /// Each key, if they are few.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<Entry>>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    key: Named,
    hash: String,
}

/// The keys after `after_key` up to `until_key`, both optional.
pub(super) async fn hashes(State(leader): State<Leader>, uri: Uri) -> Result<Response, ApiError> {
    let [after, until] = query(&uri, ["after_key", "until_key"])?;
    let (after, until) = (key("after_key", after)?, key("until_key", until)?);
    let range =
        (after.map_or(Bound::Unbounded, Bound::Excluded), until.map_or(Bound::Unbounded, Bound::Included));
    Ok(json(&leader.read(move |engine| of(engine, range)).await?))
}

fn key(name: &str, text: Option<String>) -> Result<Option<Key>, ApiError> {
    let parse = |text: String| {
        let named: Result<Named, _> = serde_json::from_str(&text);
        named.map(Key::from).map_err(|why| {
            ApiError::bad_request(format!(
                r#"{name} must be a key, as in {{"type": "or-set", "name": "tags"}}: {why}"#
            ))
        })
    };
    text.map(parse).transpose()
}

fn of(engine: &Engine, range: (Bound<Key>, Bound<Key>)) -> Range {
    let entries: Vec<(&Key, u64)> = engine.key_hashes(range).collect();
    let (keys, hex) = (entries.len(), |hash: u64| format!("{hash:016x}"));
    let sum = entries.iter().fold(0_u64, |sum, (_, hash)| sum.wrapping_add(*hash));
    let list =
        || entries.iter().map(|(key, hash)| Entry { key: Named::from(*key), hash: hex(*hash) }).collect();
    Range {
        vector: engine.version().clone(),
        keys,
        hash: hex(sum),
        middle: (keys > LISTED).then(|| Named::from(entries[(keys - 1) / 2].0)),
        entries: (keys <= LISTED).then(list),
    }
}
