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

/// What a batch covers, or all batches of a stored block, which are not divided, and how long that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchExtent {
    /// Its first offset.
    pub base_offset: i64,
    /// The last offset that it covers.
    pub last_offset: i64,
    /// The largest timestamp of its records; -1 without any.
    pub max_timestamp: i64,
    /// Its length.
    pub bytes: u64,
    /// The last offset of the first batch, which an entry of the offset index states.
    pub first_last_offset: i64,
    /// The last offset of the batch that has the largest timestamp, which an entry of the time index states.
    pub latest_offset: i64,
}

impl BatchExtent {
    /// Returns what a single batch covers.
    #[must_use]
    pub fn single(base_offset: i64, last_offset: i64, max_timestamp: i64, bytes: u64) -> Self {
        BatchExtent {
            base_offset,
            last_offset,
            max_timestamp,
            bytes,
            first_last_offset: last_offset,
            latest_offset: last_offset,
        }
    }
}

/// A segment that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSegment {
    /// The first offset, after which its files are named.
    pub base_offset: i64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Its offset index.
    pub index: Vec<u8>,
    /// Its time index.
    pub time_index: Vec<u8>,
}

/// Divides batches into segments.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    options: LogOptions,
    open: OpenSegment,
}

impl Segments {
    /// Begins with the segment at `base_offset`.
    pub(super) fn new(base_offset: i64, options: LogOptions) -> Segments {
        Segments {
            options,
            open: OpenSegment::new(base_offset),
        }
    }

    /// Adds the next batch, and returns the segment that ends before it, if one does: the batch is then the first of another one.
    pub(super) fn add(&mut self, batch: &BatchExtent) -> Option<EndedSegment> {
        let mut ended = None;
        if !self.open.has_room(batch, &self.options) {
            let next = OpenSegment::new(batch.base_offset);
            ended = Some(std::mem::replace(&mut self.open, next).complete());
        }
        self.open.add(batch, &self.options);
        ended
    }

    /// Ends the log, and returns its last segment.
    pub(super) fn finish(self) -> EndedSegment {
        self.open.complete()
    }
}

/// A segment that is being filled, with its indexes.
#[derive(Clone, Debug)]
struct OpenSegment {
    base_offset: i64,
    log_bytes: u64,
    since_entry: u64,
    /// The largest timestamp, and the last offset of the batch that has it, the first one of several.
    latest: Option<(i64, i64)>,
    indexed_timestamp: i64,
    index: Vec<u8>,
    time_index: Vec<u8>,
}

impl OpenSegment {
    fn new(base_offset: i64) -> OpenSegment {
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
    fn has_room(&self, batch: &BatchExtent, options: &LogOptions) -> bool {
        let near = batch.last_offset.saturating_sub(self.base_offset) <= i64::from(i32::MAX);
        // Positions in an index are 32 bits, too.
        let most = options.segment_bytes.min(i32::MAX as u64);
        near && (self.log_bytes == 0 || self.log_bytes.saturating_add(batch.bytes) <= most)
    }

    /// Adds a batch to the indexes.
    fn add(&mut self, batch: &BatchExtent, options: &LogOptions) {
        if self
            .latest
            .is_none_or(|(latest, _)| batch.max_timestamp > latest)
        {
            self.latest = Some((batch.max_timestamp, batch.latest_offset));
        }
        if self.since_entry > options.index_interval_bytes {
            let position = self.log_bytes as i32;
            let relative = self.relative(batch.first_last_offset);
            self.index.extend_from_slice(&relative);
            self.index.extend_from_slice(&position.to_be_bytes());
            self.add_time();
            self.since_entry = 0;
        }
        self.log_bytes += batch.bytes;
        self.since_entry += batch.bytes;
    }

    /// Adds what the time index still lacks.
    fn complete(mut self) -> EndedSegment {
        self.add_time();
        EndedSegment {
            base_offset: self.base_offset,
            log_bytes: self.log_bytes,
            index: self.index,
            time_index: self.time_index,
        }
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
