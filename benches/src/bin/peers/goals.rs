//! What must be reached, each part by itself.

use crate::{
    contest::Names,
    g_counter, lww_register,
    or_set::{self, KIND as SET, LARGE, kernel, memory},
    pn_counter, rows,
    table::{OURS, Place, Results, Unit, is_close, show},
    version_vector,
};
use serde_json::{Value, json};
use std::fmt::Write;

pub(crate) struct Goal {
    number: String,
    what: String,
    /// Nothing, if it is for information.
    required: Option<String>,
    /// What was measured, and whether it is enough; `None` if it was left out.
    measured: Option<(String, bool)>,
    /// The times behind it, if they are so close to the bound that noise may decide.
    close: Vec<Place>,
}

impl Goal {
    /// False only if it was measured and is not enough, or should have been measured.
    pub(crate) fn passes(&self, all_measured: bool) -> bool {
        self.required.is_none() || self.measured.as_ref().map_or(!all_measured, |measured| measured.1)
    }
}

struct Goals<'a> {
    results: &'a Results,
    list: Vec<Goal>,
    number: u32,
    part: u8,
}

impl Goals<'_> {
    fn section(&mut self, number: u32) {
        (self.number, self.part) = (number, 0);
    }

    fn push(
        &mut self,
        what: &str,
        required: Option<String>,
        measured: Option<(String, bool)>,
        close: Vec<Place>,
    ) {
        let part = char::from(b'a' + self.part);
        self.part += 1;
        let number = format!("{}{part}", self.number);
        self.list.push(Goal { number, what: what.into(), required, measured, close });
    }

    /// `of / by` and where it stands.
    fn ratio(&self, of: Place, by: Place) -> Option<f64> {
        Some(self.results.at(of)? / self.results.at(by)?)
    }

    /// `theirs / ours` is at least `bound`.
    fn at_least(&mut self, what: &str, bound: f64, theirs: Place, ours: Place) {
        self.at_least_scaled(what, bound, 1.0, theirs, ours);
    }

    /// The same, where their time is for a size of which ours has only a part.
    fn at_least_scaled(&mut self, what: &str, bound: f64, scale: f64, theirs: Place, ours: Place) {
        let ratio = self.ratio(theirs, ours).map(|ratio| ratio * scale);
        let close = ratio.is_some_and(|ratio| is_close(ratio / bound));
        let measured = ratio.map(|ratio| (times(ratio), ratio >= bound));
        let required = format!("at least {}", times(bound));
        self.push(what, Some(required), measured, if close { vec![theirs, ours] } else { Vec::new() });
    }

    /// `ours / theirs` is at most `bound`.
    fn at_most(&mut self, what: &str, bound: f64, ours: Place, theirs: Place) {
        self.at_most_scaled(what, bound, 1.0, ours, theirs);
    }

    fn at_most_scaled(&mut self, what: &str, bound: f64, scale: f64, ours: Place, theirs: Place) {
        let ratio = self.ratio(ours, theirs).map(|ratio| ratio / scale);
        let close = ratio.is_some_and(|ratio| is_close(bound / ratio));
        let measured = ratio.map(|ratio| (times(ratio), ratio <= bound));
        let required = format!("at most {}", times(bound));
        self.push(what, Some(required), measured, if close { vec![ours, theirs] } else { Vec::new() });
    }

    fn below(&mut self, what: &str, bound: f64, unit: Unit, ours: Place) {
        let value = self.results.at(ours);
        // What is counted is counted once.
        let close = unit == Unit::Nanoseconds && value.is_some_and(|value| is_close(bound / value));
        let measured = value.map(|value| (show(unit, value), value <= bound));
        let required = format!("at most {}", show(unit, bound));
        self.push(what, Some(required), measured, if close { vec![ours] } else { Vec::new() });
    }

    /// The greatest of a row over sizes is at most `bound`.
    fn all_below(&mut self, what: &str, bound: f64, unit: Unit, row: (&str, &str), sizes: &[u64]) {
        let all = sizes.iter().map(|n| self.results.get(row.0, row.1, *n, OURS));
        let worst = all.collect::<Option<Vec<f64>>>().and_then(|all| all.into_iter().reduce(f64::max));
        let measured = worst.map(|worst| (show(unit, worst), worst <= bound));
        self.push(what, Some(format!("at most {}", show(unit, bound))), measured, Vec::new());
    }

    /// `of / by`, which is not a goal.
    fn inform(&mut self, what: &str, of: Place, by: Place) {
        let measured = self.ratio(of, by).map(|ratio| (times(ratio), true));
        self.push(what, None, measured, Vec::new());
    }
}

