//! An add-wins observed-remove set without tombstones, with minimal deltas that carry removals.
