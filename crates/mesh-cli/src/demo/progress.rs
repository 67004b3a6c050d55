//! What is going on, on stderr.

use super::plan::{LEADERS, NAMES};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fmt,
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// On a terminal a bar, with the news above it; elsewhere the news, and a line now and then.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    total: usize,
    terminal: bool,
    start: Instant,
    last: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} writes, {msg}")
            .expect("the template is valid");
        let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_style(style);
        let start = Instant::now();
        Self { bar, total, terminal, start, last: Mutex::new(start) }
    }

    /// Some news. That stderr is closed is no reason to stop.
    pub(super) fn say(&self, news: impl fmt::Display) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{seconds:6.1} s  {news}");
        });
    }

    /// How many writes were answered, and how many requests of each leader wait for a reply.
    pub(super) fn at(&self, answered: usize, in_flight: [usize; LEADERS]) {
        let each = NAMES.iter().zip(in_flight).map(|(name, count)| format!("{name} {count}"));
        let waiting = format!("in flight: {}", each.collect::<Vec<_>>().join(", "));
        if self.terminal {
            self.bar.set_position(answered as u64);
            self.bar.set_message(waiting);
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= Duration::from_secs(2) && answered < self.total {
            *last = Instant::now();
            self.say(format_args!("{answered} of {} writes, {waiting}", self.total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