fn set(work: &'static str, n: u64, side: &'static str) -> Place {
    Place { kind: SET, work, n, side }
}

/// A ratio, with three significant digits.
pub(crate) fn times(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 10.0 => format!("{ratio:.2}x"),
        ratio if ratio < 100.0 => format!("{ratio:.1}x"),
        ratio => format!("{ratio:.0}x"),
    }
}

pub(crate) fn judge(results: &Results) -> Vec<Goal> {
    let mut goals = Goals { results, list: Vec::new(), number: 0, part: 0 };
    set_merges(&mut goals);
    set_operations(&mut goals);
    set_memory(&mut goals);
    rows_and_registers(&mut goals);
    no_peer_is_faster(&mut goals);
    shared_kernel(&mut goals);
    allocations(&mut goals);
    goals.list
}

fn set_merges(goals: &mut Goals<'_>) {
    let vs = |goals: &mut Goals<'_>, what: &str, bound, names: Names, n, side: &'static str| {
        goals.at_least(what, bound, set(names.by_value, n, side), set(names.by_reference, n, OURS));
    };
    goals.section(1);
    vs(goals, "OR-Set 10^6, merge d = 100, against crdts", 4000.0, or_set::D100, LARGE, "crdts");
    vs(goals, "the same against dson", 3000.0, or_set::D100, LARGE, "dson");
    goals.section(2);
    vs(goals, "OR-Set 10^6, merge identical, against crdts", 10_000.0, or_set::IDENTICAL, LARGE, "crdts");
    goals.section(3);
    vs(goals, "OR-Set 10^4, merge d = 100, against crdts", 500.0, or_set::D100, 10_000, "crdts");
    vs(goals, "OR-Set 10^4, merge d = 1, against crdts", 1000.0, or_set::D1, 10_000, "crdts");
    goals.section(4);
    vs(goals, "OR-Set 10^6, merge d = 1%, against crdts", 250.0, or_set::PERCENT, LARGE, "crdts");
    vs(goals, "OR-Set 10^6, merge disjoint, against crdts", 4.0, or_set::DISJOINT, LARGE, "crdts");
    let disjoint = or_set::DISJOINT.by_reference;
    let (union, ours) = (set(disjoint, LARGE, "hashbrown"), set(disjoint, LARGE, OURS));
    goals.at_most("the same, against a union of hashbrown sets", 4.0, ours, union);
    goals.section(5);
    vs(goals, "OR-Set 10^2, merge identical, against crdts", 200.0, or_set::IDENTICAL, 100, "crdts");
    vs(goals, "OR-Set 10^2, merge d = 1, against crdts", 50.0, or_set::D1, 100, "crdts");
    vs(goals, "OR-Set 10^2, merge disjoint, against crdts", 4.0, or_set::DISJOINT, 100, "crdts");
}

