use crate::{
    Kind,
    codec::{self, decode_whole},
};
use crdt_core::{Dotted, Merge};
use serde::{Serialize, de::DeserializeOwned};
use std::{any::Any, collections::BTreeMap, fmt};

/// A type of the user's own that a mesh replicates: any [`Merge`] with a codec.
///
/// A value travels whole and is merged on arrival; its updates are numbered within the value, so everything that works
/// with a [`Replica`](crdt_core::Replica) works here. Check the type with `crdt-laws` first: a mesh converges exactly as
/// far as the merge does.
///
/// # Law
///
/// Besides those of [`Merge`]: equal states serialise to equal bytes (postcard), on every machine. Use ordered maps.
pub trait Custom:
    Merge + Dotted + Default + Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The name of the type in every leader of the mesh: 1 to 64 bytes, none of the built-in names.
    const TYPE: &'static str;
}

/// The user's types that a leader knows.
///
/// A leader refuses state of a type that it does not know, so register a type on all leaders before its first use.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    types: BTreeMap<&'static str, Codec>,
}

#[derive(Clone, Copy, Debug)]
struct Codec {
    bottom: fn() -> Box<dyn Erased>,
    decode: Decode,
}

type Decode = fn(&[u8]) -> Result<Box<dyn Erased>, postcard::Error>;

impl Registry {
    /// No types of the user's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type.
    ///
    /// # Panics
    ///
    /// If the name is empty, too long, a built-in's, or taken by another type: a mistake in the program.
    pub fn with<T: Custom>(mut self) -> Self {
        let name = T::TYPE;
        assert!((1..=64).contains(&name.len()), "the type name {name:?} must have 1 to 64 bytes");
        assert!(matches!(Kind::from(name), Kind::Custom(_)), "{name:?} is the name of a built-in type");
        let codec = Codec {
            bottom: || Box::new(T::default()),
            decode: |bytes| Ok(Box::new(decode_whole::<T>(bytes)?)),
        };
        assert!(self.types.insert(name, codec).is_none(), "the type name {name:?} is registered twice");
        self
    }

    pub(crate) fn bottom(&self, name: &str) -> Option<Box<dyn Erased>> {
        self.types.get(name).map(|codec| (codec.bottom)())
    }

    pub(crate) fn decode(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Option<Result<Box<dyn Erased>, postcard::Error>> {
        self.types.get(name).map(|codec| (codec.decode)(bytes))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.types.keys().copied()
    }
}

/// A [`Custom`] value whose type is known only to the registry.
pub(crate) trait Erased: Any + fmt::Debug + Send + Sync {
    fn merge_erased(&mut self, other: &dyn Erased) -> bool;
    fn encode(&self) -> Vec<u8>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Custom> Erased for T {
    fn merge_erased(&mut self, other: &dyn Erased) -> bool {
        // Both come out of one registry under one name, so the types agree.
        other.as_any().downcast_ref::<T>().is_some_and(|other| self.merge(other))
    }

    fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
