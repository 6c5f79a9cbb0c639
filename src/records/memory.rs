//! A transport over logs in memory, for unit tests of the engine: no broker, no sockets, and failures on demand.
//!
//! Transactions behave as a broker's: records occupy offsets as soon as they are sent, and become readable with the commit. A commit
//! or an abort leaves a marker, which occupies an offset as well, so logs have the same gaps as real ones.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kbk_format::batch::{BatchBuilder, BatchOptions, RecordBatch};
use kbk_format::record::{Header, Headers, Record, TimestampType};
use kbk_format::repo::OffsetAndMetadata;

use super::{
    Delivered, EpochEnd, KafkaError, PartitionRange, Positions, RecordHandler, RecordSink,
    RecordSource, SinkOptions, SourceError, SourceOptions, TopicPartition, TransactionError,
    Transport,
};

/// A cluster in memory; clones share its logs.
#[derive(Clone, Default)]
pub(crate) struct MemoryCluster(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    logs: BTreeMap<TopicPartition, Log>,
    /// By group and partition.
    committed: BTreeMap<(String, TopicPartition), OffsetAndMetadata>,
    /// Outcomes of the next commits; those after them succeed.
    commits: VecDeque<CommitFailure>,
    sinks_opened: usize,
    sources_opened: usize,
    /// Whether sources offer batches, of one record each.
    offers_batches: bool,
    /// The id of the topic about whose epochs it answers.
    topic_id: Option<[u8; 16]>,
}

/// How a commit can fail.
#[derive(Clone, Copy)]
pub(crate) enum CommitFailure {
    /// The transaction must be aborted, and can be retried.
    Again,
    /// The sink is unusable, and its transaction is aborted by the next sink.
    Lost,
    /// The cluster accepts nothing more of the sink, and has ended its transaction.
    Fenced,
    /// The same, and it has committed it before.
    FencedAfterwards,
}

#[derive(Default)]
struct Log {
    start: i64,
    entries: Vec<Entry>,
    /// Leader epochs and their first offsets, ascending.
    epochs: Vec<(i32, i64)>,
}

impl Log {
    fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).expect("a small log")
    }

    /// The leader epoch of a record.
    fn epoch_at(&self, offset: i64) -> i32 {
        let before = self.epochs.iter().take_while(|(_, start)| *start <= offset);
        before.last().map_or(-1, |(epoch, _)| *epoch)
    }

    /// Where an epoch ends, as Kafka's `LeaderEpochFileCache` says.
    fn epoch_end(&self, epoch: i32) -> Option<i64> {
        match self.epochs.last() {
            Some((latest, _)) if *latest == epoch => Some(self.end()),
            _ => {
                let mut higher = self.epochs.iter().filter(|(found, _)| *found > epoch);
                higher.next().map(|(_, start)| *start)
            }
        }
    }
}