fn set_operations(goals: &mut Goals<'_>) {
    let n = 10_000;
    goals.section(6);
    let works =
        [(or_set::ADD, 8.0), (or_set::CONTAINS, 20.0), (or_set::ITERATE, 100.0), (or_set::CLONE, 20.0)];
    for (work, bound) in works {
        let what = format!("OR-Set 10^4, {work}, against crdts");
        goals.at_least(&what, bound, set(work, n, "crdts"), set(work, n, OURS));
    }
    for (work, bound) in [(or_set::CONTAINS, 3.0), (or_set::ADD, 4.0)] {
        let what = format!("OR-Set 10^4, {work}, against a hashbrown set");
        goals.at_most(&what, bound, set(work, n, OURS), set(work, n, "hashbrown"));
    }
    let others = [
        ("add, one by one, against crdts if its caller counts the dots", or_set::EXTEND, or_set::ADD),
        ("iterate, against crdts on a copy of its members", or_set::COPY, or_set::ITERATE),
    ];
    for (what, theirs, ours) in others {
        goals.inform(&format!("OR-Set 10^4, {what}"), set(theirs, n, "crdts"), set(ours, n, OURS));
    }
}

fn set_memory(goals: &mut Goals<'_>) {
    let place = |work, n, side| Place { kind: memory::KIND, work, n, side };
    goals.section(7);
    let live = (memory::KIND, memory::LIVE);
    let what = "OR-Set of u64, live memory an element, the worst of 4 sizes from 10^4";
    goals.all_below(what, 32.0, Unit::Bytes, live, &memory::SIZES);
    for n in memory::TEXTS {
        let what = format!("OR-Set of {n} strings, live memory against a HashSet");
        goals.at_most(&what, 1.15, place(memory::STRINGS, n, OURS), place(memory::STRINGS, n, "std"));
    }

    goals.section(8);
    let wire = (memory::KIND, memory::WIRE);
    let what = "OR-Set, fresh and dense, wire beyond the payload, an element";
    goals.all_below(what, 0.1, Unit::Bytes, wire, &memory::SIZES);
    let gapped = [
        ("half of them removed", memory::GAPS, memory::GAPS_ENTROPY),
        ("1 of 10 kept", memory::RARE, memory::RARE_ENTROPY),
    ];
    for (what, work, entropy) in gapped {
        let what = format!("OR-Set, {what}, wire against the entropy of the gaps");
        let n = memory::GAPPED;
        goals.at_most(&what, 1.15, place(work, n, OURS), place(entropy, n, "hashbrown"));
    }
    for (work, bound) in [(or_set::ENCODE, 10.0), (or_set::DECODE, 4.0)] {
        let what = format!("OR-Set 10^4, {work}, against crdts");
        goals.at_least(&what, bound, set(work, 10_000, "crdts"), set(work, 10_000, OURS));
    }

    goals.section(9);
    let what = "OR-Set 10^6, delta of 50 adds and 50 removals";
    goals.below(what, 1_000.0, Unit::Bytes, set(or_set::DELTA_BYTES, LARGE, OURS));
    let (warm, cold) = (set(or_set::DELTA_WARM, LARGE, OURS), set(or_set::DELTA_COLD, LARGE, OURS));
    goals.below("the same, make + apply, caches warm", 50e3, Unit::Nanoseconds, warm);
    goals.below("the same, make + apply, caches cold", 150e3, Unit::Nanoseconds, cold);
}

