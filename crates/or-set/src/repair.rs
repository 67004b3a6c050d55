//! How kernels are put right that differ although their vectors say that they have seen the same.
//!
//! Between sound kernels that never happens. It takes damage: a birth or a death is lost on one side. What the other side
//! has can then not be applied, because everything in it counts as seen.

use crate::{
    births::Births,
    kernel::{Change, Kernel},
};
use alloc::{collections::VecDeque, vec::Vec};
use core::{hash::Hash, mem};
use crdt_core::Dot;

impl<E> Kernel<E> {
    /// The element of a live dot. **O(log n)**.
    pub fn element(&self, dot: Dot) -> Option<&E> {
        self.births.find(dot).map(|(_, handle)| self.births.element(handle))
    }

    /// Those of the remembered deaths that ended one of `dots`, which are ascending; each as `(event, killed)`, ascending.
    /// **O(d log k)** for d remembered deaths and k dots.
    pub fn deaths_of(&self, dots: &[Dot]) -> Vec<(Dot, Dot)> {
        debug_assert!(dots.is_sorted());
        if dots.is_empty() {
            return Vec::new();
        }
        let deaths = self
            .births
            .sorted()
            .flat_map(|row| row.deaths.iter().map(|(event, killed)| (Dot::new(row.id, *event), *killed)));
        deaths.filter(|(_, killed)| dots.binary_search(killed).is_ok()).collect()
    }
}

impl<E: Eq + Hash> Kernel<E> {
    /// Takes over deaths of which somebody else has a record, each as `(event, killed)`: the dots end, and the deaths are
    /// remembered; true exactly when something was new. Unlike those in a slice, the events may be ones that the holder
    /// has seen. **O(k log n)** for k deaths, and O(d log d) for the d that are remembered of the same replicas.
    ///
    /// The caller vouches that the holder's vector covers events and dots.
    pub fn kill_by(
        &mut self,
        deaths: impl IntoIterator<Item = (Dot, Dot)>,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let mut deaths: Vec<(Dot, Dot)> = deaths.into_iter().collect();
        deaths.sort_unstable();
        let mut grew = self.kill_all(deaths.iter().map(|death| death.1), watch);
        for of_replica in deaths.chunk_by(|one, other| one.0.replica == other.0.replica) {
            let row = self.births.open(of_replica[0].0.replica);
            let log: &mut VecDeque<(u64, Dot)> = &mut self.births.row_mut(row).deaths;
            let before = log.len();
            let mut all: Vec<(u64, Dot)> = mem::take(log).into();
            all.extend(of_replica.iter().map(|(event, killed)| (event.counter, *killed)));
            all.sort_unstable();
            all.dedup();
            self.deaths += all.len() - before;
            grew |= all.len() > before;
            *log = all.into();
        }
        grew
    }

    /// Lets dots live that the holder has seen and that do not live here. One that lives takes the element that is given.
    /// **O(n)**; O(log n) for each dot beyond all births of its replica in here.
    ///
    /// As everywhere, a replica's add ends its older dot of the same element, whichever of the two is revived.
    pub fn revive(
        &mut self,
        births: impl IntoIterator<Item = (Dot, E)>,
        watch: &mut impl FnMut(Change<'_, E>),
    ) {
        let mut births: Vec<(Dot, E)> = births.into_iter().collect();
        births.sort_by_key(|birth| birth.0);
        births.dedup_by_key(|birth| birth.0);
        let is_new = |dot: Dot| self.births.get(dot.replica).is_none_or(|row| row.last_birth < dot.counter);
        if births.iter().all(|birth| is_new(birth.0)) {
            self.reserve(births.len());
            for (dot, element) in births {
                self.take(dot, element, watch);
            }
            return;
        }
        // Births are only ever appended, so all are taken out and put in again.
        let mut old = mem::replace(&mut self.births, Births::new());
        self.index.clear();
        let rows: Vec<_> = old.sorted().map(|row| (row.id, row.last_birth)).collect();
        self.births.open_all(rows.iter().map(|row| row.0));
        for row in old.rows_mut() {
            let opened = self.births.open(row.id);
            self.births.row_mut(opened).deaths = mem::take(&mut row.deaths);
        }
        let mut all: Vec<(Dot, E, bool)> = Vec::new();
        old.take_after(
            |_| 0,
            |run, elements| all.extend(run.dots().zip(elements).map(|(dot, element)| (dot, element, true))),
        );
        all.extend(births.into_iter().map(|(dot, element)| (dot, element, false)));
        // Of two with one dot the one that lives comes first.
        all.sort_by_key(|birth| birth.0);
        all.dedup_by(|given, live| {
            let same = given.0 == live.0;
            if same && given.1 != live.1 {
                watch(Change::Died(live.0, &live.1));
                mem::swap(given, live);
            }
            same
        });
        self.reserve(all.len());
        for (dot, element, lives) in all {
            self.take(dot, element, &mut |change| {
                // Whoever watches has heard of it.
                if !(lives && matches!(change, Change::Born(..))) {
                    watch(change);
                }
            });
        }
        for (id, last_birth) in rows {
            let row = self.births.open(id);
            let row = self.births.row_mut(row);
            row.last_birth = row.last_birth.max(last_birth);
        }
    }
}
