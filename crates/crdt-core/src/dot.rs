use core::{fmt, num::NonZeroU64, str::FromStr};

/// The name of one replica: a non-zero `u64`, minted at random so that nobody has to hand names out.
///
/// Shown and serialised in human-readable formats as 16 hexadecimal digits, which also makes it a legal JSON key. An id is never
/// reused: a replica that cannot prove that it still has all the updates it ever issued takes a new one.
///
/// The type says nothing of who owns an id, and it is `Copy`: what must be unique is the [`Replica`](crate::Replica)
/// that writes under it. With random ids the chance that any two of *n* replicas collide is about n² / 2⁶⁵.
///
/// ```
/// use crdt_core::ReplicaId;
///
/// let id = ReplicaId::new(0xfeed);
/// assert_eq!(id.to_string(), "000000000000feed");
/// assert_eq!("000000000000feed".parse(), Ok(id));
/// assert!(ReplicaId::try_from(0).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(NonZeroU64);

/// What is not a [`ReplicaId`]: zero, or text that is not 1 to 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidReplicaId;

impl ReplicaId {
    /// The id with this number.
    ///
    /// # Panics
    ///
    /// If `id` is zero; in a `const` that is a compile error. For a number from outside use `try_from`.
    pub const fn new(id: u64) -> Self {
        match NonZeroU64::new(id) {
            Some(id) => ReplicaId(id),
            None => panic!("a replica id is not zero"),
        }
    }

    /// A fresh id from the operating system's random source.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness to give.
    #[cfg(feature = "rand")]
    pub fn random() -> Self {
        use rand::{TryRng, rngs::SysRng};
        loop {
            let drawn = SysRng.try_next_u64().expect("the operating system gives randomness");
            if let Ok(id) = ReplicaId::try_from(drawn) {
                return id;
            }
        }
    }

    /// The id as a number, never zero.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<u64> for ReplicaId {
    type Error = InvalidReplicaId;

    fn try_from(id: u64) -> Result<Self, InvalidReplicaId> {
        NonZeroU64::new(id).map(ReplicaId).ok_or(InvalidReplicaId)
    }
}

impl FromStr for ReplicaId {
    type Err = InvalidReplicaId;

    fn from_str(text: &str) -> Result<Self, InvalidReplicaId> {
        if text.len() > 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidReplicaId);
        }
        u64::from_str_radix(text, 16).map_err(|_| InvalidReplicaId)?.try_into()
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.get())
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.get())
    }
}

impl fmt::Display for InvalidReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a replica id is 1 to 16 hexadecimal digits and not zero")
    }
}

impl core::error::Error for InvalidReplicaId {}

/// The name of one update event: the replica that made it and its number there.
///
/// Counters start at 1 and are never reused, so a dot names one event for all time. Shown, and serialised in
/// human-readable formats, as `replica:counter`, which also makes it a legal JSON key.
///
/// ```
/// use crdt_core::{Dot, ReplicaId};
///
/// let dot = Dot::new(ReplicaId::new(0xa), 3);
/// assert_eq!(dot.to_string(), "000000000000000a:3");
/// assert_eq!("a:3".parse(), Ok(dot));
/// assert!("a:0".parse::<Dot>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who made the update.
    pub replica: ReplicaId,
    /// Its number among that replica's updates, from 1.
    pub counter: u64,
}

impl Dot {
    /// The event number `counter` of `replica`.
    pub const fn new(replica: ReplicaId, counter: u64) -> Self {
        Dot { replica, counter }
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.replica, self.counter)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.replica, self.counter)
    }
}

/// What is not a [`Dot`]: text that is not a replica id, a colon and a decimal number from 1 to 2⁶⁴ − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDot;

impl FromStr for Dot {
    type Err = InvalidDot;

    fn from_str(text: &str) -> Result<Self, InvalidDot> {
        let (replica, counter) = text.split_once(':').ok_or(InvalidDot)?;
        if !counter.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidDot);
        }
        let counter = counter.parse().ok().filter(|counter| *counter > 0).ok_or(InvalidDot)?;
        Ok(Dot { replica: replica.parse().map_err(|_| InvalidDot)?, counter })
    }
}

impl fmt::Display for InvalidDot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dot is a replica id, a colon and a counter from 1")
    }
}

impl core::error::Error for InvalidDot {}

#[cfg(feature = "serde")]
mod serde_impls {
    use super::{Dot, ReplicaId};
    use alloc::{borrow::Cow, string::ToString};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    impl Serialize for ReplicaId {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.serialize_str(&self.to_string())
            } else {
                self.get().serialize(serializer)
            }
        }
    }

    impl<'de> Deserialize<'de> for ReplicaId {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if deserializer.is_human_readable() {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            } else {
                u64::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
            }
        }
    }

    impl Serialize for Dot {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.collect_str(self)
            } else {
                (self.replica, self.counter).serialize(serializer)
            }
        }
    }

    impl<'de> Deserialize<'de> for Dot {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if deserializer.is_human_readable() {
                return Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom);
            }
            let (replica, counter) = Deserialize::deserialize(deserializer)?;
            if counter == 0 {
                return Err(D::Error::custom("a dot's counter starts at 1"));
            }
            Ok(Dot { replica, counter })
        }
    }
}