fn rows_and_registers(goals: &mut Goals<'_>) {
    goals.section(10);
    let ratio = |goals: &mut Goals<'_>, kind: &'static str, names: Names, n, bound| {
        let theirs = Place { kind, work: names.by_value, n, side: "crdts" };
        let ours = Place { kind, work: names.by_reference, n, side: OURS };
        let what = format!("{kind}, n = {n}, {}, against crdts by value", names.by_reference);
        goals.at_least(&what, bound, theirs, ours);
    };
    let bounds = rows::SIZES.into_iter().zip([6.0, 15.0, 30.0, 60.0]);
    for kind in [version_vector::KIND, g_counter::KIND] {
        for (n, bound) in bounds.clone() {
            ratio(goals, kind, rows::HALF, n, bound);
        }
    }
    ratio(goals, pn_counter::KIND, rows::HALF, 4096, 60.0);
    let kind = lww_register::KIND;
    let place = |work, side| Place { kind, work, n: lww_register::N, side };
    let registers = [(lww_register::NEWER, 2.5), (lww_register::OLDER, 10.0)];
    for (names, bound) in registers {
        let what = format!("{kind}, {}, against crdts by value", names.by_reference);
        goals.at_least(&what, bound, place(names.by_value, "crdts"), place(names.by_reference, OURS));
    }
    let limit = place(lww_register::COPY, "std");
    let what =
        "a newer string cloned into the older, which by reference is the least, against crdts by value";
    goals.inform(what, place(lww_register::NEWER.by_value, "crdts"), limit);
    for (names, _) in registers {
        let work = names.by_reference;
        let what = format!("{kind}, {work}, against crdts with its clone");
        goals.inform(&what, place(work, "crdts"), place(work, OURS));
    }
    for (names, _) in registers {
        let work = names.by_value;
        let what = format!("{kind}, {work}, against crdts by value");
        goals.inform(&what, place(work, "crdts"), place(work, OURS));
    }
}

/// The tables in which no peer may be faster.
const CONTESTS: [&str; 9] = [
    version_vector::KIND,
    g_counter::KIND,
    pn_counter::KIND,
    lww_register::KIND,
    SET,
    or_set::STRINGS,
    or_set::SIXTEEN,
    or_set::MANY,
    or_set::INDEPENDENT,
];

fn no_peer_is_faster(goals: &mut Goals<'_>) {
    goals.section(11);
    for kind in CONTESTS {
        let rows = goals.results.timed(kind);
        let lost: Vec<String> = rows
            .iter()
            .filter_map(|row| {
                let (side, ratio) = goals.results.winner(*row)?;
                Some(format!("{}, n = {} ({side} {})", row.work, row.n, times(ratio)))
            })
            .collect();
        let measured = (!rows.is_empty()).then(|| match lost.len() {
            0 => (format!("0 of {}", rows.len()), true),
            count => (format!("{count} of {}: {}", rows.len(), lost.join("; ")), false),
        });
        let close = goals.results.contested(kind);
        goals.push(&format!("{kind}, rows in which a peer is faster"), Some("0".into()), measured, close);
    }
}

/// Goals 1 to 4 and 9 within twice, at the largest size that was measured; what grows with the set is scaled to it.
fn shared_kernel(goals: &mut Goals<'_>) {
    goals.section(12);
    let results = goals.results;
    let n =
        [LARGE, 100_000].into_iter().find(|n| results.get(kernel::KERNEL, kernel::D100, *n, OURS).is_some());
    let n = n.unwrap_or(LARGE);
    let scale = n as f64 / LARGE as f64;
    let ours = |work, n| Place { kind: kernel::KERNEL, work, n, side: OURS };
    let theirs = |names: Names, n| set(names.by_value, n, "crdts");
    let what = |work: &str| format!("sparse kernel of {n}, {work}, against crdts at 10^6");
    for (names, work, bound) in
        [(or_set::D100, kernel::D100, 2000.0), (or_set::IDENTICAL, kernel::IDENTICAL, 5000.0)]
    {
        goals.at_least(&what(work), bound, theirs(names, LARGE), ours(work, n));
    }
    for (d, names, work, bound) in
        [("100", or_set::D100, kernel::D100, 250.0), ("1", or_set::D1, kernel::D1, 500.0)]
    {
        let what = format!("sparse kernel of 10^4, merge d = {d}, against crdts");
        goals.at_least(&what, bound, theirs(names, 10_000), ours(work, 10_000));
    }
    for (names, work, bound) in
        [(or_set::PERCENT, kernel::PERCENT, 125.0), (or_set::DISJOINT, kernel::DISJOINT, 2.0)]
    {
        goals.at_least_scaled(&what(work), bound, scale, theirs(names, LARGE), ours(work, n));
    }
    let union = set(or_set::DISJOINT.by_reference, LARGE, "hashbrown");
    let what = "the same, against a union of hashbrown sets";
    goals.at_most_scaled(what, 8.0, scale, ours(kernel::DISJOINT, n), union);
    let slice = |what: &str| format!("sparse kernel of {n}, slice of 50 adds and 50 removals, {what}");
    goals.below(&slice("with vectors"), 2_000.0, Unit::Bytes, ours(kernel::SLICE_BYTES, n));
    goals.below(&slice("make + apply, warm"), 100e3, Unit::Nanoseconds, ours(kernel::DELTA_WARM, n));
    goals.below(&slice("make + apply, cold"), 300e3, Unit::Nanoseconds, ours(kernel::DELTA_COLD, n));

    goals.section(13);
    let pairs = [10_000_000, 1_000_000]
        .into_iter()
        .find(|pairs| results.get(kernel::CHURN, kernel::CHURNED, *pairs, OURS).is_some())
        .unwrap_or(10_000_000);
    let place = |work, n| Place { kind: kernel::CHURN, work, n, side: OURS };
    let what = format!("OR-Set of 10^4 after {pairs} add/remove pairs, live memory against a fresh one");
    goals.at_most(&what, 1.5, place(kernel::CHURNED, pairs), place(kernel::FRESH, kernel::LIVE));
}

