//! Decides how much a reader requests before its caller has asked for it. No I/O.
//!
//! A caller that takes everything gets the reader's whole share of the store's memory at once. One that may stop early gets little at
//! first, and four times as much whenever it takes what was read: the first record of a partition does not cost megabytes.

use kbk_format::repo::{AheadShare, ReadaheadLimits};

/// What a reader has requested and its caller has not taken yet, and what it may request next.
#[derive(Debug)]
pub(super) struct Readahead {
    limits: ReadaheadLimits,
    /// Stored bytes of one request.
    range_bytes: u64,
    /// Stored bytes that may be ahead, before the number of readers is considered.
    window: u64,
    requests: usize,
    bytes: u64,
}

/// Whether a request may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The caller waits for it, or will next.
    Needed,
    /// If the readers of the store have the memory.
    Early,
    /// Once the caller has taken something.
    Later,
}

impl Readahead {
    pub(super) fn new(limits: ReadaheadLimits, range_bytes: u64, stops_early: bool) -> Readahead {
        Readahead {
            limits,
            range_bytes,
            window: match stops_early {
                true => limits.first_bytes,
                false => limits.shared_bytes,
            },
            requests: 0,
            bytes: 0,
        }
    }

    /// Returns how many stored bytes the next request should have.
    pub(super) fn run_bytes(&self) -> u64 {
        match self.is_on() {
            true => self.range_bytes.min(self.window),
            false => self.range_bytes,
        }
    }

    /// Returns the size up to which a segment that is needed as a whole is read by one request.
    pub(super) fn whole_bytes(&self) -> u64 {
        match self.is_on() {
            true => self.run_bytes(),
            false => 0,
        }
    }

    /// Returns how many bytes of the start of a segment are requested with its footer, where its first block is needed and nothing is read yet.
    pub(super) fn start_bytes(&self) -> u64 {
        self.whole_bytes()
    }

    /// Returns how many unneeded bytes are read rather than making two requests.
    pub(super) fn gap_bytes(&self) -> u64 {
        self.limits.gap_bytes
    }

    /// Decides about a request for this many bytes. `is_next` says that the caller has all that comes before it, and `share` how much each
    /// reader of the store may have.
    pub(super) fn admission(&self, bytes: u64, is_next: bool, share: AheadShare) -> Admission {
        if is_next {
            return Admission::Needed;
        }
        let fits = self.bytes.saturating_add(bytes) <= self.window.min(share.bytes);
        match fits && self.requests < share.requests {
            true => Admission::Early,
            false => Admission::Later,
        }
    }

    /// Returns whether one more segment is to be opened before the ones before it are read. `footers` are being read already, and `known` bytes of
    /// blocks are not requested yet.
    pub(super) fn opens(&self, footers: usize, known: u64, share: AheadShare) -> bool {
        self.is_on()
            && self.requests + footers < share.requests
            && self.bytes.saturating_add(known) < self.window.min(share.bytes)
    }

    /// Counts a request.
    pub(super) fn requested(&mut self, bytes: u64) {
        self.requests += 1;
        self.bytes += bytes;
    }

    /// Counts an answer that the caller has taken, or that it does not need.
    pub(super) fn taken(&mut self, bytes: u64) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        let grown = self.window.saturating_mul(4);
        self.window = grown.min(self.limits.shared_bytes);
    }

    fn is_on(&self) -> bool {
        self.limits.shared_bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReadaheadLimits = ReadaheadLimits {
        first_bytes: 100,
        shared_bytes: 1_600,
        shared_requests: 16,
        gap_bytes: 0,
    };

    fn share(bytes: u64, requests: usize) -> AheadShare {
        AheadShare { bytes, requests }
    }

    #[test]
    fn a_reader_that_may_stop_early_reads_more_as_it_proceeds() {
        let mut ahead = Readahead::new(LIMITS, 200, true);
        let mut sizes = Vec::new();
        for _ in 0..4 {
            sizes.push((ahead.run_bytes(), ahead.window));
            ahead.requested(100);
            ahead.taken(100);
        }
        assert_eq!(sizes, [(100, 100), (200, 400), (200, 1_600), (200, 1_600)]);
        assert_eq!(Readahead::new(LIMITS, 200, false).window, 1_600);
    }

    #[test]
    fn what_is_ahead_is_bounded_by_bytes_by_requests_and_by_the_share() {
        let mut ahead = Readahead::new(LIMITS, 200, false);
        let all = share(1_600, 3);
        ahead.requested(200);
        assert_eq!(ahead.admission(1_400, false, all), Admission::Early);
        assert_eq!(ahead.admission(1_401, false, all), Admission::Later);
        assert_eq!(ahead.admission(200, false, share(399, 3)), Admission::Later);
        assert_eq!(ahead.admission(9_999, true, share(0, 0)), Admission::Needed);
        assert!(ahead.opens(1, 1_399, all) && !ahead.opens(1, 1_400, all));
        assert!(!ahead.opens(2, 0, all));
        ahead.requested(1);
        ahead.requested(1);
        assert_eq!(ahead.admission(1, false, all), Admission::Later);
        ahead.taken(1);
        assert_eq!(ahead.admission(1, false, all), Admission::Early);
    }

    #[test]
    fn without_memory_nothing_is_ahead() {
        let ahead = Readahead::new(ReadaheadLimits::NONE, 200, false);
        let none = share(0, 1);
        assert_eq!(ahead.admission(1, false, none), Admission::Later);
        assert_eq!(ahead.admission(1, true, none), Admission::Needed);
        assert!(!ahead.opens(0, 0, none));
        assert_eq!((ahead.run_bytes(), ahead.whole_bytes()), (200, 0));
    }
}
