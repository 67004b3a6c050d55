use crate::{
    births::{Births, Handle},
    table::{Position, Table},
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
};
use crdt_core::{Dot, ReplicaId};
use hashbrown::DefaultHashBuilder;

/// As many live dots of one element stand in the table at most. Elements with several are those that were added
/// concurrently, and it is rare that so many were.
const CROWD: usize = 8;

/// Finds live elements by hash: one handle for each live dot.
///
/// The element itself stays in its chunk and is hashed and compared there, so it is stored once. Nothing is ever
/// iterated in the order of the table.
#[derive(Clone, Default)]
pub(crate) struct Index {
    table: Table,
    /// The live dots of an element that are too many for the table, by its hash. There, r dots of one element would
    /// stand in each other's way for r² steps.
    crowd: BTreeMap<(u64, Dot), Handle>,
    /// How many elements there are.
    distinct: usize,
    hasher: DefaultHashBuilder,
}

impl Index {
    /// How many live dots there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.table.len() + self.crowd.len()
    }

    /// How many elements there are.
    #[inline]
    pub(crate) fn distinct(&self) -> usize {
        self.distinct
    }

    #[inline]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, element: &Q) -> u64 {
        self.hasher.hash_one(element)
    }

    /// Whether `element` has a live dot. `hash` is its own. To be called when the table has exactly the births.
    #[inline]
    pub(crate) fn has<E, Q>(&self, hash: u64, births: &Births<E>, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_here = |handle| births.is_at_slot(handle, element);
        self.table.glance(hash, is_here).unwrap_or_else(|| self.has_elsewhere(hash, births, element))
    }

    /// Apart: counting bits takes registers that a first look does not need.
    #[cold]
    #[inline(never)]
    fn has_elsewhere<E, Q>(&self, hash: u64, births: &Births<E>, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.find(hash, |handle| births.element(handle).borrow() == element).is_some()
    }

    /// Visits the live births of `element` that are in the table.
    #[inline]
    fn in_table<E, Q>(&self, hash: u64, births: &Births<E>, element: &Q, mut visit: impl FnMut(Handle))
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut left = CROWD;
        self.table.find(hash, |handle| {
            if births.element(handle).borrow() == element {
                visit(handle);
                left -= 1;
            }
            left == 0
        });
    }

    /// The live births of `element` that are not in the table, ascending.
    fn in_crowd<E, Q>(
        &self,
        hash: u64,
        births: &Births<E>,
        element: &Q,
    ) -> impl Iterator<Item = (Dot, Handle)>
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let first = Dot::new(ReplicaId::new(1), 0);
        let same_hash = self.crowd.range((hash, first)..).take_while(move |(key, _)| key.0 == hash);
        let is_equal = move |handle: Handle| births.element(handle).borrow() == element;
        same_hash.filter(move |(_, handle)| is_equal(**handle)).map(|(key, handle)| (key.1, *handle))
    }

    /// The least live dot of `element`.
    pub(crate) fn least<E, Q>(&self, hash: u64, births: &Births<E>, element: &Q) -> Option<(Dot, Handle)>
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut least: Option<(Dot, Handle)> = None;
        self.in_table(hash, births, element, |handle| {
            let dot = births.dot(handle);
            if least.is_none_or(|least| dot < least.0) {
                least = Some((dot, handle));
            }
        });
        if self.crowd.is_empty() {
            return least;
        }
        least.into_iter().chain(self.in_crowd(hash, births, element).next()).min_by_key(|birth| birth.0)
    }

    /// Whether a birth has the least live dot of its element.
    pub(crate) fn is_least<E: Eq + Hash>(&self, births: &Births<E>, handle: Handle) -> bool {
        let element = births.element(handle);
        let (hash, mut dot, mut is_least) = (self.hash(element), None, true);
        self.in_table(hash, births, element, |other| {
            // Mostly there is no other.
            if other != handle {
                is_least &= *dot.get_or_insert_with(|| births.dot(handle)) < births.dot(other);
            }
        });
        let first = (!self.crowd.is_empty()).then(|| self.in_crowd(hash, births, element).next()).flatten();
        is_least && first.is_none_or(|(first, other)| other == handle || births.dot(handle) < first)
    }

    /// The live dots of `element`, ascending.
    pub(crate) fn dots<E, Q>(&self, births: &Births<E>, element: &Q) -> Vec<Dot>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (hash, mut dots) = (self.hash(element), Vec::new());
        self.in_table(hash, births, element, |handle| dots.push(births.dot(handle)));
        dots.extend(self.in_crowd(hash, births, element).map(|birth| birth.0));
        dots.sort_unstable();
        dots
    }

    /// Adds the birth of an element that has no live dot. There is room for it.
    #[inline]
    pub(crate) fn insert_first(&mut self, hash: u64, handle: Handle) {
        self.table.insert(hash, handle);
        self.distinct += 1;
    }

    /// Adds a birth, for which room was made. If its replica had given another dot to an equal element: that one.
    #[inline]
    pub(crate) fn insert<E: Eq + Hash>(
        &mut self,
        births: &Births<E>,
        element: &E,
        dot: Dot,
        handle: Handle,
    ) -> Option<Dot> {
        let hash = self.hash(element);
        // Births that are yet to be added, this one too, stand in their chunk already: it is not enough to find the
        // element there.
        let is_equal = |other| births.element(other) == element;
        if self.table.glance(hash, is_equal) == Some(false) {
            self.insert_first(hash, handle);
            return None;
        }
        self.insert_beside(hash, births, dot, handle)
    }

    /// As [`insert`](Index::insert), of one birth that is yet to be made: mostly it need not be looked up.
    #[inline]
    pub(crate) fn insert_new<E: Eq>(
        &mut self,
        hash: u64,
        births: &mut Births<E>,
        (dot, element): (Dot, E),
        birth: impl FnOnce(&mut Births<E>, E) -> Handle,
    ) -> Option<Dot> {
        let was_there = self.has(hash, births, &element);
        let handle = birth(births, element);
        if was_there {
            return self.insert_beside(hash, births, dot, handle);
        }
        self.insert_first(hash, handle);
        None
    }

    /// As [`insert`](Index::insert), where others with this tag were met.
    #[cold]
    #[inline(never)]
    fn insert_beside<E: Eq>(
        &mut self,
        hash: u64,
        births: &Births<E>,
        dot: Dot,
        handle: Handle,
    ) -> Option<Dot> {
        let (row, element) = (births.row_of(handle), births.element(handle));
        let (mut met, mut older) = (0, None);
        self.in_table(hash, births, element, |other| {
            met += 1;
            if births.row_of(other) == row {
                older = older.max(Some(births.dot(other)));
            }
        });
        self.distinct += usize::from(met == 0);
        if met < CROWD {
            self.table.insert(hash, handle);
            return older;
        }
        // A replica's newer dots are greater.
        let mut of_replica = self.crowd.range((hash, Dot::new(dot.replica, 0))..(hash, dot)).rev();
        let in_crowd = of_replica.find(|(_, other)| births.element(**other) == element);
        older = older.max(in_crowd.map(|(key, _)| key.1));
        self.crowd.insert((hash, dot), handle);
        older
    }

    /// Makes room for `more` handles. To be called when the table has exactly the births.
    #[inline]
    pub(crate) fn reserve<E: Hash>(&mut self, births: &Births<E>, more: usize) {
        if self.spare() < more {
            self.rebuild(births, self.table.len() + more.max(self.table.len() / 2));
        }
    }

    /// For how many more handles there is room.
    #[inline]
    pub(crate) fn spare(&self) -> usize {
        self.table.capacity() - self.table.len()
    }

    /// Whether three quarters of the table are unused.
    pub(crate) fn is_oversized(&self) -> bool {
        self.table.capacity() / 4 > self.table.len()
    }

    /// Makes a table of another size, at least that of the elements.
    #[cold]
    pub(crate) fn rebuild<E: Hash>(&mut self, births: &Births<E>, room: usize) {
        // The old one is freed before the new one is made.
        self.table = Table::default();
        self.table = Table::with_capacity(room);
        self.fill(births);
    }

    /// Makes the table smaller, after births have died.
    pub(crate) fn shrink<E: Hash>(&mut self, births: &Births<E>) {
        self.rebuild(births, self.table.len() * 2);
    }

    /// Names all births anew.
    #[cold]
    pub(crate) fn refill<E: Hash>(&mut self, births: &Births<E>) {
        self.table.clear();
        self.fill(births);
    }

    /// In the order of the chunks: in the order of the table, memory would be visited at random.
    fn fill<E: Hash>(&mut self, births: &Births<E>) {
        let Index { table, crowd, hasher, .. } = self;
        births.for_each(|handle, element| {
            let hash = hasher.hash_one(element);
            let is_crowded = !crowd.is_empty();
            match is_crowded.then(|| crowd.get_mut(&(hash, births.dot(handle)))).flatten() {
                Some(name) => *name = handle,
                None => table.insert(hash, handle),
            }
        });
    }

    /// Where the handle stands in the table, if it does: valid until that is rebuilt.
    pub(crate) fn position(&self, hash: u64, handle: Handle) -> Option<Position> {
        self.table.find(hash, |other| other == handle)
    }

    /// Removes a birth that has died, of this element. `position` is where it stood in the table when that was last
    /// looked up; if it was in none then, it may be by now.
    #[inline]
    pub(crate) fn remove<E: Eq>(
        &mut self,
        hash: u64,
        births: &Births<E>,
        (dot, element): (Dot, &E),
        (handle, position): (Handle, Option<Position>),
    ) {
        match position {
            Some(position) if self.crowd.is_empty() => {
                let are_distinct = self.distinct == self.table.len();
                self.table.remove(hash, position);
                self.distinct -= usize::from(are_distinct || !self.has(hash, births, element));
            }
            _ => self.remove_crowded(hash, births, (dot, element), (handle, position)),
        }
    }

    /// As [`remove`](Index::remove), where some element is not only in the table.
    #[cold]
    #[inline(never)]
    fn remove_crowded<E: Eq>(
        &mut self,
        hash: u64,
        births: &Births<E>,
        (dot, element): (Dot, &E),
        (handle, position): (Handle, Option<Position>),
    ) {
        if position.is_none() && self.crowd.remove(&(hash, dot)).is_some() {
            return;
        }
        let Some(position) = position.or_else(|| self.position(hash, handle)) else { return };
        // The table has as many dots of an element as can be.
        let next = self.in_crowd(hash, births, element).next();
        if let Some((dot, handle)) = next {
            self.crowd.remove(&(hash, dot));
            self.table.replace(position, handle);
        } else {
            self.table.remove(hash, position);
            self.distinct -= usize::from(!self.has(hash, births, element));
        }
    }

    /// The birth `from` is now named `to`.
    pub(crate) fn moved(&mut self, hash: u64, dot: Dot, from: Handle, to: Handle) {
        if let Some(position) = self.position(hash, from) {
            self.table.replace(position, to);
        } else if let Some(name) = self.crowd.get_mut(&(hash, dot)) {
            *name = to;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.table = Table::default();
        self.crowd.clear();
        self.distinct = 0;
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handles", self.len())
    }
}
