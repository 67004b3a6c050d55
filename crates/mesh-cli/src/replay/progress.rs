//! How far a long step has come, on stderr.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// On a terminal one line that is rewritten; elsewhere a line now and then.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    total: usize,
    terminal: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn start(what: &'static str, total: usize) -> Self {
        Progress { what, total, terminal: std::io::stderr().is_terminal(), last: Instant::now() }
    }

    /// To be called after every step; looks at the clock once in 64.
    pub(super) fn at(&mut self, done: usize) {
        let pause = Duration::from_millis(if self.terminal { 100 } else { 2_000 });
        let due = done.is_multiple_of(64) && self.last.elapsed() >= pause;
        if due || done == self.total {
            self.last = Instant::now();
            self.show(done);
        }
    }

    /// Progress is a courtesy: that stderr is closed is no reason to stop.
    fn show(&self, done: usize) {
        let Progress { what, total, .. } = self;
        let (start, end) = match (self.terminal, done == self.total) {
            (true, false) => ("\r\x1b[K", ""),
            (true, true) => ("\r\x1b[K", "\n"),
            (false, _) => ("", "\n"),
        };
        let _ = write!(std::io::stderr(), "{start}{what}: {done} of {total} events{end}");
    }
}
