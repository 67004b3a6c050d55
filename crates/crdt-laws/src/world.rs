//! Plays a history and checks the laws after every step.
//!
//! The first step that breaks a law ends the history: what follows it would be consequences. Everything that a sound
//! system guarantees is guaranteed here, so that what is found is the type's own fault: a replica is durable before it
//! shows anything to anybody, and only one writer exists for an id.

use crate::{
    ability::{Change, show},
    checks::{Checker, Known, Label, MOST_REPLICAS, Text, id, name},
    history::{History, Step},
    law::Law,
    panics,
    report::Updates,
    subject::{Event, Past, Subject},
};
use crdt_core::{Dot, Dotted, Merge, Replica, Rows};
use std::{iter::once, rc::Rc};

/// How many earlier states are kept to be checked against the present ones.
const MOST_EARLIER: usize = 3;

pub(crate) struct World<'s, S: Subject> {
    pub(crate) nodes: Vec<Node<S::State>>,
    /// One line a step, if asked for.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) updates: Updates,
    checker: Option<Checker<'s, S>>,
    events: Vec<Event<S::Op>>,
    messages: Vec<Rc<Message<S::State>>>,
    earlier: Vec<Reached<S::State>>,
    step: usize,
    /// The states before this step, for the reader; only if traced.
    before: Vec<String>,
    /// The last step that is in the trace.
    noted: usize,
}

pub(crate) struct Node<T> {
    pub(crate) replica: Replica<T>,
    past: Past,
    /// What a crash falls back to: persisted when last shown.
    durable: Reached<T>,
}

struct Message<T> {
    source: Reached<T>,
    /// The delta and the state whose version it builds on; none for a whole state.
    delta: Option<(Change<T>, Reached<T>)>,
}

/// A state that was reached, and what it had seen.
#[derive(Clone)]
struct Reached<T> {
    label: Label,
    state: T,
    past: Past,
}

impl<T> Reached<T> {
    fn known(&self) -> Known<'_, T> {
        Known { label: self.label, state: &self.state, past: &self.past }
    }
}

impl<T> Node<T> {
    fn known(&self, at: usize) -> Known<'_, T> {
        Known { label: Label::Now(at), state: self.replica.state(), past: &self.past }
    }
}

impl<'s, S: Subject> World<'s, S> {
    /// A world in which nothing has happened; without a checker it is only played.
    pub(crate) fn new(checker: Option<Checker<'s, S>>, traced: bool) -> Self {
        World {
            nodes: Vec::new(),
            trace: traced.then(Vec::new),
            updates: Updates::default(),
            checker,
            events: Vec::new(),
            messages: Vec::new(),
            earlier: Vec::new(),
            step: 0,
            before: Vec::new(),
            noted: 0,
        }
    }

