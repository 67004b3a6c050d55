//! Driving the updates through the leaders' APIs: many requests at a time, each until it is answered.

use super::{
    model::{Op, Receipt, check_receipt},
    plan::{Keys, LEADERS, NAMES, Write},
};
use crate::client::{ApiAddr, Client, NoReply, path};
use anyhow::{Context, Error, Result, bail};
use serde_json::json;
use std::{
    collections::VecDeque,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A write that was answered.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) write: Write,
    pub(super) receipt: Receipt,
}

impl Write {
    /// Sends it and waits for the reply.
    pub(super) fn send(&self, client: &Client) -> Result<Receipt> {
        let key = Some(self.idempotency_key.as_str());
        let keys = Keys::of(self.copy);
        let reply = match &self.op {
            Op::Assign(value) => {
                client.put(&path(&["register", &keys.register]), &json!({ "value": value }), key)
            }
            Op::Increment(by) => {
                client.post(&path(&["counter", &keys.counter, "incr"]), &json!({ "by": by }), key)
            }
            Op::Decrement(by) => {
                client.post(&path(&["counter", &keys.counter, "decr"]), &json!({ "by": by }), key)
            }
            Op::Grow(by) => {
                client.post(&path(&["g-counter", &keys.g_counter, "incr"]), &json!({ "by": by }), key)
            }
            Op::Add(paths) => {
                client.post(&path(&["set", &keys.set, "add"]), &json!({ "elements": paths }), key)
            }
            Op::Remove(paths) => {
                client.post(&path(&["set", &keys.set, "remove"]), &json!({ "elements": paths }), key)
            }
        };
        let receipt: Receipt = reply?.value;
        check_receipt(&self.op, &receipt)
            .with_context(|| format!("the reply to {} is wrong", self.idempotency_key))?;
        Ok(receipt)
    }
}

/// What is to be done and what was done: all threads work on this.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lanes: [Lane; LEADERS],
    /// Whether all threads shall end.
    over: bool,
    /// Why, if it is before all is done.
    failure: Option<Error>,
}

/// The work of one leader.
#[derive(Debug)]
pub(super) struct Lane {
    /// Where the API answers, once it does.
    api: Option<ApiAddr>,
    /// Which life of the process it is, from 0; `None` while there is none.
    life: Option<usize>,
    lives: usize,
    waiting: VecDeque<Write>,
    pub(super) total: usize,
    pub(super) written: Vec<Written>,
    /// Requests that were sent and not answered yet.
    pub(super) in_flight: usize,
    /// Requests that were sent to a life that ended before it answered.
    pub(super) unanswered: usize,
    /// Those of them that had become durable, as their repetition says.
    pub(super) had_been_durable: usize,
}

impl Lane {
    pub(super) fn has_work(&self) -> bool {
        self.written.len() < self.total
    }
}

impl State {
    /// How many writes were answered.
    pub(super) fn answered(&self) -> usize {
        self.lanes.iter().map(|lane| lane.written.len()).sum()
    }

    pub(super) fn total(&self) -> usize {
        self.lanes.iter().map(|lane| lane.total).sum()
    }

