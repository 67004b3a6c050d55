//! The compact binary form: see [`crdt_core::wire`] for what all its types have in common.

use crate::{
    kernel::{Change, Kernel},
    set::{OrSet, OrSetDelta},
    slice::{Run, Slice, runs},
    valid::{Invalid, ascending, check_delta, covered},
};
use alloc::vec::Vec;
use core::{hash::Hash, iter::once, slice};
use crdt_core::{
    Dot, ReplicaId,
    wire::{DecodeError, Reader, Wire, decode_runs, encode_runs},
};
use version_vector::VersionVector;

/// The version; for each replica in it, in order, the counters of its live dots [as runs](encode_runs); and a column of
/// the elements, in the order of their dots. Deaths are not written: a set that was read has its version for a floor.
///
/// Reading checks that the form is the canonical one, that the version covers every dot, and that an element has at
/// most one dot of each replica; in linear time.
impl<E: Wire + Eq + Hash> Wire for OrSet<E> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        let (runs, elements) = self.kernel.columns();
        put_rows(self.version.iter().map(|(replica, _)| replica), runs, out);
        E::encode_column(elements, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = VersionVector::decode(reader)?;
        let table: Vec<ReplicaId> = version.iter().map(|(replica, _)| replica).collect();
        let rows = Rows::take(&table, true, reader)?;
        let elements = E::decode_column(rows.dots, reader)?;
        let mut kernel = Kernel::new();
        kernel.reserve(elements.len());
        let mut elements = elements.into_iter();
        let mut repeated = false;
        for run in rows.runs {
            covered(&version, Dot::new(run.replica, run.last)).map_err(at(reader))?;
            // A kernel lets an add of a replica end its older dot of the same element, which nothing here should have.
            kernel.take_run(run, &mut elements, &mut |change| repeated |= matches!(change, Change::Died(..)));
        }
        if repeated {
            return Err(at(reader)(Invalid::Repeated));
        }
        Ok(OrSet { kernel, floor: version.clone(), version })
    }
}

