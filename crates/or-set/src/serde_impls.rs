//! Encodings: canonical, without struct keys, validated on the way in.
//!
//! Counters are written as runs of consecutive ones, `(skip, length)`: how many counters are missing before the run,
//! and how long it is. A set that never removed takes one run for each replica. In a delta, where many dots of few
//! replicas occur, replicas are numbered by a table.

use crate::{
    kernel::Kernel,
    set::{OrSet, OrSetDelta},
    slice::{Run, Slice, runs},
    valid::{Invalid, ascending, check_delta, covered},
};
use alloc::vec::Vec;
use core::{fmt, hash::Hash, marker::PhantomData};
use crdt_core::{Dot, ReplicaId};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};
use version_vector::VersionVector;

/// Consecutive counters: how many are missing before them, and how many they are.
type Pairs = Vec<(u64, u64)>;

/// How far an event is from the one before, and the dot that it ended: place of the replica, and counter.
type Death = (u64, usize, u64);

/// A sequence that grows as items really arrive: a claimed length reserves nothing.
struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    // A type with one value may take no bytes at all, and one replica has it once: claiming 2⁶³ of
                    // them must not keep anyone busy.
                    if size_of::<T>() == 0 && !items.is_empty() {
                        return Err(A::Error::custom(Invalid::Repeated));
                    }
                    items.push(item);
                }
                Ok(List(items))
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Runs of one replica as `(skip, length)`.
fn write_runs(runs: &[Run]) -> Pairs {
    let mut next = 1;
    runs.iter()
        .map(|run| {
            let skip = run.first - next;
            // Only the last run of a row can end at the greatest counter, and then nothing reads `next`.
            next = run.last.wrapping_add(1);
            (skip, run.last - run.first + 1)
        })
        .collect()
}

fn read_runs(replica: ReplicaId, pairs: &[(u64, u64)]) -> Result<Vec<Run>, Invalid> {
    let mut last = 0_u64;
    let mut runs = Vec::new();
    for (at, (skip, len)) in pairs.iter().enumerate() {
        // Two runs with nothing in between are one.
        if *len == 0 || (at > 0 && *skip == 0) {
            return Err(Invalid::Unsorted);
        }
        let end = last.checked_add(*skip).and_then(|before| before.checked_add(*len));
        let first = last.wrapping_add(*skip).wrapping_add(1);
        last = end.ok_or(Invalid::Overflow)?;
        runs.push(Run { replica, first, last });
    }
    if runs.is_empty() {
        return Err(Invalid::EmptyRow);
    }
    Ok(runs)
}

/// Checks that there is one element for each dot.
fn matching<E>(runs: &[Run], elements: &[E]) -> Result<(), Invalid> {
    let count = runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(run.last - run.first + 1));
    if count == Some(elements.len() as u64) { Ok(()) } else { Err(Invalid::Count) }
}

#[derive(Serialize)]
#[serde(rename = "OrSet")]
struct SetOut<'a, E> {
    version: &'a VersionVector,
    live: Vec<RowOut<'a, E>>,
}

#[derive(Serialize)]
#[serde(rename = "Row")]
struct RowOut<'a, E> {
    replica: ReplicaId,
    runs: Pairs,
    elements: Vec<&'a E>,
}

#[derive(Deserialize)]
#[serde(rename = "OrSet", deny_unknown_fields, bound(deserialize = "E: Deserialize<'de>"))]
struct SetIn<E> {
    version: VersionVector,
    live: List<RowIn<E>>,
}

#[derive(Deserialize)]
#[serde(rename = "Row", deny_unknown_fields, bound(deserialize = "E: Deserialize<'de>"))]
struct RowIn<E> {
    replica: ReplicaId,
    runs: List<(u64, u64)>,
    elements: List<E>,
}

/// The version, and for each replica its live dots as runs with the elements beside them. Deaths are not written.
impl<E: Serialize> Serialize for OrSet<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let live: Vec<(Dot, &E)> = self.live().collect();
        let live = live
            .chunk_by(|a, b| a.0.replica == b.0.replica)
            .map(|row| RowOut {
                replica: row[0].0.replica,
                runs: write_runs(&runs(row.iter().map(|(dot, _)| *dot))),
                elements: row.iter().map(|(_, element)| *element).collect(),
            })
            .collect();
        let version = &self.version;
        SetOut { version, live }.serialize(serializer)
    }
}

