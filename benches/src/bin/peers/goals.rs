//! What must be reached, each part by itself.

use crate::{
    g_counter, lww_register,
    or_set::{self, KIND as SET, LARGE, kernel, memory},
    pn_counter, rows,
    table::{OURS, Results, Unit, show},
    version_vector,
};
use serde_json::{Value, json};
use std::fmt::Write;

pub(crate) struct Goal {
    number: String,
    what: String,
    required: String,
    /// What was measured, and whether it is enough; `None` if it was left out.
    measured: Option<(String, bool)>,
}

impl Goal {
    /// False only if it was measured and is not enough, or should have been measured.
    pub(crate) fn passes(&self, all_measured: bool) -> bool {
        self.measured.as_ref().map_or(!all_measured, |measured| measured.1)
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

    fn push(&mut self, what: &str, required: String, measured: Option<(String, bool)>) {
        let part = char::from(b'a' + self.part);
        self.part += 1;
        self.list.push(Goal {
            number: format!("{}{part}", self.number),
            what: what.into(),
            required,
            measured,
        });
    }

    /// `theirs / ours` is at least `bound`.
    fn at_least(&mut self, what: &str, bound: f64, theirs: Option<f64>, ours: Option<f64>) {
        let ratio = theirs.zip(ours).map(|(theirs, ours)| theirs / ours);
        let measured = ratio.map(|ratio| (times(ratio), ratio >= bound));
        self.push(what, format!("at least {}", times(bound)), measured);
    }

    /// `ours / theirs` is at most `bound`.
    fn at_most(&mut self, what: &str, bound: f64, ours: Option<f64>, theirs: Option<f64>) {
        let ratio = theirs.zip(ours).map(|(theirs, ours)| ours / theirs);
        let measured = ratio.map(|ratio| (times(ratio), ratio <= bound));
        self.push(what, format!("at most {}", times(bound)), measured);
    }

    fn below(&mut self, what: &str, bound: f64, unit: Unit, ours: Option<f64>) {
        let measured = ours.map(|ours| (show(unit, ours), ours <= bound));
        self.push(what, format!("at most {}", show(unit, bound)), measured);
    }

    fn set(&self, work: &str, n: u64, side: &str) -> Option<f64> {
        self.results.get(SET, work, n, side)
    }

    /// The greatest of a row over sizes.
    fn worst(&self, kind: &str, work: &str, sizes: &[u64]) -> Option<f64> {
        let all = sizes.iter().map(|n| self.results.get(kind, work, *n, OURS));
        all.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
    }
}

fn times(ratio: f64) -> String {
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
    let vs = |goals: &mut Goals<'_>, what: &str, bound, names: crate::contest::Names, n, side: &str| {
        let (theirs, ours) = (goals.set(names.by_value, n, side), goals.set(names.by_reference, n, OURS));
        goals.at_least(what, bound, theirs, ours);
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
    let union = goals.set(or_set::DISJOINT.by_reference, LARGE, "hashbrown");
    let ours = goals.set(or_set::DISJOINT.by_reference, LARGE, OURS);
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
        let (theirs, ours) = (goals.set(work, n, "crdts"), goals.set(work, n, OURS));
        goals.at_least(&format!("OR-Set 10^4, {work}, against crdts"), bound, theirs, ours);
    }
    for (work, bound) in [(or_set::CONTAINS, 3.0), (or_set::ADD, 4.0)] {
        let (theirs, ours) = (goals.set(work, n, "hashbrown"), goals.set(work, n, OURS));
        goals.at_most(&format!("OR-Set 10^4, {work}, against a hashbrown set"), bound, ours, theirs);
    }
}

