//! A mesh of leaders: embed one, write locally, replicate to all, survive partitions.
