//! A last-writer-wins register with hybrid logical clocks; ties cannot diverge.
