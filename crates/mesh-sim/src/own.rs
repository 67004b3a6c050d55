//! A type of the user's own in a simulated mesh, with its types erased: a schedule knows only what its updates are drawn
//! from.

use crate::violation::{Finding, Invariant};
use mesh_proto::{Custom, Dot, Engine, Receipt, Registry, Tick, UpdateError, VersionVector, WriteError};
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use std::{any::Any, fmt, sync::Arc};

/// A value of the user's type, kept to compare with.
pub(crate) type State = Arc<dyn Any + Send + Sync>;

/// An update of the user's own type that is part of what a leader has.
#[derive(Clone, Debug)]
pub struct OwnEvent<U> {
    /// The update.
    pub update: U,
    /// The event of the leader that made it.
    pub dot: Dot,
    pub(crate) token: Arc<VersionVector>,
}

impl<U> OwnEvent<U> {
    /// Whether the leader that made this update had seen `earlier` by then.
    pub fn saw(&self, earlier: &Self) -> bool {
        self.dot != earlier.dot && self.token.contains(earlier.dot)
    }
}

/// One update of the user's type, as the history has it.
pub(crate) struct Past<'a> {
    pub(crate) draw: u64,
    pub(crate) dot: Dot,
    pub(crate) token: &'a Arc<VersionVector>,
}

pub(crate) trait Own: Send + Sync {
    fn kind(&self) -> &'static str;
    fn registry(&self) -> Registry;
    fn update(&self, engine: &mut Engine, name: &str, draw: u64) -> Result<Receipt, WriteError>;
    fn describe(&self, draw: u64) -> String;
    fn state(&self, engine: &Engine, name: &str) -> Option<State>;
    /// Compares what a leader shows with the model, and with what it showed before.
    fn check(
        &self,
        engine: &Engine,
        name: &str,
        before: Option<&State>,
        past: &[Past<'_>],
    ) -> Result<(), Finding>;
    /// Joins the states right after each update, in several orders and twice, and compares with what is shown.
    fn replay(&self, engine: &Engine, name: &str, states: &[&State]) -> Result<(), Finding>;
}

type Draw<U> = Box<dyn Fn(&mut SmallRng) -> U + Send + Sync>;
type Update<T, U> = Box<dyn Fn(&mut T, Tick<'_>, &U) -> Result<(), UpdateError> + Send + Sync>;
type Observe<T, V> = Box<dyn Fn(&T) -> V + Send + Sync>;
type Model<U, V> = Box<dyn Fn(&[OwnEvent<U>]) -> V + Send + Sync>;

/// How a simulation updates a type of the user's own, and what it looks at.
///
/// What is checked, under all faults: leaders with equal vectors have equal values; a merge never takes back what was
/// there; the states right after each update, joined in other orders and twice, give what the leaders show in the end;
/// and, with a [`model`](OwnType::model), that each leader shows what the updates in its vector make.
///
/// ```
/// use mesh_sim::{Custom, Dotted, Merge, OwnType, ReplicaId, RngExt, Tick, UpdateError};
/// use serde::{Deserialize, Serialize};
/// use std::collections::BTreeMap;
///
/// /// Of each leader how many updates it made, and the highest bid in them.
/// #[derive(Clone, Debug, Default, Serialize, Deserialize)]
/// struct Bids(BTreeMap<ReplicaId, (u64, u64)>);
///
/// impl Bids {
///     fn bid(&mut self, tick: Tick<'_>, amount: u64) -> Result<(), UpdateError> {
///         let dot = tick.follows(self)?.take()?;
///         let row = self.0.entry(dot.replica).or_default();
///         *row = (dot.counter, row.1.max(amount));
///         Ok(())
///     }
///
///     fn highest(&self) -> u64 {
///         self.0.values().map(|row| row.1).max().unwrap_or(0)
///     }
/// }
///
/// impl Merge for Bids {
///     fn merge(&mut self, other: &Self) -> bool {
///         let mut grew = false;
///         for (replica, row) in &other.0 {
///             let mine = self.0.entry(*replica).or_default();
///             grew |= row.0 > mine.0;
///             *mine = (mine.0.max(row.0), mine.1.max(row.1));
///         }
///         grew
///     }
/// }
///
/// impl Dotted for Bids {
///     fn last_counter(&self, replica: ReplicaId) -> u64 {
///         self.0.get(&replica).map_or(0, |row| row.0)
///     }
/// }
///
/// impl Custom for Bids {
///     const TYPE: &'static str = "bids";
/// }
///
/// OwnType::new(|rng| rng.random_range(1..100), |bids, tick, amount| bids.bid(tick, *amount), Bids::highest)
///     .model(|past| past.iter().map(|event| event.update).max().unwrap_or(0))
///     .check(0..2, 100)
///     .unwrap();
/// ```
#[must_use = "nothing is checked until `check` is called"]
pub struct OwnType<T, U, V> {
    draw: Draw<U>,
    update: Update<T, U>,
    observe: Observe<T, V>,
    model: Option<Model<U, V>>,
}

impl<T: Custom, U: fmt::Debug, V: PartialEq + fmt::Debug> OwnType<T, U, V> {
    /// A type whose updates `draw` draws and `update` carries out, and of which a reader sees what `observe` gives.
    ///
    /// Draw from few values, so that concurrent updates meet on one of them. `update` gets the tick that names the
    /// update; if it fails it must have changed nothing.
    pub fn new(
        draw: impl Fn(&mut SmallRng) -> U + Send + Sync + 'static,
        update: impl Fn(&mut T, Tick<'_>, &U) -> Result<(), UpdateError> + Send + Sync + 'static,
        observe: impl Fn(&T) -> V + Send + Sync + 'static,
    ) -> Self {
        OwnType { draw: Box::new(draw), update: Box::new(update), observe: Box::new(observe), model: None }
    }

    /// Compares with what `model` says of the updates that a leader has, causes before effects.
    pub fn model(mut self, model: impl Fn(&[OwnEvent<U>]) -> V + Send + Sync + 'static) -> Self {
        self.model = Some(Box::new(model));
        self
    }

    fn drawn(&self, draw: u64) -> U {
        (self.draw)(&mut SmallRng::seed_from_u64(draw))
    }
}

impl<T, U, V> fmt::Debug for OwnType<T, U, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnType").field("model", &self.model.is_some()).finish_non_exhaustive()
    }
}

impl<T: Custom, U: fmt::Debug, V: PartialEq + fmt::Debug> Own for OwnType<T, U, V> {
    fn kind(&self) -> &'static str {
        T::TYPE
    }

