//! How far a simulation has come, on stderr. That stderr is closed is no reason to stop.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    sync::LazyLock,
    time::Instant,
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Says what is about to be done, and when.
pub(super) fn say(what: &str) {
    let seconds = START.elapsed().as_secs_f64();
    let _ = writeln!(io::stderr(), "{seconds:6.1} s  {what}");
}

/// On a terminal, a bar of virtual seconds.
#[derive(Debug)]
pub(super) struct Seconds(ProgressBar);

impl Seconds {
    pub(super) fn new(total: u64) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} virtual seconds")
            .expect("the template is valid");
        Seconds(ProgressBar::with_draw_target(Some(total), target).with_style(style))
    }

    pub(super) fn at(&self, seconds: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some days at most")]
        self.0.set_position(seconds as u64);
    }
}

impl Drop for Seconds {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
