//! A counter (PN-Counter) that replicas increment and decrement independently and merge.
