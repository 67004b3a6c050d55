//! Reads, and when they are answered: at once where what they look at is durable, and otherwise after the commit that is
//! under way. None waits for what changes something.

use crate::core::{Read, View};
use mesh_proto::Engine;
use tokio::sync::mpsc;

pub(crate) struct Readers {
    asked: mpsc::Receiver<Read>,
    /// What looks at more than is durable.
    waiting: Vec<Read>,
    /// How many of these are taken before nobody else is heard.
    limit: usize,
}

impl Readers {
    pub(crate) fn new(asked: mpsc::Receiver<Read>, limit: usize) -> Self {
        Readers { asked, waiting: Vec::new(), limit }
    }

    /// The next read; waits for it, without end if too many are waiting already. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Read> {
        if self.waiting.len() >= self.limit {
            return std::future::pending().await;
        }
        self.asked.recv().await
    }

    /// Answers a read during a commit, or keeps it until [`answer`](Readers::answer).
    pub(crate) fn answer_during_commit(&mut self, read: Read, engine: &Engine) {
        match read {
            Read::Key { name, read } if engine.is_key_durable(&name) => read(engine, &name),
            read => self.waiting.push(read),
        }
    }

    /// Answers all reads that there are; `view` is of what is durable.
    pub(crate) fn answer<'a>(&mut self, view: impl FnOnce() -> View<'a>) {
        // Those that come meanwhile are for the next time: others have to have a turn.
        let asked = self.asked.len();
        if asked + self.waiting.len() == 0 {
            return;
        }
        let view = view();
        for read in self.waiting.drain(..) {
            run(read, view);
        }
        for _ in 0..asked {
            let Ok(read) = self.asked.try_recv() else { break };
            run(read, view);
        }
    }

    /// Takes no more.
    pub(crate) fn close(&mut self) {
        self.asked.close();
    }
}

pub(crate) fn run(read: Read, view: View<'_>) {
    match read {
        Read::Key { name, read } => read(view.engine, &name),
        Read::View(read) => read(view),
    }
}
