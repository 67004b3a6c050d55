use crate::law::Law;
use std::{error::Error, fmt};

/// What a suite checked without finding anything: how often it looked at each law.
///
/// A law with no checks did not apply: the ability was not asked for, or no history led to it. Look also at how many
/// updates were accepted: what is refused leads to no new state that could be checked.
#[derive(Clone, Debug, Default)]
pub struct Report {
    counts: [u64; Law::ALL.len()],
    cases: u64,
    updates: Updates,
}

/// What became of the updates of some histories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Updates {
    pub(crate) accepted: u64,
    /// Of those accepted, how many changed their state.
    pub(crate) changed: u64,
    pub(crate) refused: u64,
    /// What the first one refused was refused with.
    pub(crate) refusal: Option<String>,
}

impl Report {
    pub(crate) fn add(&mut self, counts: &[u64; Law::ALL.len()], updates: Updates) {
        self.cases += 1;
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += count;
        }
        self.updates.accepted += updates.accepted;
        self.updates.changed += updates.changed;
        self.updates.refused += updates.refused;
        self.updates.refusal = self.updates.refusal.take().or(updates.refusal);
    }

    /// Looks at the updates of the whole run, for [`Law::Effect`]; what is wrong with them, if anything.
    pub(crate) fn effect(&mut self) -> Option<Vec<(String, String)>> {
        let Updates { accepted, changed, refused, refusal } = &self.updates;
        let drawn = accepted + refused;
        self.counts[Law::Effect as usize] += drawn;
        let mut found = if accepted.saturating_mul(100) < drawn {
            let few = "too few updates were accepted: the other laws were checked on next to nothing";
            vec![(few, format!("{accepted} accepted, {refused} refused"))]
        } else if *accepted > 0 && *changed == 0 {
            vec![("no update that was accepted has changed its state", format!("{accepted} accepted"))]
        } else {
            return None;
        };
        found.extend(refusal.as_ref().map(|error| ("the first refusal said", format!("{error:?}"))));
        Some(found.into_iter().map(|(what, value)| (what.to_owned(), value)).collect())
    }

    /// How often `law` was checked.
    pub fn checks(&self, law: Law) -> u64 {
        self.counts[law as usize]
    }

    /// How many histories were played.
    pub fn cases(&self) -> u64 {
        self.cases
    }

    /// How many updates were accepted, in all histories together.
    pub fn accepted(&self) -> u64 {
        self.updates.accepted
    }

    /// How many updates were refused.
    pub fn refused(&self) -> u64 {
        self.updates.refused
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Updates { accepted, refused, .. } = self.updates;
        writeln!(f, "{} histories; {accepted} updates accepted, {refused} refused", self.cases)?;
        for law in Law::ALL {
            writeln!(f, "{:>10}  {law}: {}", self.checks(law), law.statement())?;
        }
        Ok(())
    }
}

/// A broken law, with the smallest history that the kit could find to show it.
///
/// Its `Display` is the counterexample: one line a step, the state after it, and the two values that should be equal.
#[derive(Clone, Debug)]
pub struct Violation {
    pub(crate) law: Law,
    pub(crate) subject: &'static str,
    pub(crate) case: u64,
    pub(crate) seed: u64,
    /// Steps before and after shrinking; none if it is about all histories together.
    pub(crate) steps: Option<(usize, usize)>,
    pub(crate) history: Vec<String>,
    pub(crate) given: Vec<(String, String)>,
    pub(crate) found: Vec<(String, String)>,
    /// As what it was found, before it was laid to trimming or to bytes, and why it was.
    pub(crate) laid: Option<(Law, &'static str)>,
    pub(crate) also: Vec<Law>,
}

impl Violation {
    /// The law that is broken.
    pub fn law(&self) -> Law {
        self.law
    }

    /// Other laws that the same and the next histories break, by rank; often consequences.
    pub fn also(&self) -> &[Law] {
        &self.also
    }

    /// The number of the first history that broke a law, from 0.
    pub fn case(&self) -> u64 {
        self.case
    }

    /// How many steps the shrunk history has; 0 if the law is broken by all histories together.
    pub fn steps(&self) -> usize {
        self.steps.map_or(0, |(_, shrunk)| shrunk)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { subject, law, case, seed, .. } = self;
        writeln!(f, "law broken: {law}: {}", law.statement())?;
        writeln!(f, "  by {subject}, case {case} of seed {seed}\n")?;
        match self.steps {
            None => writeln!(f, "  in all histories together")?,
            Some((steps, 0)) => writeln!(f, "  history, shrunk from {steps} steps to none")?,
            Some((steps, shrunk)) => writeln!(f, "  history, shrunk from {steps} steps to {shrunk}:")?,
        }
        for line in &self.history {
            writeln!(f, "  {line}")?;
        }
        if !self.given.is_empty() {
            writeln!(f, "\n  given")?;
        }
        let mut told: Vec<&(String, String)> = Vec::new();
        for given in &self.given {
            if !told.contains(&given) {
                writeln!(f, "      {} = {}", given.0, given.1)?;
                told.push(given);
            }
        }
        writeln!(f, "\n  {}", law.relation())?;
        for (what, value) in &self.found {
            writeln!(f, "      {what}\n          {value}")?;
        }
        if let Some((law, why)) = self.laid {
            writeln!(f, "\n  found as {law}, {why}")?;
        }
        if !self.also.is_empty() {
            writeln!(f, "\n  also broken")?;
        }
        for law in &self.also {
            writeln!(f, "      {law}: {}", law.statement())?;
        }
        Ok(())
    }
}

impl Error for Violation {}
