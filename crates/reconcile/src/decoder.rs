use crate::{
    id::Id,
    symbol::{Holder, Sketch, Symbol},
    walk::Walk,
};
use alloc::{
    collections::{BTreeMap, BinaryHeap},
    vec::Vec,
};

/// Finds what two sets differ in from the difference of their coded symbols.
///
/// A symbol that holds one id alone gives it away; it is then taken out of all its other symbols, some of which hold
/// one id alone after that, and so on until all are empty. Source: Yang, Gilad, Alizadeh, SIGCOMM 2024.
///
/// A symbol of several ids may look like one of another id, with a probability of 2⁻¹⁰ and less. Nothing is lost by
/// that: what was taken out wrongly is left behind in the symbols, with the opposite sign, as one more difference,
/// and is found and struck off like any other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decoder {
    /// What is not explained yet, from the first symbol on.
    symbols: Vec<Symbol>,
    found: BTreeMap<Id, Found>,
}

#[derive(Clone, Debug)]
struct Found {
    holder: Holder,
    /// Where it goes on in symbols that are not here yet.
    walk: Walk,
}

impl Decoder {
    /// How many symbols are here.
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_SYMBOLS")]
    pub(crate) fn len(&self) -> u32 {
        self.symbols.len() as u32
    }

    /// Takes the symbols that follow those that are here and goes on as far as they lead. **O(m log m)** for m
    /// symbols of two sets, in all; O(m log² m) for anything else.
    pub(crate) fn extend(&mut self, remote: &Sketch, local: &Sketch) {
        debug_assert_eq!((remote.range(), remote.range().start), (local.range(), self.len()));
        let pairs = remote.symbols().iter().zip(local.symbols());
        self.symbols.extend(pairs.map(|(theirs, ours)| theirs.minus(*ours)));
        let end = self.len();
        for Found { holder, walk } in self.found.values_mut() {
            take_out(&mut self.symbols, *holder, walk, end, |_| ());
        }
        self.peel((0..end).collect());
    }

    /// Peels, and looks first at the symbols furthest on: there a wrong id is rare, since its way must lead there. In
    /// symbol 0, which holds all, an id that is the exclusive or of others could be mistaken for them time and again.
    fn peel(&mut self, mut next: BinaryHeap<u32>) {
        let end = self.len();
        // Each difference is taken out once, and what was taken out wrongly twice. Symbols of no sets at all may lead
        // on without end.
        let mut left = 2 * self.symbols.len();
        while let Some(at) = next.pop() {
            let Some((id, holder)) = self.symbols[at as usize].only() else { continue };
            let earlier = self.found.get(&id).map(|found| found.holder);
            if earlier == Some(holder) || left == 0 || !Walk::leads(id, at) {
                continue;
            }
            left -= 1;
            let mut walk = Walk::of(id);
            take_out(&mut self.symbols, holder, &mut walk, end, |at| next.push(at));
            match earlier {
                None => _ = self.found.insert(id, Found { holder, walk }),
                Some(_) => _ = self.found.remove(&id),
            }
        }
    }

    /// Whether what was found explains every symbol.
    pub(crate) fn is_done(&self) -> bool {
        self.symbols.iter().all(|symbol| *symbol == Symbol::EMPTY)
    }

    /// What was found so far, ascending.
    pub(crate) fn found(&self) -> impl Iterator<Item = (Id, Holder)> {
        self.found.iter().map(|(id, found)| (*id, found.holder))
    }
}

