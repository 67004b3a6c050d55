use crate::law::Law;
use std::{error::Error, fmt};

/// What a suite checked without finding anything: how often it looked at each law.
///
/// A law with no checks did not apply: the ability was not asked for, or no history led to it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    counts: [u64; Law::ALL.len()],
    cases: u64,
}

impl Report {
    pub(crate) fn add(&mut self, counts: &[u64; Law::ALL.len()]) {
        self.cases += 1;
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += count;
        }
    }

    /// How often `law` was checked.
    pub fn checks(&self, law: Law) -> u64 {
        self.counts[law as usize]
    }

    /// How many histories were played.
    pub fn cases(&self) -> u64 {
        self.cases
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} histories", self.cases)?;
        for law in Law::ALL {
            writeln!(f, "{:>10}  {law}", self.checks(law))?;
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
    /// Steps before and after shrinking.
    pub(crate) steps: (usize, usize),
    pub(crate) history: Vec<String>,
    pub(crate) given: Vec<(String, String)>,
    pub(crate) found: Vec<(String, String)>,
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

    /// How many steps the shrunk history has.
    pub fn steps(&self) -> usize {
        self.steps.1
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { subject, law, case, seed, steps, .. } = self;
        writeln!(f, "law broken: {law}\n  by {subject}, case {case} of seed {seed}\n")?;
        if self.history.is_empty() {
            writeln!(f, "  in all histories together")?;
        } else {
            writeln!(f, "  history, shrunk from {} steps to {}:", steps.0, steps.1)?;
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
        writeln!(f, "\n  these should be equal")?;
        for (what, value) in &self.found {
            writeln!(f, "      {what}\n          {value}")?;
        }
        if !self.also.is_empty() {
            let names: Vec<_> = self.also.iter().map(|law| law.name()).collect();
            writeln!(f, "\n  also broken: {}", names.join(", "))?;
        }
        Ok(())
    }
}

impl Error for Violation {}
