//! How far ahead of an open file's reads bytes are loaded.
//!
//! The kernel asks for 128 KiB at a time, several at once and not always in order. A window begins at [`FIRST`] and doubles with
//! every load while reads go on where they were expected, give or take [`DISORDER`]; a read elsewhere closes it.

use std::ops::Range;

/// The first window.
const FIRST: u64 = 1 << 20;
/// A read that begins so little before or behind where it was expected is still the next one.
const DISORDER: u64 = 512 << 10;

/// What was read of an open file, and what is being loaded.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Where the reads so far end.
    front: u64,
    /// Where what is loaded, or being loaded, ends.
    loaded: u64,
    /// Bytes that were last loaded ahead; none yet where it is 0.
    window: u64,
    most: u64,
}

impl Ahead {
    /// A file that nobody has read yet; the window grows to `most`.
    pub(crate) fn new(most: u64) -> Ahead {
        Ahead {
            front: 0,
            loaded: 0,
            window: 0,
            most,
        }
    }

    /// What to load, now that `range` is read.
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
        self.window = (2 * self.window).max(FIRST).min(self.most);
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

    fn sequential(ahead: &mut Ahead, from: u64, reads: u64) -> Vec<u64> {
        let reads = (0..reads).map(|i| from + i * 128 * KIB);
        let loads = reads.filter_map(|at| ahead.read(&(at..at + 128 * KIB)));
        loads.map(|load| load.end - load.start).collect()
    }

    #[test]
    fn the_window_doubles_and_everything_is_loaded_once() {
        let mut ahead = Ahead::new(MOST);
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
    fn disorder_goes_on_and_a_seek_begins_anew() {
        let mut ahead = Ahead::new(MOST);
        for at in [0, 256 * KIB, 128 * KIB, 512 * KIB, 384 * KIB] {
            ahead.read(&(at..at + 128 * KIB));
        }
        assert_eq!(ahead.window, 2 * FIRST);
        for _ in 0..100 {
            assert_eq!(
                ahead.read(&(384 * KIB..512 * KIB)),
                None,
                "reading again is not reading on"
            );
        }
        assert_eq!(
            ahead.read(&(100 * MIB..101 * MIB)),
            None,
            "one read elsewhere is no sequence"
        );
        assert_eq!(ahead.window, 0);
        assert_eq!(
            ahead.read(&(101 * MIB..102 * MIB)),
            Some(102 * MIB..103 * MIB)
        );
        assert_eq!(ahead.read(&(0..KIB)), None);
    }

    #[test]
    fn a_small_window_stays_small_and_none_loads_nothing() {
        let most = 256 * KIB;
        let loads = sequential(&mut Ahead::new(most), 0, 100);
        assert!(!loads.is_empty() && loads.iter().all(|load| *load <= most + 128 * KIB));
        assert_eq!(sequential(&mut Ahead::new(0), 0, 100), [0; 0]);
    }
}
