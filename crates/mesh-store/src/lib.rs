//! Durable storage for a leader: atomic batches of bytes, in memory or in redb.
