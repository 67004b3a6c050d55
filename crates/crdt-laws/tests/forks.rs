//! `Forks`: replicas of one history as input to other people's properties.

use crdt_core::{Merge, Replica, Rows};
use crdt_laws::{Forks, Outcome, Subject};
use quickcheck::{Arbitrary, Gen, QuickCheck};

struct Updates;

impl Subject for Updates {
    type State = Rows;
    type Op = ();

    fn update(replica: &mut Replica<Rows>, (): &(), _now: u64) -> Outcome {
        replica.update(|rows, tick| {
            let dot = tick.follows(rows)?.take()?;
            rows.raise(dot.replica, dot.counter);
            Ok(())
        })
    }
}

fn generated(cases: u64) -> impl Iterator<Item = Forks<Updates, 3>> {
    (0..cases).map(|seed| Forks::arbitrary(&mut Gen::from_size_and_seed(30, seed)))
}

#[test]
fn replicas_are_those_of_one_history() {
    // Each replica has all of its own updates: nobody has more of them than itself.
    fn owners_know_most(forks: Forks<Updates, 3>) -> bool {
        let [a, b, c] = forks.into_states();
        let owners = [(0xa, &a), (0xb, &b), (0xc, &c)];
        owners.into_iter().all(|(id, owner)| {
            let id = crdt_core::ReplicaId::new(id);
            [&a, &b, &c].into_iter().all(|state| state.get(id) <= owner.get(id))
        })
    }
    QuickCheck::new().quickcheck(owners_know_most as fn(Forks<Updates, 3>) -> bool);
}

#[test]
fn they_diverge_and_they_share() {
    let concurrent = generated(200).filter(|forks| forks[0].partial_cmp(&forks[1]).is_none()).count();
    let shared =
        generated(200).filter(|forks| forks[0].zip(&forks[1]).any(|row| row.1.min(row.2) > 0)).count();
    assert!(concurrent > 50 && shared > 50, "{concurrent} diverged, {shared} had something in common");
}

#[test]
fn they_shrink_through_their_history() {
    // A property that is false once two replicas together have three updates.
    let fails = |forks: &Forks<Updates, 3>| {
        let mut both = forks[0].clone();
        both.merge(&forks[1]);
        both.sum() > 2
    };
    let mut smallest = generated(200).find(fails).expect("most histories have three updates");
    while let Some(smaller) = smallest.shrink().find(fails) {
        smallest = smaller;
    }
    let printed = format!("{smallest:?}");
    assert_eq!(printed.matches(": () at 0").count(), 3, "three updates and nothing else:\n{printed}");
    assert_eq!(
        printed.lines().filter(|line| line.trim_start().starts_with(char::is_numeric)).count(),
        3,
        "{printed}"
    );
}

#[test]
fn the_same_seed_gives_the_same_states() {
    for (left, right) in generated(50).zip(generated(50)) {
        assert_eq!(left.into_states(), right.into_states());
    }
}
