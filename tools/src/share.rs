//! Shares items among worker threads: each takes a group at a time, and no group is more than a fair share of what is left.
//!
//! A worker that reads or compares several partitions at a time wants large groups, because each group costs a connection. But
//! if one worker took all of a few partitions, the others would be idle. Hence a group has at most `max_group` items, and at most
//! one in `workers` of those that wait, rounded up.
//!
//! This is for a list that is complete before work begins. Segments that [`verify`](crate::verify) discovers while it runs go one by
//! one to the next free core, and partitions that a restore may have to write again go back to the head of a queue of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Items that wait for a worker, in the order in which they are taken.
#[derive(Debug)]
pub struct FairShare<T> {
    waiting: Mutex<VecDeque<T>>,
    workers: usize,
    max_group: usize,
}

impl<T> FairShare<T> {
    /// Shares `items` among at most `workers` threads, in groups of at most `max_group`. There is no more than one worker per
    /// item, and never less than one.
    #[must_use]
    pub fn new(items: Vec<T>, workers: usize, max_group: usize) -> FairShare<T> {
        FairShare {
            workers: workers.min(items.len()).max(1),
            waiting: Mutex::new(items.into()),
            max_group: max_group.max(1),
        }
    }

    /// Returns the number of threads that find work.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Takes the next group; an empty one if no item is left.
    #[must_use]
    pub fn take(&self) -> Vec<T> {
        // A worker that panicked while it held the lock has left the queue whole.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let share = waiting.len().div_ceil(self.workers).min(self.max_group);
        waiting.drain(..share).collect()
    }
}

impl<T: Send> FairShare<T> {
    /// Runs `work` on one group after another, on as many threads as there are workers, until no item is left. Blocks.
    ///
    /// # Errors
    ///
    /// The first error, in the order of the threads. A thread whose work failed takes no further group; all others continue,
    /// and are joined before this returns.
    pub fn run<E: Send>(&self, work: impl Fn(Vec<T>) -> Result<(), E> + Sync) -> Result<(), E> {
        let worker = || {
            loop {
                let group = self.take();
                if group.is_empty() {
                    return Ok(());
                }
                work(group)?;
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.workers).map(|_| scope.spawn(worker)).collect();
            let ended: Vec<_> = threads
                .into_iter()
                .map(|thread| match thread.join() {
                    Ok(ended) => ended,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect();
            ended.into_iter().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_item_is_taken_once_in_order_and_in_fair_groups(
            items in 0..200_usize,
            workers in 0..9_usize,
            max_group in 0..12_usize,
        ) {
            let share = FairShare::new((0..items).collect(), workers, max_group);
            prop_assert!((1..=workers.max(1)).contains(&share.workers()));
            let mut taken = Vec::new();
            loop {
                let left = items - taken.len();
                let group = share.take();
                prop_assert_eq!(group.is_empty(), left == 0);
                if group.is_empty() {
                    break;
                }
                prop_assert!(group.len() <= max_group.max(1));
                prop_assert!(group.len() <= left.div_ceil(share.workers()));
                taken.extend(group);
            }
            prop_assert_eq!(taken, (0..items).collect::<Vec<_>>());
        }

        #[test]
        fn every_worker_finds_work_however_many_items_each_may_take(
            items in 1..60_usize,
            workers in 1..9_usize,
        ) {
            let share = FairShare::new((0..items).collect(), workers, usize::MAX);
            for _ in 0..share.workers() {
                prop_assert!(!share.take().is_empty());
            }
        }
    }

    #[test]
    fn threads_take_every_item_once() {
        let (share, seen) = (
            FairShare::new((0..1_000).collect(), 4, 8),
            Mutex::new(Vec::new()),
        );
        let ended = share.run(|group| {
            seen.lock().unwrap().extend(group);
            Ok::<(), ()>(())
        });
        assert_eq!(ended, Ok(()));
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 1_000);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 1_000);
    }

    #[test]
    fn an_error_ends_its_thread_and_is_returned() {
        let share = FairShare::new((0..10).collect(), 1, 2);
        let ended = share.run(|group| match group.contains(&4) {
            true => Err("four"),
            false => Ok(()),
        });
        assert_eq!(ended, Err("four"));
        assert_eq!(share.take(), [6, 7], "nobody took what was left");
    }
}
