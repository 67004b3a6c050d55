//! A grow-only counter (G-Counter) that replicas increment independently and merge.