/// What occupies an offset.
enum Entry {
    Record(OwnedRecord),
    /// Sent in a transaction that is open.
    Open(OwnedRecord),
    /// A record of an aborted transaction, or a marker.
    Hidden,
}

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedRecord {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    pub(crate) fn copy(record: &Record<'_>) -> OwnedRecord {
        let headers = record.headers.clone();
        OwnedRecord {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    pub(crate) fn lend<T>(&self, offset: i64, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers = self.headers.iter();
        let headers: Vec<Header<'_>> = headers
            .map(|(name, value)| Header {
                name,
                value: value.as_deref(),
            })
            .collect();
        use_it(&Record {
            offset,
            timestamp: self.timestamp,
            control: false,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        })
    }
}

impl MemoryCluster {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends committed records.
    pub(crate) fn append(
        &self,
        partition: &TopicPartition,
        records: impl IntoIterator<Item = OwnedRecord>,
    ) {
        let mut state = self.lock();
        let log = state.logs.entry(partition.clone()).or_default();
        log.entries.extend(records.into_iter().map(Entry::Record));
    }

    /// Lets retention delete everything below an offset.
    pub(crate) fn delete_below(&self, partition: &TopicPartition, offset: i64) {
        let mut state = self.lock();
        state.logs.entry(partition.clone()).or_default().start = offset;
    }

    /// Replaces the records at some offsets by gaps, as compaction does.
    pub(crate) fn compact(&self, partition: &TopicPartition, offsets: Range<usize>) {
        let mut state = self.lock();
        let log = state.logs.entry(partition.clone()).or_default();
        log.entries[offsets].fill_with(|| Entry::Hidden);
    }

    /// Takes the latest records away, as an unclean leader election does.
    pub(crate) fn truncate(&self, partition: &TopicPartition, end: usize) {
        let mut state = self.lock();
        let log = state.logs.entry(partition.clone()).or_default();
        log.entries.truncate(end);
        let end = log.end();
        log.epochs.retain(|(_, start)| *start < end);
    }

    /// Elects a leader with this epoch: what is appended from now on has it.
    pub(crate) fn elect(&self, partition: &TopicPartition, epoch: i32) {
        let mut state = self.lock();
        let log = state.logs.entry(partition.clone()).or_default();
        log.epochs.push((epoch, log.end()));
    }

    /// Forgets all leader epochs.
    pub(crate) fn forget_epochs(&self, partition: &TopicPartition) {
        let mut state = self.lock();
        state
            .logs
            .entry(partition.clone())
            .or_default()
            .epochs
            .clear();
    }

    /// Offers batches, and answers about the leader epochs of the topic with this id.
    pub(crate) fn offer_batches(&self, topic_id: Option<[u8; 16]>) {
        let mut state = self.lock();
        state.offers_batches = true;
        state.topic_id = topic_id;
    }

    /// Returns a record as a batch of its own.
    fn batch(&self, partition: &TopicPartition, offset: i64, record: &OwnedRecord) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let pushed = record.lend(offset, |record| builder.push(record));
        pushed.expect("one record");
        let mut bytes = Vec::new();
        builder.finish(offset, &mut bytes).expect("a small batch");
        let log = &self.lock().logs[partition];
        // The checksum does not cover it.
        bytes[12..16].copy_from_slice(&log.epoch_at(offset).to_be_bytes());
        bytes
    }

    /// Returns the first offset of a partition and its exclusive end.
    pub(crate) fn bounds(&self, partition: &TopicPartition) -> Range<i64> {
        let state = self.lock();
        state
            .logs
            .get(partition)
            .map_or(0..0, |log| log.start..log.end())
    }

    /// Makes the next commits fail.
    pub(crate) fn fail_commits(&self, failures: impl IntoIterator<Item = CommitFailure>) {
        self.lock().commits.extend(failures);
    }

    /// Number of sinks opened so far.
    pub(crate) fn sinks_opened(&self) -> usize {
        self.lock().sinks_opened
    }

    /// Number of sources opened so far.
    pub(crate) fn sources_opened(&self) -> usize {
        self.lock().sources_opened
    }

    /// The committed records of a partition, by offset.
    pub(crate) fn records(&self, partition: &TopicPartition) -> Vec<(i64, OwnedRecord)> {
        let state = self.lock();
        let entries = state.logs.get(partition).into_iter();
        let entries = entries.flat_map(|log| (0..).zip(&log.entries));
        entries
            .filter_map(|(offset, entry)| match entry {
                Entry::Record(record) => Some((offset, record.clone())),
                Entry::Open(_) | Entry::Hidden => None,
            })
            .collect()
    }

    /// Commits the offset 0 with this metadata for a group.
    pub(crate) fn set_position(&self, group: &str, partition: &TopicPartition, metadata: &str) {
        let key = (group.to_owned(), partition.clone());
        let committed = OffsetAndMetadata {
            offset: 0,
            metadata: metadata.to_owned(),
        };
        self.lock().committed.insert(key, committed);
    }

    /// What a group has committed for a partition.
    pub(crate) fn position(
        &self,
        group: &str,
        partition: &TopicPartition,
    ) -> Option<OffsetAndMetadata> {
        let key = (group.to_owned(), partition.clone());
        self.lock().committed.get(&key).cloned()
    }
}

impl Transport for MemoryCluster {
    type Source = MemorySource;
    type Sink = MemorySink;

    fn open_source(
        &self,
        _options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<MemorySource, KafkaError> {
        self.lock().sources_opened += 1;
        let cluster = self.clone();
        Ok(MemorySource { cluster, ranges })
    }

    fn open_sink(&self, options: SinkOptions) -> Result<MemorySink, KafkaError> {
        self.lock().sinks_opened += 1;
        Ok(MemorySink {
            cluster: self.clone(),
            transactional: options.transactional_id.is_some(),
            targets: Vec::new(),
            delivered: Vec::new(),
            open: None,
            fenced: false,
        })
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
        let position = |partition| self.position(group, partition);
        Ok(partitions.iter().map(position).collect())
    }

    fn epoch_ends(
        &self,
        epochs: &[(TopicPartition, i32)],
    ) -> Result<BTreeMap<TopicPartition, EpochEnd>, KafkaError> {
        let state = self.lock();
        let ends = epochs.iter().filter_map(|(partition, epoch)| {
            let end = EpochEnd {
                topic_id: state.topic_id,
                end_offset: state.logs.get(partition)?.epoch_end(*epoch)?,
            };
            Some((partition.clone(), end))
        });
        Ok(ends.collect())
    }
}

/// Reads ranges one after the other.
pub(crate) struct MemorySource {
    cluster: MemoryCluster,
    ranges: Vec<PartitionRange>,
}

impl RecordSource for MemorySource {
    fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>> {
        const IDLE_EVERY: usize = 16;
        for (slot, range) in self.ranges.iter().enumerate() {
            let partition = TopicPartition::new(&range.topic, range.partition);
            let Range { start, end } = self.cluster.bounds(&partition);
            let first = range.start.max(start.min(range.end));
            if first > range.start {
                let lost = handler.lost(slot, range.start, first);
                lost.map_err(SourceError::Handler)?;
            }
            let records = self.cluster.records(&partition).into_iter();
            let records = records.filter(|(offset, _)| (first..range.end).contains(offset));
            let offers_batches = self.cluster.lock().offers_batches;
            for (count, (offset, record)) in records.enumerate() {
                let mut is_taken = false;
                if offers_batches {
                    let bytes = self.cluster.batch(&partition, offset, &record);
                    let batch = RecordBatch::parse(&bytes, 0).and_then(RecordBatch::check);
                    let batch = batch.expect("it was just built");
                    is_taken = handler.batch(slot, &batch).map_err(SourceError::Handler)?;
                }
                if !is_taken {
                    let handled = record.lend(offset, |record| {
                        handler.record(slot, TimestampType::CreateTime, record)
                    });
                    handled.map_err(SourceError::Handler)?;
                }
                if count % IDLE_EVERY == 0 {
                    handler.idle().map_err(SourceError::Handler)?;
                }
            }
            if end < range.end {
                handler.unreadable(slot, truncated(range, start, end))?;
            } else {
                handler.finished(slot).map_err(SourceError::Handler)?;
            }
            handler.idle().map_err(SourceError::Handler)?;
        }
        Ok(())
    }
}

fn truncated(range: &PartitionRange, start: i64, end: i64) -> KafkaError {
    KafkaError::OffsetOutOfRange {
        topic: range.topic.clone(),
        partition: range.partition,
        position: end,
        log_start_offset: start,
        log_end_offset: end,
    }
}

/// Writes to the logs. With transactions, records are readable once they are committed.
pub(crate) struct MemorySink {
    cluster: MemoryCluster,
    transactional: bool,
    targets: Vec<TopicPartition>,
    delivered: Vec<Vec<Delivered>>,
    /// Targets and offsets of the records in the open transaction, if one is open.
    open: Option<Vec<(usize, usize)>>,
    /// Whether nothing is accepted of it any more.
    fenced: bool,
}

fn fenced() -> KafkaError {
    KafkaError::Fenced {
        doing: "commit a transaction".to_owned(),
        cause: "the test says so".to_owned(),
    }
}

impl MemorySink {
    /// Makes the records of the open transaction visible, or hides them, and appends a marker to each partition.
    fn end_transaction(&mut self, state: &mut State, commit: bool) {
        let mut marked = vec![false; self.targets.len()];
        for (target, offset) in self.open.take().unwrap_or_default() {
            let log = state.logs.entry(self.targets[target].clone()).or_default();
            let entry = std::mem::replace(&mut log.entries[offset], Entry::Hidden);
            if let (Entry::Open(record), true) = (entry, commit) {
                log.entries[offset] = Entry::Record(record);
            }
            marked[target] = true;
        }
        for (target, _) in marked.iter().enumerate().filter(|(_, marked)| **marked) {
            let log = state.logs.entry(self.targets[target].clone()).or_default();
            log.entries.push(Entry::Hidden);
        }
    }
}

impl RecordSink for MemorySink {
    fn set_targets(&mut self, targets: Vec<TopicPartition>) -> Result<(), KafkaError> {
        self.delivered = vec![Vec::new(); targets.len()];
        self.targets = targets;
        Ok(())
    }

    fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        assert_eq!(
            self.transactional,
            self.open.is_some(),
            "records are sent within transactions, or without them"
        );
        let mut state = self.cluster.lock();
        let log = state.logs.entry(self.targets[target].clone()).or_default();
        let offset = log.entries.len();
        let owned = OwnedRecord::copy(record);
        log.entries.push(match &mut self.open {
            Some(open) => {
                open.push((target, offset));
                Entry::Open(owned)
            }
            None => Entry::Record(owned),
        });
        let target_offset = i64::try_from(offset).expect("a small log");
        Delivered::append(&mut self.delivered[target], record.offset, target_offset);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), KafkaError> {
        Ok(())
    }

    fn take_delivered(&mut self, target: usize) -> Vec<Delivered> {
        std::mem::take(&mut self.delivered[target])
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        assert!(self.open.is_none(), "the previous transaction has ended");
        self.open = Some(Vec::new());
        Ok(())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), TransactionError> {
        let cluster = self.cluster.clone();
        let mut state = cluster.lock();
        let failed = || KafkaError::Other {
            doing: "commit a transaction".to_owned(),
            cause: "the test says so".to_owned(),
        };
        match state.commits.pop_front() {
            Some(CommitFailure::Again) => return Err(TransactionError::Again(failed())),
            Some(CommitFailure::Lost) => {
                // On a real cluster the next sink of this id does this, when it opens.
                self.end_transaction(&mut state, false);
                return Err(TransactionError::Lost(failed()));
            }
            Some(CommitFailure::Fenced) => {
                self.end_transaction(&mut state, false);
                self.fenced = true;
                return Err(TransactionError::Fenced(fenced()));
            }
            Some(CommitFailure::FencedAfterwards) => {
                self.end_transaction(&mut state, true);
                self.fenced = true;
            }
            None => self.end_transaction(&mut state, true),
        }
        for (group, positions) in positions {
            for position in positions {
                let partition = TopicPartition::new(&position.topic, position.partition);
                let key = (group.clone(), partition);
                state.committed.insert(key, position.committed.clone());
            }
        }
        match self.fenced {
            true => Err(TransactionError::Fenced(fenced())),
            false => Ok(()),
        }
    }

    fn abort(&mut self) -> Result<(), KafkaError> {
        if self.fenced {
            return Err(fenced());
        }
        let cluster = self.cluster.clone();
        self.end_transaction(&mut cluster.lock(), false);
        self.delivered.iter_mut().for_each(Vec::clear);
        Ok(())
    }
}
