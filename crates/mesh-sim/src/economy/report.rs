//! The report as a text.

use super::{
    goals::Goal,
    run::float,
    suite::{Comparison, Report},
};
use std::fmt::{self, Write};

/// The report in Markdown: a table of all runs, one of the large states, and the goals.
///
/// # Panics
///
/// Never: a string takes everything.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    write(&mut text, report).expect("a string takes everything");
    text
}

fn write(text: &mut String, report: &Report) -> fmt::Result {
    let length = if report.quick { "quick" } else { "full" };
    writeln!(
        text,
        "Seed {}, {length}. Bytes are those of encoded frames; payload is encoded elements and",
        report.seed
    )?;
    writeln!(
        text,
        "values, with retransmissions; the optimum is each visible change once to each other node. CPU is of the whole run,"
    )?;
    writeln!(
        text,
        "all nodes and the simulation together, without what the engine spends on rows for its store, which are beside it."
    )?;
    writeln!(text, "MB are those that all nodes hold in the end.\n")?;
    text.push_str(
        "| workload | optimum | protocol | payload | of optimum | metadata | bytes of BP+RR | p50 ms | ",
    );
    text.push_str(
        "p99 ms | missing | CPU ms | for the store | MB held |\n|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    report.comparisons.iter().try_for_each(|comparison| write_comparison(text, comparison))?;
    let large = &report.large;
    text.push_str("\n| two leaders | to find out, bytes | round trips | payload | around it | CPU ms |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|\n");
    let rows = [
        (format!("join, {} keys", large.size), large.join),
        (format!("heal, {} keys", large.size / 100), large.heal_small),
        (format!("heal, {} keys", large.size), large.heal),
        (format!("causal metadata lost, {} keys", large.size), large.restored),
        (format!("join, set of {}", large.elements), large.fresh),
        (format!("join, the same after {} removals", large.removed), large.churned),
    ];
    for (name, row) in rows {
        let (finding, trips, payload) = (row.finding_out, row.round_trips, row.payload);
        writeln!(text, "| {name} | {finding} | {trips} | {payload} | {} | {:.2} |", row.around, row.cpu_ms)?;
    }
    text.push_str("\n| idle | bytes a second | CPU µs a second |\n|---|--:|--:|\n");
    for (keys, (bytes, cpu)) in [(large.size / 100, large.idle_small), (large.size, large.idle)] {
        writeln!(text, "| {keys} keys | {bytes:.1} | {cpu:.1} |")?;
    }
    text.push_str("\n| goal | what | required | measured | |\n|---|---|--:|--:|---|\n");
    report.goals.iter().try_for_each(|goal| write_goal(text, goal))
}

fn write_comparison(text: &mut String, comparison: &Comparison) -> fmt::Result {
    let base = comparison.of(super::suite::BP_RR);
    for outcome in &comparison.outcomes {
        let to_optimum = float(outcome.payload) / float(comparison.optimum);
        let to_base = base
            .map_or_else(String::new, |base| format!("{:.3}", float(outcome.bytes()) / float(base.bytes())));
        let memory = outcome.memory.map_or_else(String::new, |bytes| format!("{:.1}", float(bytes) / 1e6));
        // Published protocols keep nothing.
        let kept = outcome.durability_ms;
        let kept = if kept > 0.0 { format!("{kept:.0}") } else { String::new() };
        let (workload, optimum) = (&comparison.workload, comparison.optimum);
        write!(text, "| {workload} | {optimum} | {} | {} ", outcome.protocol, outcome.payload)?;
        write!(text, "| {to_optimum:.3} | {} | {to_base} ", outcome.metadata)?;
        write!(text, "| {:.1} | {:.1} | {} ", outcome.p50_ms, outcome.p99_ms, outcome.undelivered)?;
        writeln!(text, "| {:.0} | {kept} | {memory} |", outcome.protocol_ms())?;
    }
    Ok(())
}

fn write_goal(text: &mut String, goal: &Goal) -> fmt::Result {
    let Goal { id, what, unit, required, .. } = goal;
    let verdict = if goal.holds { "holds" } else { "falls short" };
    let measured = goal.measured.map_or_else(|| "nothing".into(), |measured| format!("{measured:.3}"));
    writeln!(text, "| {id} | {what} | at most {required} {unit} | {measured} | {verdict} |")
}
