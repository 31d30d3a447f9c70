//! What is counted, without a lock: counters, gauges, histograms, and families of them by labels.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::label::Label;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter for each value of a label.
pub struct Counters<L> {
    cells: Vec<Counter>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self { cells: L::TEXTS.iter().map(|_| Counter::default()).collect(), label: PhantomData }
    }
}

impl<L: Label> Counters<L> {
    /// Adds `n` to one of them.
    pub fn add(&self, label: L, n: u64) {
        self.cells[label.index()].add(n);
    }

    /// Each value of the label with its count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        L::TEXTS.iter().zip(&self.cells).map(|(text, cell)| (*text, cell.get()))
    }

    /// One of them.
    pub fn get(&self, label: L) -> u64 {
        self.cells[label.index()].get()
    }
}

/// How a quantity is distributed over fixed bounds.
pub struct Histogram {
    bounds: &'static [f64],
    /// How many fell between a bound and the one before it; the last is for what is above all.
    cells: Vec<Counter>,
    /// In millionths: an integer can be added without a lock.
    sum: Counter,
}

impl Histogram {
    /// One with these bounds, ascending.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            cells: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            sum: Counter::default(),
        }
    }

    /// Another duration.
    pub fn time(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.observe(duration.as_secs_f64(), micros);
    }

    /// Another number.
    pub fn number(&self, n: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
        self.observe(n as f64, n.saturating_mul(1_000_000));
    }

    fn observe(&self, value: f64, millionths: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.cells[at].add(1);
        self.sum.add(millionths);
    }

    /// Each bound with how many were at or below it, then the sum and how many there were.
    pub(super) fn read(&self) -> (Vec<(f64, u64)>, f64, u64) {
        let mut below = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, cell) in self.bounds.iter().zip(&self.cells) {
            below += cell.get();
            buckets.push((*bound, below));
        }
        let count = below + self.cells[self.bounds.len()].get();
        #[expect(clippy::cast_precision_loss, reason = "a sum is shown, not computed with")]
        let sum = self.sum.get() as f64 / 1e6;
        (buckets, sum, count)
    }
}

/// Histograms by three labels. One is made when it is first needed: most never are.
pub struct Histograms<A, B, C> {
    bounds: &'static [f64],
    cells: Vec<OnceLock<Box<Histogram>>>,
    labels: PhantomData<fn(A, B, C)>,
}

impl<A: Label, B: Label, C: Label> Histograms<A, B, C> {
    /// None yet, of these bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        let count = A::TEXTS.len() * B::TEXTS.len() * C::TEXTS.len();
        Self { bounds, cells: (0..count).map(|_| OnceLock::new()).collect(), labels: PhantomData }
    }

    /// The one of these labels.
    pub fn of(&self, a: A, b: B, c: C) -> &Histogram {
        let at = (a.index() * B::TEXTS.len() + b.index()) * C::TEXTS.len() + c.index();
        self.cells[at].get_or_init(|| Box::new(Histogram::new(self.bounds)))
    }

    /// Those that were needed, with the texts of their labels.
    pub(super) fn each(&self) -> impl Iterator<Item = ([&'static str; 3], &Histogram)> {
        self.cells.iter().enumerate().filter_map(|(at, cell)| {
            let (rest, c) = (at / C::TEXTS.len(), at % C::TEXTS.len());
            let (a, b) = (rest / B::TEXTS.len(), rest % B::TEXTS.len());
            Some(([A::TEXTS[a], B::TEXTS[b], C::TEXTS[c]], &**cell.get()?))
        })
    }
}
