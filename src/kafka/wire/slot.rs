//! The batches of one partition on their way: in order, each with the sequence numbers by which the broker knows it.
//!
//! Up to five batches of a partition are under way. Where one fails, those after it fail as well, since the broker expects its sequence
//! number first: then the partition waits until the last of them is answered, and sends all that is not in the log again, in order. The
//! broker recognises a batch that it has already, by its sequence number, and answers with the offset that it has.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::batch::{Adoption, HEADER_LENGTH, Producer};
use kbk_format::{ErrorClass, FormatError};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::lane::Parcel;
use super::protocol::{ProducerIdentity, TopicId};
use crate::kafka::delivered::Delivered;
use crate::kafka::partition::TopicPartition;

/// How far batches may be ahead of the first one that is not acknowledged: a broker recognises as many as it has already. Those after one
/// that failed may be in the log, and further ones would make the broker forget it.
pub(super) const MOST_UNDER_WAY: usize = 5;

/// Consecutive source offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceRun {
    pub(super) first: i64,
    pub(super) records: u32,
}

/// A batch to produce, as it is but for its producer's fields.
#[derive(Clone, Debug)]
pub(super) struct OutgoingBatch {
    pub(super) header: [u8; HEADER_LENGTH],
    /// Everything after the header.
    pub(super) records: Bytes,
    /// The source offsets of its records, in order.
    pub(super) sources: Vec<SourceRun>,
}