/// A merge that brings nothing asks for no memory, whatever the type and its size.
fn allocations(goals: &mut Goals<'_>) {
    goals.section(14);
    let works: [(&str, &str, &[u64]); 11] = [
        (version_vector::KIND, rows::EQUAL.calls, &rows::SIZES),
        (g_counter::KIND, rows::EQUAL.calls, &rows::SIZES),
        (pn_counter::KIND, rows::EQUAL.calls, &rows::SIZES),
        (lww_register::KIND, lww_register::EQUAL.calls, &[lww_register::N]),
        (lww_register::KIND, lww_register::OLDER.calls, &[lww_register::N]),
        (SET, or_set::IDENTICAL.calls, &or_set::SMALL),
        (or_set::STRINGS, or_set::IDENTICAL.calls, &[10_000]),
        (or_set::SIXTEEN, or_set::IDENTICAL.calls, &[10_000]),
        (or_set::MANY, or_set::IDENTICAL.calls, &or_set::SMALL),
        (or_set::INDEPENDENT, or_set::IDENTICAL.calls, &[10_000]),
        (kernel::KERNEL, kernel::IDENTICAL_CALLS, &[10_000]),
    ];
    for (kind, work, sizes) in works {
        goals.all_below(&format!("{kind}, {work}"), 0.0, Unit::Calls, (kind, work), sizes);
    }
}

/// The times that noise may have decided about.
pub(crate) fn close(goals: &[Goal], results: &Results) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for place in goals.iter().flat_map(|goal| &goal.close) {
        if results.is_time(*place) && !places.contains(place) {
            places.push(*place);
        }
    }
    places
}

pub(crate) fn markdown(goals: &[Goal]) -> String {
    let mut text = String::from("## goals\n\n| | goal | required | measured | |\n|---|---|--:|--:|---|\n");
    for Goal { number, what, required, measured, .. } in goals {
        let (value, verdict) = match measured {
            None => ("-", "not measured"),
            Some((value, _)) if required.is_none() => (value.as_str(), "for information"),
            Some((value, true)) => (value.as_str(), "holds"),
            Some((value, false)) => (value.as_str(), "**falls short**"),
        };
        let required = required.as_deref().unwrap_or("-");
        _ = writeln!(text, "| {number} | {what} | {required} | {value} | {verdict} |");
    }
    text
}

pub(crate) fn json(goals: &[Goal]) -> Value {
    let goals = goals.iter().map(|Goal { number, what, required, measured, .. }| {
        json!({
            "number": number,
            "goal": what,
            "required": required,
            "measured": measured.as_ref().map(|measured| &measured.0),
            "holds": required.as_ref().and(measured.as_ref()).map(|measured| measured.1),
        })
    });
    Value::Array(goals.collect())
}
