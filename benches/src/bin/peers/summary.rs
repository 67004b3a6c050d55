//! One line for each of the main workloads: ours against the best that each peer can do.

use crate::{
    contest::Names,
    g_counter, lww_register,
    or_set::{self, KIND as SET, LARGE},
    pn_counter, rows,
    table::{OURS, Results, SIDES, Unit, is_peer, show},
    version_vector,
};
use std::fmt::Write;

/// What is done, and the rows that measure it.
struct Line {
    what: &'static str,
    unit: Unit,
    kind: &'static str,
    /// For merges, ours by reference and that of peers either way.
    works: [&'static str; 2],
    n: u64,
}

fn merge(what: &'static str, kind: &'static str, names: Names, n: u64) -> Line {
    Line { what, unit: Unit::Nanoseconds, kind, works: [names.by_reference, names.by_value], n }
}

fn set(what: &'static str, unit: Unit, work: &'static str, n: u64) -> Line {
    Line { what, unit, kind: SET, works: [work; 2], n }
}

fn lines() -> Vec<Line> {
    let few = 10_000;
    let mut lines = vec![
        merge("version vector, merge, half newer", version_vector::KIND, rows::HALF, 16),
        merge("version vector, merge, half newer", version_vector::KIND, rows::HALF, 4096),
        merge("G-Counter, merge, half newer", g_counter::KIND, rows::HALF, 16),
        merge("PN-Counter, merge, half newer", pn_counter::KIND, rows::HALF, 16),
        merge(
            "LWW-Register of 24 bytes, merge, newer",
            lww_register::KIND,
            lww_register::NEWER,
            lww_register::N,
        ),
        merge(
            "LWW-Register of 24 bytes, merge, older",
            lww_register::KIND,
            lww_register::OLDER,
            lww_register::N,
        ),
    ];
    for (what, names) in [
        ("OR-Set, merge, identical", or_set::IDENTICAL),
        ("OR-Set, merge, d = 1", or_set::D1),
        ("OR-Set, merge, d = 100", or_set::D100),
        ("OR-Set, merge, d = 1%", or_set::PERCENT),
        ("OR-Set, merge, disjoint", or_set::DISJOINT),
    ] {
        lines.extend([few, LARGE].map(|n| merge(what, SET, names, n)));
    }
    for (what, work) in [
        ("OR-Set, add", or_set::ADD),
        ("OR-Set, contains", or_set::CONTAINS),
        ("OR-Set, iterate, an element", or_set::ITERATE),
        ("OR-Set, clone", or_set::CLONE),
        ("OR-Set, encode", or_set::ENCODE),
        ("OR-Set, decode", or_set::DECODE),
        ("OR-Set, delta d = 100, make + apply", or_set::DELTA_WARM),
    ] {
        lines.push(set(what, Unit::Nanoseconds, work, few));
    }
    lines.push(set("OR-Set, live memory, an element", Unit::Bytes, or_set::MEMORY, LARGE));
    lines.push(set("OR-Set, encoded, an element", Unit::Bytes, or_set::BYTES, few));
    lines
}

/// What a side needs: ours by reference, a peer in whichever way is faster for it.
fn value(line: &Line, side: &str, results: &Results) -> Option<f64> {
    let ways = if side == OURS { &line.works[..1] } else { &line.works[..] };
    ways.iter().filter_map(|work| results.get(line.kind, work, line.n, side)).reduce(f64::min)
}

pub(crate) fn markdown(results: &Results) -> String {
    let sides: Vec<&str> = SIDES.into_iter().filter(|side| *side == OURS || is_peer(side)).collect();
    let mut text = format!("| | n | {} | against the best |\n", sides.join(" | "));
    _ = writeln!(text, "|---|--:|{}--:|", "--:|".repeat(sides.len()));
    for line in lines() {
        let Some(ours) = value(&line, OURS, results) else { continue };
        _ = write!(text, "| {} | {} |", line.what, line.n);
        for side in &sides {
            let cell = value(&line, side, results);
            _ = write!(text, " {} |", cell.map_or_else(|| "-".into(), |value| show(line.unit, value)));
        }
        let peers = sides.iter().filter(|side| **side != OURS);
        let best = peers.filter_map(|side| value(&line, side, results)).reduce(f64::min);
        _ = writeln!(text, " {} |", best.map_or_else(|| "-".into(), |best| crate::goals::times(best / ours)));
    }
    text
}
