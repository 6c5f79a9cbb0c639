//! Begins to read partitions before the ones that are printed first have ended: of a distant store, a small one takes as long as its answers.
//!
//! Whoever prints may stop at any record, so nothing is begun before the first partition has been printed to its end, and more with each one after
//! it.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kbk_tools::ReadOptions;

/// The most partitions that are begun behind the one that is printed.
const MOST: usize = 8;

/// What comes next, in order. `F` begins a partition.
pub(super) struct Upcoming<B, F: Future> {
    begin: B,
    /// How many are begun behind the one that is printed.
    ahead: usize,
    numbers: VecDeque<usize>,
    beginning: FuturesOrdered<F>,
    begun: VecDeque<F::Output>,
}

impl<B, F> Upcoming<B, F>
where
    B: Fn(usize, ReadOptions) -> F,
    F: Future,
{
    pub(super) fn new(begin: B) -> Self {
        Self {
            begin,
            ahead: 0,
            numbers: VecDeque::new(),
            beginning: FuturesOrdered::new(),
            begun: VecDeque::new(),
        }
    }

    /// Returns the next of the partitions `numbers`, and what became of beginning it; `None` after the last one.
    pub(super) async fn next(
        &mut self,
        numbers: &mut impl Iterator<Item = usize>,
        options: ReadOptions,
    ) -> Option<(usize, F::Output)> {
        let more = (self.ahead + 1).saturating_sub(self.numbers.len());
        for number in numbers.take(more) {
            self.numbers.push_back(number);
            self.beginning.push_back((self.begin)(number, options));
        }
        self.ahead = (2 * self.ahead).clamp(1, MOST);
        let number = self.numbers.pop_front()?;
        let next = match self.begun.pop_front() {
            Some(next) => next,
            None => self.beginning.next().await?,
        };
        Some((number, next))
    }

    /// Does `work`, and begins what is upcoming meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(next) = self.beginning.next() => self.begun.push_back(next),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use kbk_format::Streams;

    use super::*;

    /// Takes all of 20 partitions, and returns which were begun before each of them was printed to its end.
    async fn begun_at_each() -> Vec<usize> {
        let begun = RefCell::new(Vec::new());
        let begin = |number, _| {
            let begun = &begun;
            async move {
                tokio::task::yield_now().await;
                begun.borrow_mut().push(number);
                number
            }
        };
        let mut upcoming = Upcoming::new(begin);
        let mut numbers = 0..20;
        let mut at_each = Vec::new();
        let options = ReadOptions::new(Streams::All);
        while let Some((number, output)) = upcoming.next(&mut numbers, options).await {
            assert_eq!((number, output), (at_each.len(), number));
            let printing = async {
                for _ in 0..64 {
                    tokio::task::yield_now().await;
                }
            };
            upcoming.during(printing).await;
            at_each.push(begun.borrow().len());
        }
        begun.borrow_mut().sort_unstable();
        assert_eq!(*begun.borrow(), (0..20).collect::<Vec<_>>(), "each once");
        at_each
    }

    #[tokio::test]
    async fn more_are_begun_with_each_one_that_is_printed_and_all_come_in_order() {
        let at_each = begun_at_each().await;
        assert_eq!(
            at_each[..5],
            [1, 3, 5, 8, 13],
            "1 + 0, 2 + 1, 3 + 2, 4 + 4, 5 + 8"
        );
        let ahead = at_each.iter().enumerate();
        assert!(
            ahead
                .map(|(number, begun)| begun - number - 1)
                .all(|ahead| ahead <= MOST)
        );
        assert_eq!(at_each[19], 20);
    }
}
