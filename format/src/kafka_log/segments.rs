//! Where a segment ends, and its indexes, as Kafka's `LogSegment` fills them.

/// How a log is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment ends before the batch that would make its log longer than this (`segment.bytes`).
    pub segment_bytes: u64,
    /// Bytes of batches after which the indexes get an entry (`index.interval.bytes`).
    pub index_interval_bytes: u64,
}

impl Default for LogOptions {
    /// Kafka's.
    fn default() -> Self {
        LogOptions {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4096,
        }
    }
}

/// What an index needs to know of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchExtent {
    pub(super) last_offset: i64,
    pub(super) max_timestamp: i64,
    pub(super) bytes: u64,
}

/// A segment that is being filled, with its indexes.
#[derive(Clone, Debug)]
pub(super) struct OpenSegment {
    base_offset: i64,
    log_bytes: u64,
    since_entry: u64,
    /// The largest timestamp, and the last offset of the first batch that has it.
    latest: Option<(i64, i64)>,
    indexed_timestamp: i64,
    pub(super) index: Vec<u8>,
    pub(super) time_index: Vec<u8>,
}

impl OpenSegment {
    pub(super) fn new(base_offset: i64) -> OpenSegment {
        OpenSegment {
            base_offset,
            log_bytes: 0,
            since_entry: 0,
            latest: None,
            indexed_timestamp: -1,
            index: Vec::new(),
            time_index: Vec::new(),
        }
    }

    /// Returns whether the batch is part of this segment: the first one is, unless its offsets are out of reach of the indexes.
    pub(super) fn has_room(&self, batch: &BatchExtent, options: &LogOptions) -> bool {
        let near = batch.last_offset.saturating_sub(self.base_offset) <= i64::from(i32::MAX);
        // Positions in an index are 32 bits, too.
        let most = options.segment_bytes.min(i32::MAX as u64);
        near && (self.log_bytes == 0 || self.log_bytes.saturating_add(batch.bytes) <= most)
    }

    /// Adds a batch to the indexes.
    pub(super) fn add(&mut self, batch: &BatchExtent, options: &LogOptions) {
        if self
            .latest
            .is_none_or(|(latest, _)| batch.max_timestamp > latest)
        {
            self.latest = Some((batch.max_timestamp, batch.last_offset));
        }
        if self.since_entry > options.index_interval_bytes {
            let position = self.log_bytes as i32;
            let relative = self.relative(batch.last_offset);
            self.index.extend_from_slice(&relative);
            self.index.extend_from_slice(&position.to_be_bytes());
            self.add_time();
            self.since_entry = 0;
        }
        self.log_bytes += batch.bytes;
        self.since_entry += batch.bytes;
    }

    /// Adds what the time index still lacks, when the segment is complete.
    pub(super) fn complete(&mut self) {
        self.add_time();
    }

    /// Times in the index ascend; a segment without any has no entry.
    fn add_time(&mut self) {
        let Some((timestamp, offset)) = self.latest else {
            return;
        };
        if timestamp > self.indexed_timestamp {
            self.indexed_timestamp = timestamp;
            let relative = self.relative(offset);
            self.time_index.extend_from_slice(&timestamp.to_be_bytes());
            self.time_index.extend_from_slice(&relative);
        }
    }

    /// Returns an offset as indexes state it. [`has_room`](Self::has_room) has bounded it.
    fn relative(&self, offset: i64) -> [u8; 4] {
        ((offset - self.base_offset) as i32).to_be_bytes()
    }
}