    fn go_on(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl Board {
    /// The writes for each leader; none is up yet.
    pub(super) fn new(writes: [VecDeque<Write>; LEADERS]) -> Self {
        let lanes = writes.map(|waiting| Lane {
            api: None,
            life: None,
            lives: 0,
            total: waiting.len(),
            waiting,
            written: Vec::new(),
            in_flight: 0,
            unanswered: 0,
            had_been_durable: 0,
        });
        Self { state: Mutex::new(State { lanes, over: false, failure: None }), changed: Condvar::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all threads.
    pub(super) fn end(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }

    /// Ends all threads because of an error; the first one counts.
    pub(super) fn fail(&self, reason: Error) {
        let mut state = self.state();
        if !mem::replace(&mut state.over, true) {
            state.failure = Some(reason);
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Waits until `ready` gives something. For one thread, which directs the others.
    ///
    /// # Errors
    ///
    /// What was given to [`fail`](Board::fail), or that nothing has been answered for too long.
    pub(super) fn wait<T>(&self, what: &str, mut ready: impl FnMut(&State) -> Option<T>) -> Result<T> {
        let (mut answered, mut since) = (0, Instant::now());
        let mut state = self.state();
        loop {
            state.go_on()?;
            if let Some(result) = ready(&state) {
                return Ok(result);
            }
            if state.answered() != answered {
                (answered, since) = (state.answered(), Instant::now());
            }
            let Some(left) = PATIENCE.checked_sub(since.elapsed()) else {
                bail!("no request was answered for {} s: gave up waiting {what}", PATIENCE.as_secs());
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks again and again until `attempt` gives something, which the board does not know.
    ///
    /// # Errors
    ///
    /// Those of `attempt`; what was given to [`fail`](Board::fail), or that it takes too long.
    pub(super) fn poll<T>(&self, what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(result) = attempt()? {
                return Ok(result);
            }
            if start.elapsed() > PATIENCE {
                bail!("gave up after {} s of waiting {what}", PATIENCE.as_secs());
            }
            self.pause(Duration::from_millis(20)).go_on()?;
        }
    }

    /// Lets some time pass, less if all is over.
    pub(super) fn pause(&self, time: Duration) -> MutexGuard<'_, State> {
        let going_on = |state: &mut State| !state.over;
        self.changed
            .wait_timeout_while(self.state(), time, going_on)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// The leader's process is about to be killed: whatever is in flight to it from here on may stay unanswered, and
    /// nothing more is sent. `kill` runs while no reply can be taken.
    pub(super) fn kill(&self, leader: usize, kill: impl FnOnce() -> Result<()>) -> Result<usize> {
        let mut state = self.state();
        let lane = &mut state.lanes[leader];
        lane.life = None;
        kill()?;
        Ok(lane.in_flight)
    }

    /// The leader takes requests, or does so again.
    pub(super) fn revive(&self, leader: usize, api: &ApiAddr) {
        let mut state = self.state();
        let lane = &mut state.lanes[leader];
        lane.api = Some(api.clone());
        lane.life = Some(lane.lives);
        lane.lives += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Which life of the leader's process there is, if any, and where it answers.
    pub(super) fn life(&self, leader: usize) -> Option<(usize, ApiAddr)> {
        let state = self.state();
        let lane = &state.lanes[leader];
        lane.life.zip(lane.api.clone())
    }

    /// One client of a leader: one request at a time, until nothing is left to do.
    pub(super) fn work(&self, leader: usize) {
        let mut connection = Connection::default();
        let mut mine = None;
        while let Some((life, api)) = self.next(leader, &mut mine) {
            let task = mine.as_mut().expect("there is something to do");
            let result = task.write.send(connection.to(life, &api));
            match self.answered(leader, life, task, result) {
                Ok(true) => mine = None,
                Ok(false) => {}
                Err(error) => self.fail(error),
            }
        }
    }

    /// Waits until the leader is up, and makes sure that there is something to send to it; `None` if that was all.
    fn next(&self, leader: usize, mine: &mut Option<Task>) -> Option<(usize, ApiAddr)> {
        let mut state = self.state();
        loop {
            if state.over {
                return None;
            }
            let lane = &mut state.lanes[leader];
            if let Some(up) = lane.life.zip(lane.api.clone()) {
                if mine.is_none() {
                    *mine = Some(Task { write: lane.waiting.pop_front()?, is_repetition: false });
                }
                lane.in_flight += 1;
                return Some(up);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes what became of a request; whether the task is done.
    fn answered(&self, leader: usize, life: usize, task: &mut Task, result: Result<Receipt>) -> Result<bool> {
        let name = NAMES[leader];
        let mut state = self.state();
        let lane = &mut state.lanes[leader];
        lane.in_flight -= 1;
        let done = match result {
            Ok(receipt) => {
                let Task { write, is_repetition } = task;
                if receipt.repeated && !*is_repetition {
                    bail!(
                        "{name} answers {} as if it had been sent before, and it was not",
                        write.idempotency_key
                    );
                }
                lane.had_been_durable += usize::from(receipt.repeated);
                lane.written.push(Written { write: write.clone(), receipt });
                true
            }
            // Its process was killed: the same again, under the same key, when it is back.
            Err(error) if lane.life != Some(life) => {
                lane.unanswered += usize::from(error.is::<NoReply>());
                task.is_repetition = true;
                false
            }
            Err(error) => return Err(error.context(format!("a write at {name} failed"))),
        };
        drop(state);
        self.changed.notify_all();
        Ok(done)
    }
}

/// What one client is busy with.
#[derive(Debug)]
struct Task {
    write: Write,
    /// Whether it may have been sent before.
    is_repetition: bool,
}

/// A client of one life of a leader: a connection of an earlier life is of no use.
#[derive(Debug, Default)]
pub(super) struct Connection(Option<(usize, Client)>);

impl Connection {
    pub(super) fn to(&mut self, life: usize, api: &ApiAddr) -> &Client {
        if self.0.as_ref().is_none_or(|(of, _)| *of != life) {
            self.0 = Some((life, Client::new(api.clone())));
        }
        &self.0.as_ref().expect("it was just made").1
    }
}