impl OutgoingBatch {
    /// Takes a whole batch, of which only the header is copied.
    pub(super) fn new(
        batch: &Bytes,
        sources: Vec<SourceRun>,
    ) -> Result<OutgoingBatch, FormatError> {
        let header = batch.first_chunk::<HEADER_LENGTH>().copied();
        let header = header.ok_or_else(|| {
            let detail = format!("{} bytes are no batch", batch.len());
            FormatError::new(ErrorClass::Truncated, "record batch", 0, detail)
        })?;
        Ok(OutgoingBatch {
            header,
            records: batch.slice(HEADER_LENGTH..),
            sources,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        HEADER_LENGTH + self.records.len()
    }

    fn count(&self) -> u32 {
        self.sources.iter().map(|run| run.records).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
    /// In the log, while one before it is not.
    Appended(Option<i64>),
}

#[derive(Debug)]
struct Queued {
    batch: OutgoingBatch,
    base_sequence: i32,
    state: State,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: Arc<TopicPartition>,
    /// By which a topic that was created again is known.
    pub(super) topic_id: Option<TopicId>,
    /// Whether the open transaction has it.
    pub(super) in_transaction: bool,
    /// Not before this is anything sent.
    pub(super) retry_at: Option<Instant>,
    pub(super) unknown_since: Option<Instant>,
    pub(super) backoff: Backoff,
    next_sequence: i32,
    queued: VecDeque<Queued>,
    under_way: usize,
    /// Where they are under way to.
    broker: i32,
    /// Whether a batch has to be sent again, once none is under way.
    rewinds: bool,
    delivered: Vec<Delivered>,
}

impl Slot {
    pub(super) fn new(partition: TopicPartition, backoff: Backoff) -> Slot {
        Slot {
            partition: Arc::new(partition),
            topic_id: None,
            in_transaction: false,
            retry_at: None,
            unknown_since: None,
            backoff,
            next_sequence: 0,
            queued: VecDeque::new(),
            under_way: 0,
            broker: -1,
            rewinds: false,
            delivered: Vec::new(),
        }
    }

    /// Queues a batch, with the next sequence numbers.
    pub(super) fn push(
        &mut self,
        mut batch: OutgoingBatch,
        identity: ProducerIdentity,
        transactional: bool,
    ) -> Result<(), FormatError> {
        let base_sequence = self.next_sequence;
        let adoption = Adoption {
            base_offset: Some(0),
            leader_epoch: Some(-1),
            producer: Some(Producer {
                id: identity.id,
                epoch: identity.epoch,
                base_sequence,
            }),
            transactional: Some(transactional),
            clear_delete_horizon: true,
        };
        adoption.apply(&mut batch.header, 0)?;
        // After the largest comes 0, as in Kafka.
        let count = batch.count().cast_signed();
        self.next_sequence = base_sequence.wrapping_add(count) & i32::MAX;
        self.queued.push_back(Queued {
            batch,
            base_sequence,
            state: State::Waiting,
        });
        Ok(())
    }

    /// Whether a batch may be sent now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let is_due = self.retry_at.is_none_or(|at| at <= now);
        is_due && !self.rewinds && self.has_waiting()
    }

    /// Whether a batch is neither sent nor in the log, and near enough to the first one that is not acknowledged.
    pub(super) fn has_waiting(&self) -> bool {
        self.first_waiting().is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queued.is_empty()
    }

    /// Records that are not acknowledged.
    pub(super) fn outstanding(&self) -> u64 {
        self.queued
            .iter()
            .map(|queued| u64::from(queued.batch.count()))
            .sum()
    }

    fn first_waiting(&self) -> Option<&Queued> {
        let mut all = self.queued.iter().take(MOST_UNDER_WAY);
        all.find(|queued| queued.state == State::Waiting)
    }

    /// Returns the size of the batch that would be sent next.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        self.first_waiting().map(|queued| queued.batch.bytes())
    }

    /// Whether batches may be sent to this broker: not while others are under way to another one, whose answers would come in any order.
    pub(super) fn may_go_to(&self, broker: i32) -> bool {
        self.under_way == 0 || self.broker == broker
    }

    /// Takes a copy of the next batch to send to a broker: its records are shared.
    pub(super) fn send(&mut self, slot: usize, broker: i32) -> Option<Parcel> {
        let mut all = self.queued.iter_mut().take(MOST_UNDER_WAY);
        let next = all.find(|queued| queued.state == State::Waiting)?;
        next.state = State::Sent;
        self.under_way += 1;
        self.broker = broker;
        self.retry_at = None;
        Some(Parcel {
            slot,
            partition: Arc::clone(&self.partition),
            topic_id: self.topic_id,
            header: next.batch.header,
            records: next.batch.records.clone(),
        })
    }

    /// Notes that the first batch under way is in the log, at this offset. Returns the bytes that are acknowledged.
    pub(super) fn appended(&mut self, offset: Option<i64>) -> usize {
        self.answer(State::Appended(offset));
        self.backoff.reset();
        self.unknown_since = None;
        let mut bytes = 0;
        while let Some(first) = self.queued.front() {
            let State::Appended(offset) = first.state else {
                break;
            };
            let mut next_offset = offset;
            for run in &first.batch.sources {
                let records = i64::from(run.records);
                Delivered::append_run(
                    &mut self.delivered,
                    Delivered {
                        source_offset: run.first,
                        // Nobody knows it.
                        target_offset: next_offset.unwrap_or(-1),
                        records: u64::from(run.records),
                    },
                );
                next_offset = next_offset.map(|offset| offset + records);
            }
            bytes += first.batch.bytes();
            self.queued.pop_front();
        }
        bytes
    }

    /// Notes that the first batch under way is not known to be in the log, and has to be sent again with all after it.
    pub(super) fn failed(&mut self) {
        self.answer(State::Waiting);
        self.rewinds = self.under_way > 0;
    }

    /// Whether the first batch under way is the first of all that are not in the log: the broker had no reason to expect another.
    pub(super) fn is_first(&self) -> bool {
        let mut all = self.queued.iter();
        let open = all.find(|queued| !matches!(queued.state, State::Appended(_)));
        open.is_some_and(|open| open.state == State::Sent)
    }

    /// Gives the first batch under way another state.
    fn answer(&mut self, state: State) {
        self.under_way = self.under_way.saturating_sub(1);
        let mut sent = self.queued.iter_mut();
        if let Some(sent) = sent.find(|queued| queued.state == State::Sent) {
            sent.state = state;
        }
        if self.under_way == 0 {
            self.rewinds = false;
        }
    }

    /// Returns the source offset of a record of the first batch under way, counted from 0, and the size of the batch; of the first one where
    /// none is under way.
    pub(super) fn blame(&self, record: Option<i32>) -> (i64, usize) {
        let mut sent = self.queued.iter();
        let sent = sent.find(|queued| queued.state == State::Sent);
        let Some(sent) = sent.or_else(|| self.queued.front()) else {
            return (-1, 0);
        };
        let mut left = u32::try_from(record.unwrap_or(0)).unwrap_or(0);
        let mut found = -1;
        for run in &sent.batch.sources {
            found = run.first + i64::from(left.min(run.records.saturating_sub(1)));
            if left < run.records {
                break;
            }
            left -= run.records;
        }
        (found, sent.batch.bytes())
    }

    /// Returns what was acknowledged since the last call.
    pub(super) fn take_delivered(&mut self) -> Vec<Delivered> {
        std::mem::take(&mut self.delivered)
    }

    /// Drops what was not sent. Sequence numbers continue after what was. Returns the bytes that are dropped.
    pub(super) fn drop_waiting(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(last) = self.queued.back() {
            if last.state != State::Waiting {
                break;
            }
            self.next_sequence = last.base_sequence;
            bytes += last.batch.bytes();
            self.queued.pop_back();
        }
        bytes
    }

    /// Forgets everything of a transaction that is over. Returns the bytes of batches of which nobody knows whether they are in the log.
    pub(super) fn forget(&mut self) -> usize {
        let bytes = self.queued.iter().map(|queued| queued.batch.bytes()).sum();
        self.queued.clear();
        self.delivered.clear();
        self.under_way = 0;
        self.rewinds = false;
        self.retry_at = None;
        self.in_transaction = false;
        bytes
    }

    /// Begins with sequence number 0, under another identity.
    pub(super) fn restart(&mut self) {
        self.next_sequence = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kbk_format::PartitionNumber;
    use kbk_format::batch::{BatchBuilder, BatchOptions, RecordBatch};
    use kbk_format::record::{Headers, Record};

    use super::*;

    /// A slot with batches of two records each.
    fn slot(batches: i64) -> Slot {
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
        let mut slot = Slot::new(TopicPartition::new("t", PartitionNumber::ZERO), backoff);
        for number in 0..batches {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            for offset in 0..2 {
                let record = Record {
                    offset,
                    timestamp: 7,
                    control: false,
                    key: None,
                    value: Some(b"value"),
                    headers: Headers::EMPTY,
                };
                builder.push(&record).unwrap();
            }
            let mut batch = Vec::new();
            builder.finish(1, &mut batch).unwrap();
            let sources = vec![SourceRun {
                first: 100 + 2 * number,
                records: 2,
            }];
            let batch = OutgoingBatch::new(&Bytes::from(batch), sources).unwrap();
            let identity = ProducerIdentity { id: 9, epoch: 1 };
            slot.push(batch, identity, true).unwrap();
        }
        slot
    }

    /// Sends all that may be sent, and returns the sequence numbers.
    fn sent(slot: &mut Slot) -> Vec<i32> {
        let mut sequences = Vec::new();
        while slot.is_ready(Instant::now())
            && let Some(parcel) = slot.send(0, 1)
        {
            let whole = [&parcel.header[..], &parcel.records].concat();
            let batch = RecordBatch::parse(&whole, 0).unwrap();
            batch.check_crc().unwrap();
            let producer = batch.header().producer;
            assert_eq!((producer.id, producer.epoch), (9, 1));
            assert!(batch.header().attributes.is_transactional());
            sequences.push(producer.base_sequence);
        }
        sequences
    }

    #[test]
    fn no_batch_is_sent_that_would_make_the_broker_forget_one_that_failed() {
        let mut slot = slot(8);
        assert_eq!(sent(&mut slot), [0, 2, 4, 6, 8]);
        // The first one is in the log, and nobody knows; the others are.
        slot.failed();
        assert_eq!(sent(&mut slot), [0; 0], "four are under way");
        for offset in [2, 4, 6, 8] {
            slot.appended(Some(offset));
        }
        assert_eq!(slot.take_delivered(), []);
        assert_eq!(sent(&mut slot), [0], "with the number that it had");
        assert!(slot.is_first());
        slot.appended(Some(0));
        let all = Delivered {
            source_offset: 100,
            target_offset: 0,
            records: 10,
        };
        assert_eq!(slot.take_delivered(), [all]);
        assert_eq!(sent(&mut slot), [10, 12, 14]);
    }

    #[test]
    fn batches_after_one_that_failed_are_sent_again_in_order() {
        let mut slot = slot(3);
        assert_eq!(sent(&mut slot), [0, 2, 4]);
        slot.failed();
        assert!(!slot.is_first(), "the second one has an excuse");
        slot.failed();
        slot.failed();
        assert_eq!(sent(&mut slot), [0, 2, 4]);
        assert_eq!(slot.blame(Some(1)).0, 101);
    }

    #[test]
    fn what_was_not_sent_takes_no_sequence_number() {
        let mut slot = slot(2);
        slot.send(0, 1).unwrap();
        assert!(slot.may_go_to(1) && !slot.may_go_to(2));
        slot.drop_waiting();
        slot.appended(None);
        assert!(slot.may_go_to(2));
        assert!(slot.is_idle());
        let unknown = Delivered {
            source_offset: 100,
            target_offset: -1,
            records: 2,
        };
        assert_eq!(slot.take_delivered(), [unknown]);
        assert_eq!(slot.next_sequence, 2);
    }
}
