use std::{cmp::Reverse, collections::BinaryHeap};

/// What is going to happen, in the order of virtual time; what is due at the same time happens in the order in which it
/// was scheduled. **O(log n)** for n scheduled events.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    scheduled: u64,
    now: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), scheduled: 0, now: 0 }
    }
}

impl<T> Queue<T> {
    /// At time 0, with nothing scheduled.
    pub fn new() -> Self {
        Self::default()
    }

    /// The time of the latest event taken, in microseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Schedules `what` at `at`, or now if that has passed.
    pub fn schedule(&mut self, at: u64, what: T) {
        let entry = Entry { at: at.max(self.now), number: self.scheduled, what };
        self.scheduled += 1;
        self.heap.push(Reverse(entry));
    }

    /// Takes the next event and goes to its time.
    pub fn take(&mut self) -> Option<T> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.what)
    }
}
