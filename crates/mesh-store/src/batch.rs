/// Puts and deletes that are committed together, in the order in which they were added.
///
/// ```
/// use mesh_store::Batch;
///
/// let mut batch = Batch::new();
/// batch.put("a", "1");
/// batch.delete("a"); // the last write of a key counts
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.iter().last(), Some((&b"a"[..], None)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    bytes: usize,
}

impl Batch {
    /// A batch that changes nothing.
    pub const fn new() -> Self {
        Batch { writes: Vec::new(), bytes: 0 }
    }

    /// Sets the value of a key. Any bytes will do for both, none at all included.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.push(key.into(), Some(value.into()));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.push(key.into(), None);
    }

    /// Adds the writes of `other` after those of this batch. Costs O(writes of `other`); no key or value is copied.
    pub fn append(&mut self, mut other: Batch) {
        self.writes.append(&mut other.writes);
        self.bytes += other.bytes;
    }

    /// How many writes there are. Overwritten ones count.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// True if there are no writes.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How many bytes the keys and values have together: what to bound when gathering writes. Costs O(1).
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the writes and keeps the allocation for the next batch.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.bytes = 0;
    }

    /// The writes in order: a key with its value, or with `None` where it is deleted.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.into_iter()
    }

    fn push(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.writes.push((key, value));
    }
}

/// The writes of a [`Batch`] in order.
type Writes<'a> = std::iter::Map<
    std::slice::Iter<'a, (Vec<u8>, Option<Vec<u8>>)>,
    fn(&'a (Vec<u8>, Option<Vec<u8>>)) -> (&'a [u8], Option<&'a [u8]>),
>;

impl<'a> IntoIterator for &'a Batch {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = Writes<'a>;

    fn into_iter(self) -> Writes<'a> {
        self.writes.iter().map(|(key, value)| (key, value.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_writes_and_bytes() {
        let mut first = Batch::new();
        assert!(first.is_empty());
        first.put("key", "value");
        first.delete("gone");
        assert_eq!((first.len(), first.bytes()), (2, 12));

        let mut second = Batch::new();
        second.put("key", "");
        second.append(first.clone());
        assert_eq!((second.len(), second.bytes()), (3, 15));
        assert_eq!(second.iter().skip(1).collect::<Vec<_>>(), first.iter().collect::<Vec<_>>());

        second.clear();
        assert_eq!(second, Batch::new());
    }
}