fn set_memory(goals: &mut Goals<'_>) {
    goals.section(7);
    let live = goals.worst(memory::KIND, memory::LIVE, &memory::SIZES);
    goals.below(
        "OR-Set of u64, live memory an element, the worst of 4 sizes from 10^4",
        32.0,
        Unit::Bytes,
        live,
    );
    for n in memory::TEXTS {
        let get = |side| goals.results.get(memory::KIND, memory::STRINGS, n, side);
        let (ours, plain) = (get(OURS), get("std"));
        goals.at_most(&format!("OR-Set of {n} strings, live memory against a HashSet"), 1.15, ours, plain);
    }

    goals.section(8);
    let wire = goals.worst(memory::KIND, memory::WIRE, &memory::SIZES);
    goals.below("OR-Set, fresh and dense, wire beyond the payload, an element", 0.1, Unit::Bytes, wire);
    let gapped = [
        ("half of them removed", memory::GAPS, memory::GAPS_ENTROPY),
        ("1 of 10 kept", memory::RARE, memory::RARE_ENTROPY),
    ];
    for (what, work, entropy) in gapped {
        let get = |work, side| goals.results.get(memory::KIND, work, 100_000, side);
        let (ours, least) = (get(work, OURS), get(entropy, "hashbrown"));
        goals.at_most(&format!("OR-Set, {what}, wire against the entropy of the gaps"), 1.15, ours, least);
    }
    for (work, bound) in [(or_set::ENCODE, 10.0), (or_set::DECODE, 4.0)] {
        let (theirs, ours) = (goals.set(work, 10_000, "crdts"), goals.set(work, 10_000, OURS));
        goals.at_least(&format!("OR-Set 10^4, {work}, against crdts"), bound, theirs, ours);
    }

    goals.section(9);
    let (bytes, warm, cold) = (
        goals.set(or_set::DELTA_BYTES, LARGE, OURS),
        goals.set(or_set::DELTA_WARM, LARGE, OURS),
        goals.set(or_set::DELTA_COLD, LARGE, OURS),
    );
    goals.below("OR-Set 10^6, delta of 50 adds and 50 removals", 1_000.0, Unit::Bytes, bytes);
    goals.below("the same, make + apply, caches warm", 50e3, Unit::Nanoseconds, warm);
    goals.below("the same, make + apply, caches cold", 150e3, Unit::Nanoseconds, cold);
}

fn rows_and_registers(goals: &mut Goals<'_>) {
    goals.section(10);
    let results = goals.results;
    let ratio = |goals: &mut Goals<'_>, kind: &str, names: crate::contest::Names, n, bound| {
        let theirs = results.get(kind, names.by_value, n, "crdts");
        let ours = results.get(kind, names.by_reference, n, OURS);
        let what = format!("{kind}, n = {n}, {}, against crdts", names.by_reference);
        goals.at_least(&what, bound, theirs, ours);
    };
    let bounds = rows::SIZES.into_iter().zip([6.0, 15.0, 30.0, 60.0]);
    for kind in [version_vector::KIND, g_counter::KIND] {
        for (n, bound) in bounds.clone() {
            ratio(goals, kind, rows::HALF, n, bound);
        }
    }
    ratio(goals, pn_counter::KIND, rows::HALF, 4096, 60.0);
    ratio(goals, lww_register::KIND, lww_register::NEWER, lww_register::N, 2.5);
    ratio(goals, lww_register::KIND, lww_register::OLDER, lww_register::N, 10.0);
}

