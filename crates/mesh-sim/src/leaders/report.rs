use super::{Calm, Capacity, Mode, Outage};
use crate::economy::goals::Goal;
use serde::Serialize;
use std::fmt;

/// All that was found out. Its `Display` has a table for each question.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// With which seed.
    pub seed: u64,
    /// Whether in the shorter form.
    pub quick: bool,
    /// The regions; the single leader is in the first.
    pub regions: Vec<String>,
    /// The round trips between them.
    pub round_trips_ms: Vec<Vec<u64>>,
    /// Writes while all is well.
    pub calm: Vec<Calm>,
    /// What is left while one region is cut off.
    pub outages: Vec<Outage>,
    /// How many writes so many leaders can take.
    pub capacities: Vec<Capacity>,
    /// What is to hold.
    pub goals: Vec<Goal>,
}

impl Report {
    /// Whether all goals hold.
    pub fn holds(&self) -> bool {
        self.goals.iter().all(|goal| goal.holds)
    }

    fn write_calm(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "How long does a write take?            a reply after        visible elsewhere after")?;
        writeln!(
            f,
            "{:<12}{:<18}{:>12}{:>12}{:>12}{:>12}",
            "clients in", "", "p50 ms", "p99 ms", "p50 ms", "p99 ms"
        )?;
        for region in &self.regions {
            for Calm { mode, write, visible, .. } in self.calm.iter().filter(|calm| calm.region == *region) {
                let (p50, p99, to_p50, to_p99) = (write.p50_ms, write.p99_ms, visible.p50_ms, visible.p99_ms);
                writeln!(f, "{region:<12}{mode:<18}{p50:>12.1}{p99:>12.1}{to_p50:>12.1}{to_p99:>12.1}")?;
            }
        }
        Ok(())
    }

    fn write_outages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.outages.first().map_or(0.0, |outage| outage.seconds);
        writeln!(
            f,
            "\nA region is cut off for {seconds} s       writes answered       reads stale by up to"
        )?;
        let head = ["inside", "outside", "inside s", "outside s", "caught up s"];
        writeln!(
            f,
            "{:<12}{:<18}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "cut off", "", head[0], head[1], head[2], head[3], head[4]
        )?;
        for region in &self.regions {
            for outage in self.outages.iter().filter(|outage| outage.region == *region) {
                let Outage { mode, inside, outside, caught_up_ms, .. } = outage;
                #[expect(clippy::cast_precision_loss, reason = "a percentage")]
                let percent = |answered: u64, asked: u64| {
                    format!("{:.1}%", 100.0 * answered as f64 / asked.max(1) as f64)
                };
                let (in_share, out_share) =
                    (percent(inside.answered, inside.asked), percent(outside.answered, outside.asked));
                let caught_up =
                    caught_up_ms.map_or_else(|| "never".to_owned(), |ms| format!("{:.1}", ms / 1e3));
                let (stale_in, stale_out) = (inside.stale_ms / 1e3, outside.stale_ms / 1e3);
                write!(f, "{region:<12}{mode:<18}{in_share:>12}{out_share:>12}")?;
                writeln!(f, "{stale_in:>12.1}{stale_out:>12.1}{caught_up:>12}")?;
            }
        }
        Ok(())
    }

    fn write_capacities(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nHow many writes can they take?   CPU time of a leader, in microseconds, for")?;
        let head = ["an own write", "one of others", "saying it", "writes/s", "of one"];
        writeln!(
            f,
            "{:<26}{:>14}{:>14}{:>12}{:>12}{:>10}",
            "leaders", head[0], head[1], head[2], head[3], head[4]
        )?;
        let one = self.capacities.first().map_or(1.0, |row| row.per_second);
        for row in &self.capacities {
            let name = match row.followers {
                0 => row.leaders.to_string(),
                followers => format!("{} and {followers} followers", row.leaders),
            };
            let Capacity { local_us, apply_us, send_us, per_second, .. } = row;
            let of_one = per_second / one;
            writeln!(
                f,
                "{name:<26}{local_us:>14.2}{apply_us:>14.2}{send_us:>12.2}{per_second:>12.0}{of_one:>9.2}x"
            )?;
        }
        let most = self.capacities.iter().max_by_key(|row| row.leaders).filter(|row| row.apply_us > 0.0);
        let best = self.capacities.iter().max_by(|one, other| one.per_second.total_cmp(&other.per_second));
        if let (Some(most), Some(best)) = (most, best) {
            let limit = 1e6 / most.apply_us;
            let share = 100.0 * most.per_second / limit;
            writeln!(
                f,
                "Every leader applies every write: at {:.2} microseconds each, no number of leaders takes more than {limit:.0} \
                 a second,\nand {} take {share:.0}% of that. Of the rows above, that of {} takes the most.",
                most.apply_us, most.leaders, best.leaders
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = if self.quick { "quick" } else { "full" };
        writeln!(
            f,
            "{} in {}, or {} of {} regions; seed {}, {length}\n",
            Mode::Single,
            self.regions[0],
            Mode::Each,
            self.regions.len(),
            self.seed
        )?;
        self.write_calm(f)?;
        self.write_outages(f)?;
        self.write_capacities(f)?;
        writeln!(f)?;
        for Goal { what, unit, required, measured, holds, .. } in &self.goals {
            let verdict = if *holds { "holds" } else { "falls short" };
            let measured = measured.map_or_else(|| "nothing".to_owned(), |measured| format!("{measured:.3}"));
            writeln!(f, "{verdict:<12}{what}: {measured} (at most {required}) {unit}")?;
        }
        Ok(())
    }
}