/// Checks that every dot is covered by the version, that the form is the canonical one, and that an element has at
/// most one dot of each replica; in linear time. The floor is the version: no deaths are remembered.
impl<'de, E: Deserialize<'de> + Eq + Hash> Deserialize<'de> for OrSet<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_set(SetIn::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn read_set<E: Eq + Hash>(SetIn { version, live }: SetIn<E>) -> Result<OrSet<E>, Invalid> {
    let replicas: Vec<ReplicaId> = live.0.iter().map(|row| row.replica).collect();
    ascending(&replicas)?;
    let mut kernel = Kernel::new();
    kernel.reserve(live.0.iter().map(|row| row.elements.0.len()).sum());
    let mut repeated = false;
    for RowIn { replica, runs, elements } in live.0 {
        let runs = read_runs(replica, &runs.0)?;
        matching(&runs, &elements.0)?;
        covered(&version, Dot::new(replica, runs[runs.len() - 1].last))?;
        let mut elements = elements.0.into_iter();
        for run in runs {
            // A kernel lets an add of a replica end its older dot of the same element, which nothing here should have.
            kernel.take_run(run, &mut elements, &mut |change| {
                repeated |= matches!(change, crate::Change::Died(..));
            });
        }
    }
    if repeated {
        return Err(Invalid::Repeated);
    }
    Ok(OrSet { kernel, floor: version.clone(), version })
}

type BirthsOut<'a, E> = (usize, Pairs, Vec<&'a E>);
type BirthsIn<E> = (usize, List<(u64, u64)>, List<E>);
type SurvivorsIn = (usize, List<(u64, u64)>);

/// A table of replicas, a row of births for each that has some, and so on; replicas are named by their place in the
/// table.
#[derive(Serialize)]
#[serde(rename = "Slice")]
struct SliceOut<'a, E> {
    replicas: Vec<ReplicaId>,
    births: Vec<BirthsOut<'a, E>>,
    deaths: Vec<(usize, Vec<Death>)>,
    survivors: Option<Vec<(usize, Pairs)>>,
}

#[derive(Deserialize)]
#[serde(rename = "Slice", deny_unknown_fields, bound(deserialize = "E: Deserialize<'de>"))]
struct SliceIn<E> {
    replicas: List<ReplicaId>,
    births: List<BirthsIn<E>>,
    deaths: List<(usize, List<Death>)>,
    survivors: Option<List<SurvivorsIn>>,
}

impl<E: Serialize> Serialize for Slice<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut replicas: Vec<ReplicaId> = self.births.iter().map(|(dot, _)| dot.replica).collect();
        // Neighbours are mostly alike: keep what is sorted small.
        replicas.dedup();
        for (event, killed) in &self.deaths {
            for replica in [event.replica, killed.replica] {
                if replicas.last() != Some(&replica) {
                    replicas.push(replica);
                }
            }
        }
        replicas.extend(self.survivors.iter().flatten().map(|run| run.replica));
        replicas.sort_unstable();
        replicas.dedup();
        let place = |replica: ReplicaId| replicas.partition_point(|other| *other < replica);

        let births = self.births.chunk_by(|a, b| a.0.replica == b.0.replica);
        let births = births
            .map(|row| {
                let runs = runs(row.iter().map(|(dot, _)| *dot));
                let elements = row.iter().map(|(_, element)| element).collect();
                (place(row[0].0.replica), write_runs(&runs), elements)
            })
            .collect();
        let deaths = self.deaths.chunk_by(|a, b| a.0.replica == b.0.replica);
        let deaths = deaths
            .map(|row| {
                let mut before = 0;
                let deaths = row.iter().map(|(event, killed)| {
                    let gap = event.counter - before;
                    before = event.counter;
                    (gap, place(killed.replica), killed.counter)
                });
                (place(row[0].0.replica), deaths.collect())
            })
            .collect();
        let survivors = self.survivors.as_ref().map(|runs| {
            runs.chunk_by(|a, b| a.replica == b.replica)
                .map(|row| (place(row[0].replica), write_runs(row)))
                .collect()
        });
        SliceOut { replicas, births, deaths, survivors }.serialize(serializer)
    }
}