    fn registry(&self) -> Registry {
        Registry::new().with::<T>()
    }

    fn update(&self, engine: &mut Engine, name: &str, draw: u64) -> Result<Receipt, WriteError> {
        let update = self.drawn(draw);
        engine.update::<T, WriteError>(name, |value, tick| Ok((self.update)(value, tick, &update)?))
    }

    fn describe(&self, draw: u64) -> String {
        format!("{:?}", self.drawn(draw))
    }

    fn state(&self, engine: &Engine, name: &str) -> Option<State> {
        engine.get::<T>(name).map(|value| Arc::new(value.clone()) as State)
    }

    fn check(
        &self,
        engine: &Engine,
        name: &str,
        before: Option<&State>,
        past: &[Past<'_>],
    ) -> Result<(), Finding> {
        let Some(value) = engine.get::<T>(name) else {
            return match past.first() {
                None => Ok(()),
                Some(first) => Err(Finding::of_key(
                    Invariant::Shows,
                    name,
                    format!("there is no value, though update {} is among what the leader has", first.dot),
                )),
            };
        };
        if let Some(before) = before.and_then(|state| state.downcast_ref::<T>()) {
            self.absorbs(value, before, name, "what it showed before")?;
        }
        let Some(model) = &self.model else { return Ok(()) };
        let events: Vec<OwnEvent<U>> = past
            .iter()
            .map(|past| OwnEvent { update: self.drawn(past.draw), dot: past.dot, token: past.token.clone() })
            .collect();
        let (shown, expected) = ((self.observe)(value), model(&events));
        if shown == expected {
            return Ok(());
        }
        Err(Finding::of_key(
            Invariant::Shows,
            name,
            format!("it shows {shown:?}, its {} updates make {expected:?}", events.len()),
        ))
    }

    fn replay(&self, engine: &Engine, name: &str, states: &[&State]) -> Result<(), Finding> {
        let mut states: Vec<&T> = states.iter().filter_map(|state| state.downcast_ref()).collect();
        let Some(value) = engine.get::<T>(name) else { return Ok(()) };
        for state in &states {
            self.absorbs(value, state, name, "the state after an acknowledged update")?;
        }
        let shown = (self.observe)(value);
        let mut rng = SmallRng::seed_from_u64(states.len() as u64);
        for order in ["the order they were made in", "the opposite order", "a random order", "pairs"] {
            match order {
                "the opposite order" => states.reverse(),
                "a random order" => states.shuffle(&mut rng),
                _ => {}
            }
            let mut joined = T::default();
            for pair in states.chunks(2) {
                let mut part = pair[0].clone();
                pair[1..].iter().for_each(|state| _ = part.merge(state));
                // Twice, as a network may deliver it.
                joined.merge(&part);
                joined.merge(&part);
            }
            let seen = (self.observe)(&joined);
            if seen != shown {
                let what = format!(
                    "the leaders show {shown:?}; the states after each of {} updates, joined in {order}, give {seen:?}",
                    states.len()
                );
                return Err(Finding::of_key(Invariant::Join, name, what));
            }
        }
        Ok(())
    }
}

impl<T: Custom, U: fmt::Debug, V: PartialEq + fmt::Debug> OwnType<T, U, V> {
    /// What a value has already, merging brings nothing.
    fn absorbs(&self, value: &T, earlier: &T, name: &str, what: &str) -> Result<(), Finding> {
        let mut joined = value.clone();
        let grew = joined.merge(earlier);
        let (shown, seen) = ((self.observe)(value), (self.observe)(&joined));
        if !grew && shown == seen {
            return Ok(());
        }
        let what = if grew && shown == seen {
            format!("the merge says that it brings something to merge {what} again, into {shown:?}")
        } else {
            format!(
                "it shows {shown:?}; merged with {what} ({:?}) once more it shows {seen:?}",
                (self.observe)(earlier)
            )
        };
        Err(Finding::of_key(Invariant::Join, name, what))
    }
}