    pub(crate) fn into_checker(self) -> Option<Checker<'s, S>> {
        self.checker
    }

    /// Plays the history to its end, or to the first broken law; without a checker panics go through.
    pub(crate) fn play(&mut self, history: &History<S::Op>) {
        if self.checker.is_none() {
            return self.play_steps(history);
        }
        // What a panic leaves half done is not looked at again: the history ends here.
        let played = panics::catch(|| self.play_steps(history));
        let (panicked, Some(checker)) = (played.is_err(), &mut self.checker) else { return };
        let (doing, found) = (checker.doing, checker.findings.len());
        checker.panicked(played);
        for finding in &mut checker.findings[found..] {
            for label in doing.operands {
                if let Label::Now(at) = label
                    && let Some(state) = self.before.get(at)
                {
                    finding.given.push((label.to_string(), state.clone()));
                }
            }
        }
        if panicked && self.noted < self.step {
            let line = match &history.steps[self.step - 1] {
                Step::Update { at, op, now } => format!("{}: {} at {now}", name(self.node(*at)), show(op)),
                _ => doing.to_string(),
            };
            self.note(None, || format!("{line}, panics"));
        }
    }

    fn play_steps(&mut self, history: &History<S::Op>) {
        for _ in 0..history.replicas {
            self.born(Replica::new(id(self.nodes.len()), S::State::default()), Past::default());
        }
        if let Some(checker) = &mut self.checker {
            checker.one(&Reached::bottom().known());
        }
        for (at, step) in history.steps.iter().enumerate() {
            if self.broken() {
                return;
            }
            self.step = at + 1;
            if self.trace.is_some() {
                self.before = self.nodes.iter().map(|node| show(node.replica.state())).collect();
            }
            let changed = self.perform(step);
            // All laws that an update breaks are its own. Other steps stop at what is found before they take effect.
            let look = matches!(step, Step::Update { .. }) || !self.broken();
            if let Some(changed) = changed.filter(|_| look) {
                self.check_laws(changed);
            }
        }
        if !self.broken() {
            self.converge();
        }
    }

    fn doing(&mut self, text: &'static str, operands: &[Label]) {
        if let Some(checker) = &mut self.checker {
            checker.doing(text, operands);
        }
    }

    fn broken(&self) -> bool {
        self.checker.as_ref().is_some_and(|checker| !checker.findings.is_empty())
    }

    /// Carries out one step; which replica it changed.
    fn perform(&mut self, step: &Step<S::Op>) -> Option<usize> {
        match *step {
            Step::Update { at, ref op, now } => Some(self.update(self.node(at), op, now)),
            Step::Merge { from, to } => self.merge(self.node(from), self.node(to)),
            Step::Pull { from, to } => self.pull(self.node(from), self.node(to)),
            Step::Send { from, since } => self.send(self.node(from), since.map(|since| self.node(since))),
            Step::Deliver { message, to } => {
                let number = usize::from(message).checked_rem(self.messages.len())?;
                let message = Rc::clone(&self.messages[number]);
                self.deliver(self.node(to), &message, &format!("gets message {}", number + 1))
            }
            Step::Fork { from } => self.fork(self.node(from)),
            Step::Restart { at, crash } => Some(self.restart(self.node(at), crash)),
            Step::Trim { at } => Some(self.trim(self.node(at))),
        }
    }

    fn node(&self, number: u8) -> usize {
        usize::from(number) % self.nodes.len()
    }

    fn born(&mut self, replica: Replica<S::State>, past: Past) {
        let durable = Reached {
            label: Label::At(self.nodes.len(), self.step),
            state: replica.state().clone(),
            past: past.clone(),
        };
        self.nodes.push(Node { replica, past, durable });
    }

    fn update(&mut self, at: usize, op: &S::Op, now: u64) -> usize {
        self.doing("the update of {0}", &[Label::Now(at)]);
        let node = &mut self.nodes[at];
        let before = node.replica.state().clone();
        let follows =
            |replica: &mut Replica<S::State>| replica.update(|state, tick| tick.follows(state).is_ok());
        let followed = follows(&mut node.replica);
        let outcome = S::update(&mut node.replica, op, now);
        let follows = follows(&mut node.replica);
        let (id, state) = (node.replica.id(), node.replica.state());
        let dot = Dot::new(id, state.last_counter(id));
        let changed = *state != before;
        if let Some(checker) = &mut self.checker {
            let named = |text: &str| format!("{} {text}", name(at));
            if let Err(error) = &outcome {
                checker.equal(
                    Law::RefusedUpdate,
                    state,
                    &before,
                    (&|| named(&format!("after an update refused with \"{error}\"")), &|| named("before")),
                );
                checker.holds(
                    Law::RefusedUpdate,
                    follows || !followed,
                    (&|| named("after a refused update"), &|| "has used up a number".into()),
                    (&|| named("before"), &|| "had not".into()),
                );
            } else {
                let had = before.last_counter(id);
                if changed || dot.counter != had {
                    let issued = self.events.iter().filter(|event| !event.lost && event.dot.replica == id);
                    let last = issued.map(|event| event.dot.counter).max().unwrap_or(0);
                    checker.holds(
                        Law::Dots,
                        dot.counter > had.max(last),
                        (&|| format!("the update of {} got the dot", name(at)), &|| dot.to_string()),
                        (&|| "the last dot of that id was".into(), &|| {
                            Dot::new(id, had.max(last)).to_string()
                        }),
                    );
                }
                let (was, is) = (Label::Before(at), Label::Now(at));
                let known = |label, state| Known { label, state, past: &node.past };
                checker.about(&[&known(was, &before), &known(is, state)], |checker| {
                    checker.doing("{0}.merge({1})", &[was, is]);
                    let mut joined = before.clone();
                    joined.merge(state);
                    let names: (Text<'_>, Text<'_>) = (&|| format!("{was} ∨ {is}"), &|| is.to_string());
                    checker.equal(Law::Inflationary, &joined, state, names);
                });
            }
        }
        let refused = outcome.err();
        if let Some(error) = &refused {
            self.updates.refused += 1;
            self.updates.refusal.get_or_insert_with(|| error.to_string());
        } else {
            self.updates.accepted += 1;
            self.updates.changed += u64::from(changed);
            let index = self.events.len();
            self.events.push(Event { op: op.clone(), dot, now, index, past: node.past.clone(), lost: false });
            node.past.insert(index);
        }
        self.note(Some(at), || {
            let refused = refused.as_ref().map_or_else(String::new, |error| format!(", refused: {error}"));
            format!("{}: {} at {now}{refused}", name(at), show(op))
        });
        at
    }

    fn merge(&mut self, from: usize, to: usize) -> Option<usize> {
        if from == to {
            return None;
        }
        self.show(from);
        self.doing("{0}.merge({1})", &[Label::Now(to), Label::Now(from)]);
        let source = self.nodes[from].durable.clone();
        let target = &mut self.nodes[to];
        target.replica.merge(&source.state);
        target.past.join(&source.past);
        self.note(Some(to), || format!("{} merges {}", name(to), name(from)));
        Some(to)
    }

    fn pull(&mut self, from: usize, to: usize) -> Option<usize> {
        if from == to {
            return None;
        }
        let Some(message) = self.cut(from, to) else { return self.merge(from, to) };
        self.deliver(to, &message, &format!("pulls from {}", name(from)))
    }

    fn send(&mut self, from: usize, since: Option<usize>) -> Option<usize> {
        let message = since.and_then(|since| self.cut(from, since)).unwrap_or_else(|| {
            self.show(from);
            Message { source: self.nodes[from].durable.clone(), delta: None }
        });
        let number = self.messages.len() + 1;
        self.note(None, || {
            let what = match since.filter(|_| message.delta.is_some()) {
                None => "its state".into(),
                Some(since) => format!("its delta since the version of {}", name(since)),
            };
            format!("{} sends {what} as message {number}", name(from))
        });
        self.messages.push(Rc::new(message));
        None
    }

    /// The delta of one replica since the version of another; none if the type has no deltas.
    fn cut(&mut self, from: usize, since: usize) -> Option<Message<S::State>> {
        let abilities = self.checker.as_ref()?.abilities;
        let deltas = abilities.delta.as_ref()?;
        // The version is shown as well: to the one who cuts.
        self.show(from);
        self.show(since);
        let (source, since) = (self.nodes[from].durable.clone(), self.nodes[since].durable.clone());
        let cut = deltas.cut;
        self.doing("{0}.delta_since(the version of {1})", &[Label::Now(from), since.label]);
        let change = cut(&source.state, &since.state);
        Some(Message { source, delta: Some((change, since)) })
    }

    fn deliver(&mut self, to: usize, message: &Message<S::State>, how: &str) -> Option<usize> {
        let source = &message.source;
        if let Some(checker) = &mut self.checker {
            let node = &self.nodes[to];
            checker.two(&node.known(to), &source.known());
            if let Some((_, since)) = &message.delta {
                checker.delta(&node.known(to), &source.known(), &since.known());
            }
        }
        self.doing("{0} gets the state or delta of {1}", &[Label::Now(to), source.label]);
        let node = &mut self.nodes[to];
        let refused = node.replica.update(|state, _| match &message.delta {
            None => {
                state.merge(&source.state);
                None
            }
            Some((change, since)) => {
                let applied = change(state);
                if applied.is_ok() && !since.past.is_subset(&node.past) {
                    // What a delta over a gap brings is checked above. Nobody could say what the state has seen after
                    // it, so the rest follows at once.
                    state.merge(&source.state);
                }
                applied.err()
            }
        });
        if refused.is_none() {
            node.past.join(&source.past);
        }
        self.note(Some(to), || match refused {
            None => format!("{} {how}", name(to)),
            Some(gap) => format!("{} {how}, refused: {gap}", name(to)),
        });
        refused.is_none().then_some(to)
    }

    fn fork(&mut self, from: usize) -> Option<usize> {
        if self.nodes.len() >= MOST_REPLICAS {
            return None;
        }
        self.show(from);
        self.doing("a replica from a copy of {0}", &[Label::Now(from)]);
        let replica = S::fork(&self.nodes[from].replica, id(self.nodes.len()));
        self.born(replica, self.nodes[from].past.clone());
        let new = self.nodes.len() - 1;
        self.note(Some(new), || format!("{} starts from a copy of {}", name(new), name(from)));
        Some(new)
    }

    fn restart(&mut self, at: usize, crash: bool) -> usize {
        if !crash {
            self.show(at);
        }
        self.doing("the restart of {0}", &[Label::Now(at)]);
        let node = &mut self.nodes[at];
        let id = node.replica.id();
        let durable = &node.durable;
        if crash {
            // What was not durable was shown to nobody: it never happened, and its dots are free.
            let kept = &durable.past;
            for event in &mut self.events {
                event.lost |=
                    event.dot.replica == id && node.past.contains(event.index) && !kept.contains(event.index);
            }
        }
        let mut state = durable.state.clone();
        if let Some(checker) = &mut self.checker {
            if let Some(serde) = checker.abilities.serde.as_ref().filter(|_| checker.faults.bytes)
                && let Ok(decoded) = serde.round_trip(&state)
            {
                state = decoded;
            }
            state = S::restart(id, state);
            checker.equal(
                Law::Restart,
                &state,
                &durable.state,
                (&|| format!("{} after the restart", name(at)), &|| "what was durable".into()),
            );
        } else {
            state = S::restart(id, state);
        }
        node.past = durable.past.clone();
        node.replica = Replica::new(id, state);
        let from = if crash { ", from what it last showed" } else { "" };
        self.note(Some(at), || {
            format!("{} {}restarts{from}", name(at), if crash { "crashes and " } else { "" })
        });
        at
    }

    fn trim(&mut self, at: usize) -> usize {
        self.show(at);
        self.doing("trimming {0}", &[Label::Now(at)]);
        let stable = self.stable();
        let mut trimmed = self.nodes[at].replica.state().clone();
        if self.checker.as_ref().is_none_or(|checker| checker.faults.trimming) {
            S::trim(&mut trimmed, &stable);
        }
        if let Some(checker) = &mut self.checker {
            let original = self.nodes[at].known(at);
            checker.equal(
                Law::Trimming,
                &trimmed,
                original.state,
                (&|| format!("{} after trimming", name(at)), &|| format!("{} before", name(at))),
            );
            let stand_in = Known { label: Label::Trimmed(at), state: &trimmed, past: original.past };
            let bottom = Reached::bottom();
            for (other, receives) in self
                .nodes
                .iter()
                .enumerate()
                .map(|(other, node)| (node.known(other), true))
                // An earlier state may still be under way to here; nobody is in it any more.
                .chain(self.earlier.iter().map(|earlier| (earlier.known(), false)))
                .chain(once((bottom.known(), true)))
            {
                checker.stand_in(Law::DeltaAfterTrimming, &original, &stand_in, &other, receives);
            }
        }
        self.nodes[at].replica.update(|state, _| *state = trimmed);
        self.note(Some(at), || format!("{} trims below {}", name(at), show(&stable)));
        at
    }

    /// For each replica the counter up to which every replica durably has its updates.
    fn stable(&self) -> Rows {
        let known = |past: &Past| -> Rows {
            let events = self.events.iter().filter(|event| past.contains(event.index));
            events.map(|event| (event.dot.replica, event.dot.counter)).collect()
        };
        let mut all = self.nodes.iter().map(|node| known(&node.durable.past));
        let first = all.next().unwrap_or_default();
        all.fold(first, |stable, known| {
            stable.zip(&known).map(|(id, mine, theirs)| (id, mine.min(theirs))).collect()
        })
    }

    /// Makes a replica durable, because someone is about to learn of its state.
    fn show(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let unchanged = node.past.is_subset(&node.durable.past);
        node.durable = Reached {
            label: Label::At(at, self.step),
            state: node.replica.state().clone(),
            past: node.past.clone(),
        };
        if !unchanged {
            if self.earlier.len() == MOST_EARLIER {
                self.earlier.remove(0);
            }
            self.earlier.push(node.durable.clone());
        }
    }

    fn note(&mut self, changed: Option<usize>, line: impl Fn() -> String) {
        if self.trace.is_none() {
            return;
        }
        let state =
            changed.map(|at| format!("\n        {} = {}", name(at), show(self.nodes[at].replica.state())));
        let line = format!("{:>4}. {}{}", self.step, line(), state.unwrap_or_default());
        self.trace.get_or_insert_default().push(line);
        self.noted = self.step;
    }

    /// All laws between a replica that has changed and everything else that is known.
    fn check_laws(&mut self, at: usize) {
        let Some(checker) = &mut self.checker else { return };
        let bottom = Reached::bottom();
        let changed = self.nodes[at].known(at);
        let others: Vec<_> = (1..self.nodes.len())
            .map(|ahead| (at + ahead) % self.nodes.len())
            .map(|other| self.nodes[other].known(other))
            .collect();
        let earlier: Vec<_> = self.earlier.iter().map(Reached::known).collect();
        checker.one(&changed);
        // Each pair with the two deltas that matter most; of all other versions to build on, one in turn.
        let versions: Vec<_> = once(&changed).chain(&others).chain(&earlier).collect();
        let (step, turns) = (self.step, if checker.every_version { versions.len() } else { 1 });
        let in_turn = |by: usize| versions.iter().cycle().skip((step + by) % versions.len()).take(turns);
        for (by, other) in others.iter().chain(&earlier).enumerate() {
            checker.two(&changed, other);
            checker.delta(&changed, other, &changed);
            in_turn(by).for_each(|since| checker.delta(&changed, other, since));
        }
        for (by, other) in others.iter().enumerate() {
            checker.delta(other, &changed, other);
            in_turn(by + 1).for_each(|since| checker.delta(other, &changed, since));
        }
        checker.delta(&changed, &changed, &bottom.known());
        checker.delta(&bottom.known(), &changed, &bottom.known());
        for pair in others.iter().chain(&earlier).collect::<Vec<_>>().windows(2) {
            checker.three(&changed, pair[0], pair[1]);
            checker.three(pair[0], &changed, pair[1]);
            checker.relay(&changed, pair[0], pair[1]);
            checker.relay(&changed, pair[1], pair[0]);
        }
        for pair in others.windows(2) {
            checker.relay(&pair[0], &changed, &pair[1]);
            checker.relay(&pair[0], &pair[1], &changed);
            checker.relay(&pair[1], &pair[0], &changed);
        }
        checker.doing("encoding and decoding {0}", &[changed.label]);
        if let Some(serde) = checker.abilities.serde.as_ref().filter(|_| checker.faults.bytes)
            && let Ok(decoded) = serde.round_trip(changed.state)
        {
            let stand_in = Known { label: Label::Decoded(at), state: &decoded, past: changed.past };
            for other in others.iter().take(2) {
                checker.stand_in(Law::DeltaAfterBytes, &changed, &stand_in, other, true);
            }
        }
        let past: Vec<_> = self.events.iter().filter(|event| changed.past.contains(event.index)).collect();
        checker.model(&changed, &past);
    }

    /// In the end everyone merges everyone, once forwards and once backwards.
    fn converge(&mut self) {
        let Some(checker) = &mut self.checker else { return };
        let mut past = Past::default();
        self.nodes.iter().for_each(|node| past.join(&node.past));
        let events: Vec<_> = self.events.iter().filter(|event| past.contains(event.index)).collect();
        let all: Vec<_> = self.nodes.iter().enumerate().map(|(at, node)| node.known(at)).collect();
        checker.about(&all.iter().collect::<Vec<_>>(), |checker| {
            checker.doing("merging all replicas", &[]);
            let (mut forwards, mut backwards) = (S::State::default(), S::State::default());
            for (node, back) in all.iter().zip(all.iter().rev()) {
                forwards.merge(node.state);
                backwards.merge(back.state);
            }
            checker.invariant(&forwards, &|| "all replicas merged".into());
            checker.equal(
                Law::Convergence,
                &forwards,
                &backwards,
                (&|| "all replicas merged, first to last".into(), &|| {
                    "all replicas merged, last to first".into()
                }),
            );
            checker.model(&Known { label: Label::All, state: &forwards, past: &past }, &events);
        });
    }
}

impl<T: Default> Reached<T> {
    fn bottom() -> Self {
        Reached { label: Label::Bottom, state: T::default(), past: Past::default() }
    }
}