/// Checks the order and the canonical form; in linear time.
impl<'de, E: Deserialize<'de>> Deserialize<'de> for Slice<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_slice(SliceIn::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn read_slice<E>(slice: SliceIn<E>) -> Result<Slice<E>, Invalid> {
    let table = slice.replicas.0;
    ascending(&table)?;
    let mut used = Vec::new();
    used.resize(table.len(), false);
    let mut replica = |place: usize| {
        let id = table.get(place).copied().ok_or(Invalid::Table)?;
        used[place] = true;
        Ok(id)
    };

    let mut births = Vec::new();
    for (place, runs, elements) in slice.births.0 {
        let runs = read_runs(replica(place)?, &runs.0)?;
        matching(&runs, &elements.0)?;
        in_order(&births, &runs, |birth: &(Dot, E)| birth.0.replica, |run: &Run| run.replica)?;
        births.extend(runs.into_iter().flat_map(Run::dots).zip(elements.0));
    }
    let mut deaths = Vec::new();
    for (place, row) in slice.deaths.0 {
        let row = read_deaths(replica(place)?, row.0, &mut replica)?;
        in_order(&deaths, &row, |death: &(Dot, Dot)| death.0.replica, |death| death.0.replica)?;
        deaths.extend(row);
    }
    let mut survivors = None;
    if let Some(rows) = slice.survivors {
        let mut all = Vec::new();
        for (place, runs) in rows.0 {
            let row = read_runs(replica(place)?, &runs.0)?;
            in_order(&all, &row, |run: &Run| run.replica, |run: &Run| run.replica)?;
            all.extend(row);
        }
        survivors = Some(all);
    }
    if used.contains(&false) {
        return Err(Invalid::Table);
    }
    Ok(Slice { births, deaths, survivors })
}

fn read_deaths(
    events: ReplicaId,
    row: Vec<Death>,
    mut replica: impl FnMut(usize) -> Result<ReplicaId, Invalid>,
) -> Result<Vec<(Dot, Dot)>, Invalid> {
    let mut event = 0_u64;
    let mut deaths = Vec::new();
    for (gap, place, counter) in row {
        event = event.checked_add(gap).ok_or(Invalid::Overflow)?;
        if event == 0 || counter == 0 {
            return Err(Invalid::Overflow);
        }
        deaths.push((Dot::new(events, event), Dot::new(replica(place)?, counter)));
    }
    if deaths.is_empty() {
        return Err(Invalid::EmptyRow);
    }
    ascending(&deaths)?;
    Ok(deaths)
}

/// Whether a row may follow the rows before it: each replica has one row, and they ascend.
fn in_order<T, U>(
    before: &[T],
    row: &[U],
    replica: impl Fn(&T) -> ReplicaId,
    replica_of_row: impl Fn(&U) -> ReplicaId,
) -> Result<(), Invalid> {
    match (before.last(), row.first()) {
        (Some(last), Some(first)) if replica(last) >= replica_of_row(first) => Err(Invalid::Unsorted),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
#[serde(rename = "OrSetDelta", bound(serialize = "E: Serialize"))]
struct DeltaOut<'a, E> {
    since: &'a VersionVector,
    until: &'a VersionVector,
    slice: &'a Slice<E>,
    floor: &'a VersionVector,
}

#[derive(Deserialize)]
#[serde(rename = "OrSetDelta", deny_unknown_fields, bound(deserialize = "E: Deserialize<'de>"))]
struct DeltaIn<E> {
    since: VersionVector,
    until: VersionVector,
    slice: Slice<E>,
    floor: VersionVector,
}

impl<E: Serialize> Serialize for OrSetDelta<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OrSetDelta { since, until, slice, floor } = self;
        DeltaOut { since, until, slice, floor }.serialize(serializer)
    }
}

/// Checks that all that it brings lies in the interval that it claims; in linear time.
impl<'de, E: Deserialize<'de>> Deserialize<'de> for OrSetDelta<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let DeltaIn { since, until, slice, floor } = DeltaIn::deserialize(deserializer)?;
        let delta = OrSetDelta { since, until, slice, floor };
        check_delta(&delta).map_err(D::Error::custom)?;
        Ok(delta)
    }
}
