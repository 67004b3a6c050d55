//! The one place where a leader reads clocks.

use mesh_proto::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock with an offset, and a clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    offset_ms: i64,
}

impl Clock {
    pub(crate) fn new(offset_ms: i64) -> Self {
        Clock { start: Instant::now(), offset_ms }
    }

    pub(crate) fn now(&self) -> Now {
        // A clock set before 1970 reads as 1970: it is wrong anyway, and stamps stay above what is held.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { wall: wall.saturating_add_signed(self.offset_ms), mono: self.uptime_ms() }
    }

    /// How long ago the leader was started.
    pub(crate) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
