//! What the prototypes with logs share: the births of each replica, and the deaths by its events.

use crdt_core::{Dot, ReplicaId};

/// One replica's events. Its death log is complete, unless all of it is forgotten.
#[derive(Clone)]
pub(crate) struct Row<B> {
    pub(crate) id: ReplicaId,
    pub(crate) births: B,
    /// Each event that ended a dot, with that dot.
    deaths: Vec<(u64, Dot)>,
}

/// The rows of all replicas. They stay where they are once opened; `order` sorts them by id.
#[derive(Clone, Default)]
pub(crate) struct Logs<B> {
    pub(crate) rows: Vec<Row<B>>,
    order: Vec<(ReplicaId, u32)>,
}

impl<B: Default> Logs<B> {
    pub(crate) fn find(&self, id: ReplicaId) -> Option<usize> {
        let at = self.order.binary_search_by_key(&id, |row| row.0).ok()?;
        Some(self.order[at].1 as usize)
    }

    pub(crate) fn get(&self, id: ReplicaId) -> Option<&Row<B>> {
        self.find(id).map(|row| &self.rows[row])
    }

    /// The row of `id`, made if need be.
    pub(crate) fn open(&mut self, id: ReplicaId) -> usize {
        match self.order.binary_search_by_key(&id, |row| row.0) {
            Ok(at) => self.order[at].1 as usize,
            Err(at) => {
                let row = u32::try_from(self.rows.len()).expect("few replicas");
                self.order.insert(at, (id, row));
                self.rows.push(Row { id, births: B::default(), deaths: Vec::new() });
                row as usize
            }
        }
    }

    pub(crate) fn sorted(&self) -> impl Iterator<Item = &Row<B>> {
        self.order.iter().map(|(_, row)| &self.rows[*row as usize])
    }

    pub(crate) fn record(&mut self, event: Dot, killed: impl IntoIterator<Item = Dot>) {
        let row = self.open(event.replica);
        self.rows[row].deaths.extend(killed.into_iter().map(|dot| (event.counter, dot)));
    }

    pub(crate) fn forget(&mut self) {
        for row in &mut self.rows {
            row.deaths = Vec::new();
        }
    }
}

impl<B> Row<B> {
    /// The deaths by events with a counter above `known`.
    pub(crate) fn deaths_after(&self, known: u64) -> impl Iterator<Item = (Dot, Dot)> {
        let from = self.deaths.partition_point(|death| death.0 <= known);
        self.deaths[from..].iter().map(|(event, killed)| (Dot::new(self.id, *event), *killed))
    }
}

/// Where `counter` stands among ascending ones: at once if they have no gaps.
pub(crate) fn position<T>(log: &[T], counter: u64, of: impl Fn(&T) -> u64) -> Option<usize> {
    let guess = usize::try_from(counter.checked_sub(of(log.first()?))?).ok()?;
    match log.get(guess) {
        Some(found) if of(found) == counter => Some(guess),
        _ => log.binary_search_by_key(&counter, of).ok(),
    }
}
