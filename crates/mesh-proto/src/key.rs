use crate::keyspace::KeyId;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The greatest length of a key's name, in bytes.
pub const MAX_NAME: usize = 1024;

/// The type of a key's value, part of the key: it is fixed at the first use of a key, on every leader alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A counter that only grows.
    GCounter,
    /// A counter that goes up and down.
    PnCounter,
    /// A last-writer-wins register of bytes.
    Register,
    /// An add-wins set of bytes.
    Set,
    /// A type of the user's own, by its registered name; see [`Custom`](crate::Custom).
    Custom(Arc<str>),
}

impl Kind {
    /// The name that stands for this type on the wire, in the store and in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::GCounter => "g-counter",
            Kind::PnCounter => "pn-counter",
            Kind::Register => "lww-register",
            Kind::Set => "or-set",
            Kind::Custom(name) => name,
        }
    }
}

impl From<&str> for Kind {
    fn from(name: &str) -> Self {
        match name {
            "g-counter" => Kind::GCounter,
            "pn-counter" => Kind::PnCounter,
            "lww-register" => Kind::Register,
            "or-set" => Kind::Set,
            custom => Kind::Custom(custom.into()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(std::borrow::Cow::<'de, str>::deserialize(deserializer)?.as_ref().into())
    }
}

/// What names a value in the keyspace: its type and its name. Keys of different types are different keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The type of the value.
    pub kind: Kind,
    /// The name, UTF-8, at most [`MAX_NAME`] bytes and not empty.
    pub name: Arc<str>,
}

impl Key {
    /// The key `name` of type `kind`.
    pub fn new(kind: Kind, name: impl Into<Arc<str>>) -> Self {
        Key { kind, name: name.into() }
    }
}

/// A key that is held once, by all that name it in one process, and that remembers where its value is: whoever has it
/// need not look for that by its name.
#[derive(Clone, Debug)]
pub(crate) struct Interned(Arc<Held>);

#[derive(Debug)]
struct Held {
    key: Key,
    /// Where its value was last. It may have gone, or be in another keyspace.
    id: AtomicUsize,
}

impl Interned {
    /// Where its value was last, if there was one.
    #[inline]
    pub(crate) fn id(&self) -> KeyId {
        self.0.id.load(Ordering::Relaxed)
    }

    pub(crate) fn note_id(&self, id: KeyId) {
        self.0.id.store(id, Ordering::Relaxed);
    }

    /// Whether both are one in memory. Two that are not can be equal.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where it is in memory, as long as anybody has it.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl From<Key> for Interned {
    fn from(key: Key) -> Self {
        Interned(Arc::new(Held { key, id: AtomicUsize::new(KeyId::MAX) }))
    }
}

impl Deref for Interned {
    type Target = Key;

    #[inline]
    fn deref(&self) -> &Key {
        &self.0.key
    }
}

impl PartialEq for Interned {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || **self == **other
    }
}

impl Eq for Interned {}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