/// A list of the replicas that occur, ascending. With dots written by rows, that is for each replica in the list, in
/// order, its counters [as runs](encode_runs):
///
/// - the births by rows, and a column of their elements;
/// - the events that ended dots by rows, a column of how many each ended, and of what they ended, in their order, a
///   column of the places of the replicas in the list, and one of the counters;
/// - a `bool`; if it is 1, the survivors by rows.
///
/// Reading checks the order and the canonical form.
impl<E: Wire> Wire for Slice<E> {
    fn encode(&self, out: &mut Vec<u8>) {
        let births = runs(self.births.iter().map(|birth| birth.0));
        let deaths: Vec<&[(Dot, Dot)]> = self.deaths.chunk_by(|a, b| a.0 == b.0).collect();
        let events = runs(deaths.iter().map(|event| event[0].0));
        let killed = self.deaths.iter().map(|death| death.1);
        let survivors = self.survivors.as_deref();
        let table = table_of([&births, &events, survivors.unwrap_or_default()], &self.deaths);
        let place = |replica: ReplicaId| table.partition_point(|other| *other < replica) as u64;

        table.encode(out);
        put_rows(table.iter().copied(), births, out);
        E::encode_column(self.births.iter().map(|(_, element)| slice::from_ref(element)), out);
        put_rows(table.iter().copied(), events, out);
        put_column(deaths.iter().map(|event| event.len() as u64), out);
        put_column(killed.clone().map(|dot| place(dot.replica)), out);
        put_column(killed.map(|dot| dot.counter), out);
        survivors.is_some().encode(out);
        if let Some(survivors) = survivors {
            put_rows(table.iter().copied(), survivors.iter().copied(), out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let table = Vec::<ReplicaId>::decode(reader)?;
        let rows = Rows::take(&table, true, reader)?;
        let elements = E::decode_column(rows.dots, reader)?;
        let events = Rows::take(&table, true, reader)?;
        let deaths = take_deaths(&table, &events, reader)?;
        let survivors = bool::decode(reader)?.then(|| Rows::take(&table, false, reader)).transpose()?;
        let survivors = survivors.map(|rows| rows.runs);
        if table != table_of([&rows.runs, &events.runs, survivors.as_deref().unwrap_or_default()], &deaths) {
            return Err(at(reader)(Invalid::Table));
        }
        let births = rows.runs.into_iter().flat_map(Run::dots).zip(elements).collect();
        Ok(Slice { births, deaths, survivors })
    }
}

/// `until`; a column of how far `since` is behind it, for each of its replicas; the slice; and, if that has survivors,
/// a column of how far the floor is behind `until`.
///
/// Reading checks that all that it brings lies in the interval that it claims.
impl<E: Wire> Wire for OrSetDelta<E> {
    fn encode(&self, out: &mut Vec<u8>) {
        let OrSetDelta { since, until, slice, floor } = self;
        until.encode(out);
        put_behind(until, since, out);
        slice.encode(out);
        if slice.survivors.is_some() {
            put_behind(until, floor, out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let until = VersionVector::decode(reader)?;
        let since = take_behind(&until, reader)?;
        let slice = Slice::decode(reader)?;
        let floor = match slice.survivors {
            Some(_) => take_behind(&until, reader)?,
            None => VersionVector::new(),
        };
        let delta = OrSetDelta { since, until, slice, floor };
        check_delta(&delta).map_err(at(reader))?;
        Ok(delta)
    }
}

fn at(reader: &Reader<'_>) -> impl Fn(Invalid) -> DecodeError {
    |invalid| reader.invalid(invalid.what())
}

/// The replicas that occur in a slice, ascending; of deaths the events are among the rows.
fn table_of(rows: [&[Run]; 3], deaths: &[(Dot, Dot)]) -> Vec<ReplicaId> {
    let mut table = Vec::new();
    // Neighbours are mostly alike: keep what is sorted small.
    let in_rows = rows.into_iter().flatten().map(|run| run.replica);
    for replica in in_rows.chain(deaths.iter().map(|death| death.1.replica)) {
        if table.last() != Some(&replica) {
            table.push(replica);
        }
    }
    table.sort_unstable();
    table.dedup();
    table
}

fn put_column(numbers: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let numbers: Vec<u64> = numbers.collect();
    u64::encode_column(once(&numbers[..]), out);
}

/// Writes how far `version` is behind `until`, which covers it.
fn put_behind(until: &VersionVector, version: &VersionVector, out: &mut Vec<u8>) {
    put_column(until.zip(version).map(|(_, last, counter)| last - counter), out);
}

fn take_behind(until: &VersionVector, reader: &mut Reader<'_>) -> Result<VersionVector, DecodeError> {
    let behind = u64::decode_column(until.len(), reader)?;
    let counters = until.iter().zip(behind).map(|((replica, last), behind)| {
        last.checked_sub(behind).map(|counter| (replica, counter)).ok_or(Invalid::NotCovered)
    });
    counters.collect::<Result<Vec<_>, _>>().map(VersionVector::from_iter).map_err(at(reader))
}

/// Writes for each replica of the table its runs; they are in the same order, and of no other replica.
fn put_rows(table: impl Iterator<Item = ReplicaId>, runs: impl IntoIterator<Item = Run>, out: &mut Vec<u8>) {
    let mut runs = runs.into_iter().peekable();
    for replica in table {
        let row = core::iter::from_fn(|| runs.next_if(|run| run.replica == replica));
        encode_runs(row.map(|run| run.first..=run.last), out);
    }
    debug_assert!(runs.next().is_none(), "the table has all replicas");
}

/// What [`put_rows`] wrote.
struct Rows {
    runs: Vec<Run>,
    /// How many dots they are, or the greatest number if they are more.
    dots: usize,
}

impl Rows {
    /// Reads the rows. A dot that is `followed` by something has a byte or more behind the rows: there are no more of
    /// them than bytes are left, and no more runs either.
    fn take(table: &[ReplicaId], followed: bool, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut rows = Rows { runs: Vec::new(), dots: 0 };
        for replica in table {
            let most = if followed { reader.rest().len() } else { usize::MAX };
            let too_many = at(reader)(Invalid::Count);
            decode_runs(reader, |run| {
                let (first, last) = run.into_inner();
                // Cannot overflow: runs begin at 1.
                let count = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
                rows.dots = rows.dots.saturating_add(count);
                rows.runs.push(Run { replica: *replica, first, last });
                if rows.dots > most { Err(too_many) } else { Ok(()) }
            })?;
        }
        Ok(rows)
    }
}

/// The deaths by these events.
fn take_deaths(
    table: &[ReplicaId],
    events: &Rows,
    reader: &mut Reader<'_>,
) -> Result<Vec<(Dot, Dot)>, DecodeError> {
    let counts = u64::decode_column(events.dots, reader)?;
    let total = counts.iter().fold(0_u64, |total, count| total.saturating_add(*count));
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    let places = u64::decode_column(total, reader)?;
    let counters = u64::decode_column(total, reader)?;

    let mut deaths = Vec::with_capacity(total);
    let mut killed = places.into_iter().zip(counters);
    for (event, count) in events.runs.iter().copied().flat_map(Run::dots).zip(counts) {
        if count == 0 {
            return Err(reader.invalid("an event that ended nothing is not written"));
        }
        for _ in 0..count {
            let (place, counter) = killed.next().expect("the counts add up to the column");
            let replica = usize::try_from(place).ok().and_then(|place| table.get(place));
            let replica = *replica.ok_or_else(|| at(reader)(Invalid::Table))?;
            if counter == 0 {
                return Err(at(reader)(Invalid::Overflow));
            }
            deaths.push((event, Dot::new(replica, counter)));
        }
    }
    ascending(&deaths).map_err(at(reader))?;
    Ok(deaths)
}
