//! The bodies of requests and replies.

use super::blob::Text;
use crate::Topology;
use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use mesh_proto::{Dot, Key, Kind, Receipt, Snapshot, Stamp, VersionVector};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A reply in JSON.
pub(super) fn json(body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("the keys are strings, and memory can be written");
    ([(CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// The body of a request.
pub(super) trait Form: DeserializeOwned {
    /// What it must be, for people.
    const FORM: &'static str;

    /// What an empty body means, if it may be empty.
    fn empty() -> Option<Self> {
        None
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct By {
    pub(super) by: u64,
}

impl Form for By {
    const FORM: &'static str = r#"{"by": 5}, with an integer from 0 to 18446744073709551615"#;

    fn empty() -> Option<Self> {
        Some(By { by: 1 })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewValue {
    pub(super) value: Text,
}

impl Form for NewValue {
    const FORM: &'static str = r#"{"value": "text"} or {"value": {"base64": "…"}}"#;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Elements {
    elements: Vec<Text>,
}

impl Elements {
    pub(super) fn into_blobs(self) -> Vec<Vec<u8>> {
        self.elements.into_iter().map(|Text(bytes)| bytes).collect()
    }
}

impl Form for Elements {
    const FORM: &'static str = r#"{"elements": ["a", "b"]}, each a string or {"base64": "…"}"#;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTopology {
    pub(super) topology: Topology,
}

impl Form for NewTopology {
    const FORM: &'static str = r#"{"topology": "ring"}"#;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    pub(super) address: String,
    #[serde(default)]
    pub(super) region: String,
}

impl Form for NewMember {
    const FORM: &'static str = r#"{"address": "host:port", "region": "eu"}, the region if it has one"#;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl Form for Nothing {
    const FORM: &'static str = "empty";

    fn empty() -> Option<Self> {
        Some(Nothing {})
    }
}

/// The value of a key: a number, a text, or the members of a set.
#[derive(Serialize)]
pub(super) struct Value<T> {
    pub(super) value: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stamp: Option<Stamp>,
}

#[derive(Serialize)]
pub(super) struct Members {
    pub(super) members: Vec<Text>,
}

#[derive(Serialize)]
pub(super) struct Contains {
    pub(super) contains: bool,
}

#[derive(Serialize)]
pub(super) struct Keys {
    pub(super) keys: Vec<Named>,
}

/// A key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    #[serde(rename = "type")]
    kind: String,
    name: String,
}

impl From<&Key> for Named {
    fn from(key: &Key) -> Self {
        Named { kind: key.kind.to_string(), name: key.name.to_string() }
    }
}

impl From<Named> for Key {
    fn from(named: Named) -> Self {
        Key::new(Kind::from(named.kind.as_str()), named.name)
    }
}

/// The reply of a write.
#[derive(Serialize)]
pub(super) struct ReceiptBody {
    dot: Option<String>,
    events: u64,
    token: VersionVector,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<Stamp>,
    repeated: bool,
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        let Receipt { replica, events, last, stamp, token, repeated } = receipt;
        let dot = (events > 0).then(|| Dot::new(replica, last).to_string());
        ReceiptBody { dot, events, token, stamp, repeated }
    }
}

/// One line of a watch.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) token: VersionVector,
    pub(super) changes: Vec<Change>,
}

#[derive(Serialize)]
pub(super) struct Change {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    value: AnyValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<Stamp>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyValue {
    Natural(u128),
    Integer(i128),
    Text(Text),
    Members(Vec<Text>),
}

impl Change {
    pub(super) fn of(changed: mesh_proto::ChangedKey) -> Option<Self> {
        let mut stamped = None;
        let value = match changed.value {
            Snapshot::GCounter(value) => AnyValue::Natural(value),
            Snapshot::PnCounter(value) => AnyValue::Integer(value),
            Snapshot::Register(value, stamp) => {
                stamped = Some(stamp);
                AnyValue::Text(Text(value))
            }
            Snapshot::Set(members) => AnyValue::Members(members.into_iter().map(Text).collect()),
            Snapshot::Custom(bytes) => AnyValue::Text(Text(bytes)),
            // A type that this version of the API does not know.
            _ => return None,
        };
        let kind = changed.key.kind.as_str().to_owned();
        Some(Change { kind, name: changed.key.name.to_string(), value, stamp: stamped })
    }
}
