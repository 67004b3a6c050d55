//! Writes that may be repeated: each reply is kept under the key its client chose, in the same commit as the write.

use crate::{
    Commit, Op, Receipt,
    codec::{decode_whole, encode},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use twox_hash::XxHash3_64;

/// The greatest length of an idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    request: u64,
    expires: u64,
    receipt: Receipt,
}

#[derive(Debug, Default)]
pub(crate) struct Replies {
    kept: BTreeMap<String, Kept>,
    expiry: BTreeSet<(u64, String)>,
    /// Keys to write, or to delete, in the next commit.
    changed: BTreeSet<String>,
}

/// What is known of an idempotency key.
pub(crate) enum Known {
    No,
    Repeated(Receipt),
    OtherRequest,
}

impl Replies {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn find(&self, key: &str, request: u64) -> Known {
        match self.kept.get(key) {
            None => Known::No,
            Some(kept) if kept.request == request => Known::Repeated(kept.receipt.clone()),
            Some(_) => Known::OtherRequest,
        }
    }

    pub(crate) fn keep(&mut self, key: &str, request: u64, expires: u64, receipt: Receipt) {
        self.insert(key.to_owned(), Kept { request, expires, receipt });
        self.changed.insert(key.to_owned());
    }

    fn insert(&mut self, key: String, kept: Kept) {
        self.expiry.insert((kept.expires, key.clone()));
        self.kept.insert(key, kept);
    }

    /// Forgets replies that expired before `wall`; the store follows with the next commit.
    pub(crate) fn expire(&mut self, wall: u64) {
        while self.expiry.first().is_some_and(|(expires, _)| *expires <= wall) {
            let (_, key) = self.expiry.pop_first().expect("just seen");
            self.kept.remove(&key);
            self.changed.insert(key);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(crate) fn write(&mut self, prefix: &[u8], commit: &mut Commit) {
        for key in std::mem::take(&mut self.changed) {
            let row = [prefix, key.as_bytes()].concat();
            match self.kept.get(&key) {
                Some(kept) => {
                    commit.puts.push((row, encode(kept)));
                }
                None => commit.deletes.push(row),
            }
        }
    }

    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let key = std::str::from_utf8(key).map_err(|error| error.to_string())?;
        let kept = decode_whole(value).map_err(|error| error.to_string())?;
        self.insert(key.to_owned(), kept);
        Ok(())
    }
}

/// What makes two requests under one idempotency key the same.
pub(crate) fn request_hash(name: &str, op: &Op) -> u64 {
    XxHash3_64::oneshot(&encode(&(name, op)))
}