fn no_peer_is_faster(goals: &mut Goals<'_>) {
    goals.section(11);
    let kinds = [version_vector::KIND, g_counter::KIND, pn_counter::KIND, lww_register::KIND, SET];
    for kind in kinds {
        let timed: Vec<_> =
            goals.results.rows(kind).into_iter().filter(|row| row.unit == Unit::Nanoseconds).collect();
        let lost: Vec<String> = timed
            .iter()
            .filter_map(|row| {
                let (side, ratio) = *goals.results.winners(*row).first()?;
                Some(format!("{}, n = {} ({side} {})", row.work, row.n, times(ratio)))
            })
            .collect();
        let measured = (!timed.is_empty()).then(|| match lost.len() {
            0 => (format!("0 of {}", timed.len()), true),
            count => (format!("{count} of {}: {}", timed.len(), lost.join("; ")), false),
        });
        goals.push(&format!("{kind}, rows in which a peer is faster"), "0".into(), measured);
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
    let ours = |work: &str, n: u64| results.get(kernel::KERNEL, work, n, OURS);
    let theirs = |names: crate::contest::Names, n| results.get(SET, names.by_value, n, "crdts");
    let what = |work: &str| format!("sparse kernel of {n}, {work}, against crdts at 10^6");
    goals.at_least(&what(kernel::D100), 2000.0, theirs(or_set::D100, LARGE), ours(kernel::D100, n));
    goals.at_least(
        &what(kernel::IDENTICAL),
        5000.0,
        theirs(or_set::IDENTICAL, LARGE),
        ours(kernel::IDENTICAL, n),
    );
    let small = "sparse kernel of 10^4, merge d = ";
    for (d, names, work, bound) in
        [("100", or_set::D100, kernel::D100, 250.0), ("1", or_set::D1, kernel::D1, 500.0)]
    {
        let what = format!("{small}{d}, against crdts");
        goals.at_least(&what, bound, theirs(names, 10_000), ours(work, 10_000));
    }
    let scaled = |value: Option<f64>| value.map(|value| value * scale);
    goals.at_least(
        &what(kernel::PERCENT),
        125.0,
        scaled(theirs(or_set::PERCENT, LARGE)),
        ours(kernel::PERCENT, n),
    );
    goals.at_least(
        &what(kernel::DISJOINT),
        2.0,
        scaled(theirs(or_set::DISJOINT, LARGE)),
        ours(kernel::DISJOINT, n),
    );
    let union = scaled(results.get(SET, or_set::DISJOINT.by_reference, LARGE, "hashbrown"));
    goals.at_most("the same, against a union of hashbrown sets", 8.0, ours(kernel::DISJOINT, n), union);
    let slice = |what: &str| format!("sparse kernel of {n}, slice of 50 adds and 50 removals, {what}");
    goals.below(&slice("with vectors"), 2_000.0, Unit::Bytes, ours(kernel::SLICE_BYTES, n));
    goals.below(&slice("make + apply, warm"), 100e3, Unit::Nanoseconds, ours(kernel::DELTA_WARM, n));
    goals.below(&slice("make + apply, cold"), 300e3, Unit::Nanoseconds, ours(kernel::DELTA_COLD, n));

    goals.section(13);
    let pairs = [10_000_000, 1_000_000]
        .into_iter()
        .find_map(|pairs| Some((pairs, results.get(kernel::CHURN, kernel::CHURNED, pairs, OURS)?)));
    let fresh = results.get(kernel::CHURN, kernel::FRESH, kernel::LIVE, OURS);
    let what = format!(
        "OR-Set of 10^4 after {} add/remove pairs, live memory against a fresh one",
        pairs.map_or(10_000_000, |pairs| pairs.0)
    );
    goals.at_most(&what, 1.5, pairs.map(|pairs| pairs.1), fresh);
}

fn allocations(goals: &mut Goals<'_>) {
    goals.section(14);
    let works: [(&str, &str, &[u64]); 6] = [
        (version_vector::KIND, rows::EQUAL.calls, &rows::SIZES),
        (g_counter::KIND, rows::EQUAL.calls, &rows::SIZES),
        (pn_counter::KIND, rows::EQUAL.calls, &rows::SIZES),
        (lww_register::KIND, lww_register::EQUAL.calls, &[lww_register::N]),
        (lww_register::KIND, lww_register::OLDER.calls, &[lww_register::N]),
        (SET, or_set::IDENTICAL.calls, &or_set::SMALL),
    ];
    for (kind, work, sizes) in works {
        let calls = goals.worst(kind, work, sizes);
        goals.below(&format!("{kind}, {work}"), 0.0, Unit::Calls, calls);
    }
}

pub(crate) fn markdown(goals: &[Goal]) -> String {
    let mut text = String::from("## goals\n\n| | goal | required | measured | |\n|---|---|--:|--:|---|\n");
    for Goal { number, what, required, measured } in goals {
        let (value, verdict) = match measured {
            None => ("-", "not measured"),
            Some((value, true)) => (value.as_str(), "holds"),
            Some((value, false)) => (value.as_str(), "**falls short**"),
        };
        _ = writeln!(text, "| {number} | {what} | {required} | {value} | {verdict} |");
    }
    text
}

pub(crate) fn json(goals: &[Goal]) -> Value {
    let goals = goals.iter().map(|Goal { number, what, required, measured }| {
        json!({
            "number": number,
            "goal": what,
            "required": required,
            "measured": measured.as_ref().map(|measured| &measured.0),
            "holds": measured.as_ref().map(|measured| measured.1),
        })
    });
    Value::Array(goals.collect())
}
