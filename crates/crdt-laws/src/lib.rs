//! Checks that a type is a CRDT: generated histories, shrunk counterexamples, laws by name.
