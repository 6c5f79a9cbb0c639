//! How far ahead of its reads an open file is loaded.
//!
//! The kernel asks for 128 KiB at a time, several at once and not always in order. A window begins at [`FIRST`] and doubles with
//! every load while reads continue within [`DISORDER`] of where they were expected; a read elsewhere closes it.

use std::ops::Range;

/// The first window, in bytes.
const FIRST: u64 = 1 << 20;
/// A read that begins within this distance of the expected position is still sequential.
const DISORDER: u64 = 512 << 10;

/// The readahead state of an open file.
#[derive(Debug)]
pub(crate) struct Readahead {
    /// The end of the reads so far.
    front: u64,
    /// The end of what is loaded or being loaded.
    loaded: u64,
    /// How many bytes were last loaded ahead; 0 if none.
    window: u64,
    max_window: u64,
}

impl Readahead {
    /// The state of a file that was not read yet, whose window grows to `max_window`.
    pub(crate) fn new(max_window: u64) -> Readahead {
        Readahead {
            front: 0,
            loaded: 0,
            window: 0,
            max_window,
        }
    }

    /// The range to load now that `range` is read, if there is one.
    pub(crate) fn read(&mut self, range: &Range<u64>) -> Option<Range<u64>> {
        if range.start.abs_diff(self.front) > DISORDER {
            (self.front, self.loaded, self.window) = (range.end, range.end, 0);
            return None;
        }
        self.front = self.front.max(range.end);
        self.loaded = self.loaded.max(self.front);
        if self.loaded - self.front > self.window / 2 {
            return None;
        }
        self.window = (2 * self.window).max(FIRST).min(self.max_window);
        let from = self.loaded;
        self.loaded = self.front.saturating_add(self.window);
        (from < self.loaded).then_some(from..self.loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const MOST: u64 = 32 * MIB;

    fn sequential(ahead: &mut Readahead, from: u64, reads: u64) -> Vec<u64> {
        let reads = (0..reads).map(|i| from + i * 128 * KIB);
        let loads = reads.filter_map(|at| ahead.read(&(at..at + 128 * KIB)));
        loads.map(|load| load.end - load.start).collect()
    }

    #[test]
    fn the_window_doubles_and_nothing_is_loaded_twice() {
        let mut ahead = Readahead::new(MOST);
        let mut end = 128 * KIB;
        let mut largest = 0;
        for i in 0..2_000 {
            let at = i * 128 * KIB;
            if let Some(load) = ahead.read(&(at..at + 128 * KIB)) {
                assert_eq!(load.start, end);
                end = load.end;
                largest = largest.max(load.end - load.start);
            }
            assert!(end > at && end <= at + 128 * KIB + MOST);
        }
        assert!(largest >= MOST / 2, "{largest}");
    }

    #[test]
    fn reordered_reads_stay_sequential_and_a_seek_starts_over() {
        let mut ahead = Readahead::new(MOST);
        for at in [0, 256 * KIB, 128 * KIB, 512 * KIB, 384 * KIB] {
            ahead.read(&(at..at + 128 * KIB));
        }
        assert_eq!(ahead.window, 2 * FIRST);
        for _ in 0..100 {
            assert_eq!(
                ahead.read(&(384 * KIB..512 * KIB)),
                None,
                "reading the same range again is not sequential"
            );
        }
        assert_eq!(
            ahead.read(&(100 * MIB..101 * MIB)),
            None,
            "a single read elsewhere is not sequential"
        );
        assert_eq!(ahead.window, 0);
        assert_eq!(
            ahead.read(&(101 * MIB..102 * MIB)),
            Some(102 * MIB..103 * MIB)
        );
        assert_eq!(ahead.read(&(0..KIB)), None);
    }

    #[test]
    fn a_window_stays_within_its_limit_and_a_limit_of_zero_disables_it() {
        let most = 256 * KIB;
        let loads = sequential(&mut Readahead::new(most), 0, 100);
        assert!(!loads.is_empty() && loads.iter().all(|load| *load <= most + 128 * KIB));
        assert_eq!(sequential(&mut Readahead::new(0), 0, 100), [0; 0]);
    }
}