/// Takes an id out of its symbols from where its way stands up to `end`; tells which of them may now hold one id
/// alone.
fn take_out(symbols: &mut [Symbol], holder: Holder, walk: &mut Walk, end: u32, mut changed: impl FnMut(u32)) {
    while walk.at < end {
        let symbol = &mut symbols[walk.at as usize];
        match holder {
            Holder::Remote => symbol.remove(walk.summand),
            Holder::Local => symbol.insert(walk.summand),
        }
        if symbol.only().is_some() {
            changed(walk.at);
        }
        walk.advance();
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
mod tests {
    use super::*;
    use crate::Seed;

    /// Three ids that look like a fourth one where they are together, and that one; `nth` gives others.
    fn ambiguous(nth: u64) -> ([Id; 3], Id) {
        let ids = |from: u64| (from..).map(move |item| Seed::new(nth).id(item));
        let summand = |id: Id| Symbol::summand(id, id.hash());
        let pair: Vec<Id> = ids(0).take(2).collect();
        let candidates = ids(2).filter_map(|third| {
            let sum = summand(pair[0]) ^ summand(pair[1]) ^ summand(third);
            let fourth = Id::low_bits_of(sum);
            (summand(fourth) == sum).then_some(([pair[0], pair[1], third], fourth))
        });
        candidates.take(1).next().expect("one in a thousand")
    }

    fn sketch(from: u32, end: u32, ids: &[Id]) -> Sketch {
        let mut sketch = Sketch::new(from..end);
        sketch.extend(ids.iter().copied());
        sketch
    }

    /// What was peeled wrongly is struck off when more symbols come, in whatever portions, and whoever has the ids.
    #[test]
    fn a_wrong_id_is_struck_off() {
        for nth in 0..60 {
            let (ids, wrong) = ambiguous(nth);
            let split = usize::try_from(nth).unwrap() % 4;
            let (remote, local) = ids.split_at(split.min(3));
            let mut decoder = Decoder::default();
            decoder.extend(&sketch(0, 1, remote), &sketch(0, 1, local));
            assert!(
                decoder.is_done() && decoder.found().map(|(id, _)| id).eq([wrong]),
                "nothing speaks against it"
            );
            let portion = 1 + nth as u32 % 7;
            while decoder.len() < 100 {
                let (from, end) = (decoder.len(), decoder.len() + portion);
                decoder.extend(&sketch(from, end, remote), &sketch(from, end, local));
            }
            assert!(decoder.is_done());
            let mut expected: Vec<_> = remote.iter().map(|id| (*id, Holder::Remote)).collect();
            expected.extend(local.iter().map(|id| (*id, Holder::Local)));
            expected.sort_unstable_by_key(|(id, _)| *id);
            assert!(decoder.found().eq(expected), "{nth}");
        }
    }

    /// Symbols that hold an id twice, as only a liar's do: it is found once, and they stay unexplained.
    #[test]
    fn an_id_is_not_found_twice() {
        let id = Seed::new(1).id(1);
        let mut symbols = sketch(0, 200, &[id]).symbols().to_vec();
        symbols[0].insert(Symbol::summand(id, id.hash()));
        let mut decoder = Decoder::default();
        decoder.extend(&Sketch::from_symbols(0, symbols), &Sketch::new(0..200));
        assert!(decoder.found().eq([(id, Holder::Remote)]));
        assert!(!decoder.is_done());
    }

    /// As a stream: however the symbols are cut, all is found in the end, and once found it stays.
    #[test]
    fn symbols_may_come_in_any_portions() {
        for nth in 0..400 {
            let ids: Vec<Id> = (0..nth % 50).map(|item| Seed::new(nth).id(item)).collect();
            let (remote, local) = ids.split_at(ids.len() / 3);
            let mut decoder = Decoder::default();
            let mut enough = None;
            while decoder.len() < 400 {
                let (from, end) = (decoder.len(), decoder.len() + 1 + nth as u32 % 5);
                decoder.extend(&sketch(from, end, remote), &sketch(from, end, local));
                let is_right = decoder.is_done() && decoder.found().count() == ids.len();
                assert!(is_right || enough.is_none(), "{nth}: lost after {enough:?} symbols");
                enough = enough.or(is_right.then_some(end));
            }
            assert!(enough.is_some(), "{nth}");
        }
    }
}
