//! Fetched batches: whole, checked, and not copied.

use bytes::Bytes;
use kbk_format::batch::{
    BatchDecoder, BatchHeader, CheckedBatch, CheckedBatches, ControlRecord, RecordBatch,
    frame_length,
};
use kbk_format::{ErrorClass, FormatError};

use super::protocol::{AbortedTransaction, Isolation};
use crate::kafka::partition::TopicPartition;

/// What one response has of one partition.
#[derive(Clone, Debug)]
pub struct FetchedBatches {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset from which it was read. The first batch may begin before it.
    pub position: i64,
    /// The offset from which to read next: one past the last that the batches cover.
    pub next_position: i64,
    /// One past the last offset that all replicas in sync have.
    pub high_watermark: i64,
    /// One past the last offset before which no transaction is open, where the broker says so.
    pub last_stable_offset: Option<i64>,
    /// The first offset in the log, where the broker says so.
    pub log_start_offset: Option<i64>,
    /// The leader epoch of the last batch so far, where it has one.
    pub leader_epoch: Option<i32>,
    pub(super) isolation: Isolation,
    pub(super) aborted: Vec<AbortedTransaction>,
    /// Whole batches whose checksums are still to be compared.
    pub(super) unchecked: Bytes,
    /// Those whose checksums match.
    pub(super) checked: CheckedBatches,
}

/// What a batch is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// Records.
    Data,
    /// Records of a transaction that was aborted, which `read_committed` does not show.
    Aborted,
    /// Markers of transactions, and others of Kafka's own, which nobody is shown.
    Control,
}

impl FetchedBatches {
    /// Returns the bytes of all batches. They share the memory of the response, which is free for the next one when the last of these is
    /// dropped.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        self.checked.bytes()
    }

    /// Returns the batches, and which of them are visible.
    ///
    /// # Errors
    ///
    /// Where a marker of a transaction cannot be read.
    pub fn batches(
        &self,
    ) -> impl Iterator<Item = Result<(CheckedBatch<'_>, BatchKind), FormatError>> {
        let mut visibility = Visibility::new(&self.aborted, self.isolation);
        self.checked.iter().map(move |batch| {
            let kind = visibility.kind(&batch)?;
            Ok((batch, kind))
        })
    }

    /// Returns the bytes of one of the batches, without a copy.
    ///
    /// # Panics
    ///
    /// Where it is a batch of something else.
    #[must_use]
    pub fn share(&self, batch: &RecordBatch<'_>) -> Bytes {
        self.bytes().slice_ref(batch.bytes())
    }
}

/// Decides which batches of a response belong to transactions that were aborted, as Kafka's consumer does.
///
/// A response lists all aborted transactions that its offsets may belong to, so nothing is remembered from one to the next.
struct Visibility {
    isolation: Isolation,
    /// Those whose first offset is still to come, the next one last.
    coming: Vec<AbortedTransaction>,
    /// Producers whose transaction is being skipped until its marker.
    skipped: Vec<i64>,
    decoder: BatchDecoder,
}

impl Visibility {
    fn new(aborted: &[AbortedTransaction], isolation: Isolation) -> Visibility {
        let mut coming = aborted.to_vec();
        coming.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Visibility {
            isolation,
            coming,
            skipped: Vec::new(),
            decoder: BatchDecoder::new(),
        }
    }

    fn kind(&mut self, batch: &RecordBatch<'_>) -> Result<BatchKind, FormatError> {
        let header = batch.header();
        let last_offset = header.last_offset;
        while let Some(next) = self.coming.pop_if(|next| next.first_offset <= last_offset) {
            self.skipped.push(next.producer_id);
        }
        if header.attributes.is_control() {
            let mut records = self.decoder.decode(batch)?;
            let marker = records
                .next()
                .and_then(|record| ControlRecord::read(&record));
            if marker == Some(ControlRecord::Abort) {
                self.skipped.retain(|id| *id != header.producer.id);
            }
            return Ok(BatchKind::Control);
        }
        let is_aborted = self.isolation == Isolation::ReadCommitted
            && header.attributes.is_transactional()
            && self.skipped.contains(&header.producer.id);
        Ok(if is_aborted {
            BatchKind::Aborted
        } else {
            BatchKind::Data
        })
    }
}

/// What the records of a response are, by the headers of its batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Bytes of whole batches, up to the first that is damaged.
    pub(super) whole_bytes: usize,
    /// The base offset of the first of them.
    pub(super) base_offset: Option<i64>,
    /// The last of them.
    pub(super) last: Option<BatchHeader>,
    /// Where there is no whole batch: bytes that the first one needs.
    pub(super) needed_bytes: Option<usize>,
    /// What is wrong with the next one. That it is cut off is normal: a broker fills a response to the byte.
    pub(super) damage: Option<FormatError>,
}

/// Finds the whole batches.
pub(super) fn walk(records: &[u8]) -> Walked {
    let mut walked = Walked::default();
    loop {
        match walked.next(records) {
            Ok(Some((header, length))) => {
                walked.base_offset.get_or_insert(header.base_offset);
                walked.last = Some(header);
                walked.whole_bytes += length;
            }
            Ok(None) => return walked,
            Err(damage) => {
                walked.damage = Some(damage);
                return walked;
            }
        }
    }
}

impl Walked {
    /// Reads the header of the next whole batch, and its length.
    fn next(&mut self, records: &[u8]) -> Result<Option<(BatchHeader, usize)>, FormatError> {
        let position = self.whole_bytes as u64;
        let rest = records.get(self.whole_bytes..).unwrap_or_default();
        let Some(length) = frame_length(rest, position)? else {
            return Ok(None);
        };
        let Some(batch) = rest.get(..length) else {
            self.needed_bytes = self.last.is_none().then_some(length);
            return Ok(None);
        };
        let header = BatchHeader::parse(batch, position)?;
        if let Some(before) = self
            .last
            .filter(|last| last.last_offset >= header.base_offset)
        {
            let detail = format!(
                "base offset {} after a batch that ends with offset {}",
                header.base_offset, before.last_offset
            );
            let class = ErrorClass::Inconsistent;
            return Err(FormatError::new(class, "record batch", position, detail));
        }
        Ok(Some((header, length)))
    }
}

impl FetchedBatches {
    /// Compares the checksum of each batch. Keeps those before the first that does not match, and returns what is wrong with that one.
    pub(super) fn keep_intact(&mut self) -> Option<FormatError> {
        let (checked, damage) = CheckedBatches::check(std::mem::take(&mut self.unchecked));
        self.checked = checked;
        if damage.is_some() {
            let last = self.checked.iter().last().map(|batch| *batch.header());
            let end = last.map_or(self.position, |last| last.last_offset + 1);
            self.next_position = end.max(self.position);
            let epoch = last.map(|last| last.leader_epoch);
            self.leader_epoch = epoch.filter(|epoch| *epoch >= 0);
        }
        damage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kbk_format::batch::{BatchBuilder, BatchOptions};
    use kbk_format::{Headers, Record};

    fn batch(offsets: std::ops::Range<i64>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for offset in offsets.clone() {
            builder
                .push(&Record {
                    offset,
                    timestamp: offset,
                    control: false,
                    key: None,
                    value: Some(b"value"),
                    headers: Headers::EMPTY,
                })
                .unwrap();
        }
        let mut bytes = Vec::new();
        builder.finish(offsets.end - 1, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_last_batch_that_is_cut_off_is_left_out() {
        let (one, two) = (batch(0..10), batch(10..30));
        let both = [one.as_slice(), &two].concat();
        for cut in 0..=both.len() {
            let walked = walk(&both[..cut]);
            assert_eq!(walked.damage, None);
            let (whole, last) = match cut {
                _ if cut == both.len() => (both.len(), Some(29)),
                _ if cut >= one.len() => (one.len(), Some(9)),
                _ => (0, None),
            };
            assert_eq!(walked.whole_bytes, whole);
            assert_eq!(walked.last.map(|header| header.last_offset), last);
            let needed = (cut < one.len() && cut >= 17).then_some(one.len());
            assert_eq!(walked.needed_bytes, needed, "{cut}");
        }
    }

    #[test]
    fn batches_that_do_not_ascend_are_refused() {
        let twice = [batch(0..10), batch(9..12)].concat();
        let walked = walk(&twice);
        assert_eq!(walked.damage.unwrap().class, ErrorClass::Inconsistent);
        assert_eq!(walked.last.unwrap().last_offset, 9);
    }

    fn fetched(bytes: Vec<u8>) -> FetchedBatches {
        FetchedBatches {
            partition: TopicPartition::new("t", kbk_format::PartitionNumber::ZERO),
            position: 2,
            next_position: 30,
            high_watermark: 30,
            last_stable_offset: Some(30),
            log_start_offset: Some(0),
            leader_epoch: Some(3),
            isolation: Isolation::ReadCommitted,
            aborted: Vec::new(),
            unchecked: Bytes::from(bytes),
            checked: CheckedBatches::default(),
        }
    }

    #[test]
    fn a_flipped_bit_is_found_and_the_batches_before_it_are_kept() {
        let (one, two) = (batch(0..10), batch(10..30));
        let both = [one.as_slice(), &two].concat();
        let mut whole = fetched(both.clone());
        assert_eq!(whole.keep_intact(), None);
        assert_eq!((whole.bytes().len(), whole.next_position), (both.len(), 30));
        for at in (17..one.len()).chain(one.len() + 17..both.len()) {
            let mut damaged = both.clone();
            damaged[at] ^= 4;
            let mut kept = fetched(damaged);
            assert!(kept.keep_intact().is_some(), "byte {at}");
            let (bytes, position) = match at < one.len() {
                true => (&[][..], 2),
                false => (&one[..], 10),
            };
            assert_eq!((&kept.bytes()[..], kept.next_position), (bytes, position));
        }
    }

    /// A batch of a transaction, or a marker, of one record.
    fn of(producer: i64, offset: i64, attributes: i16, key: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0];
        body.push(u8::try_from(key.len()).unwrap() * 2);
        body.extend(key);
        body.extend([1, 0]);
        let mut record = vec![u8::try_from(body.len()).unwrap() * 2];
        record.extend(body);
        let mut checked = attributes.to_be_bytes().to_vec();
        checked.extend(0_i32.to_be_bytes());
        checked.extend([0; 16]);
        checked.extend(producer.to_be_bytes());
        checked.extend([0; 6]);
        checked.extend(1_i32.to_be_bytes());
        checked.extend(record);
        let mut rest = 3_i32.to_be_bytes().to_vec();
        rest.push(2);
        rest.extend(crc32c::crc32c(&checked).to_be_bytes());
        rest.extend(checked);
        let mut batch = offset.to_be_bytes().to_vec();
        batch.extend(i32::try_from(rest.len()).unwrap().to_be_bytes());
        batch.extend(rest);
        batch
    }

    const TRANSACTIONAL: i16 = 0x10;
    const MARKER: i16 = 0x30;
    const ABORT: [u8; 4] = [0, 0, 0, 0];
    const COMMIT: [u8; 4] = [0, 0, 0, 1];

    fn kinds(isolation: Isolation, aborted: &[(i64, i64)], log: &[Vec<u8>]) -> Vec<BatchKind> {
        let aborted = aborted
            .iter()
            .map(|(producer_id, first_offset)| AbortedTransaction {
                producer_id: *producer_id,
                first_offset: *first_offset,
            });
        let mut fetched = FetchedBatches {
            isolation,
            aborted: aborted.collect(),
            ..fetched(log.concat())
        };
        assert_eq!(fetched.keep_intact(), None);
        fetched.batches().map(|batch| batch.unwrap().1).collect()
    }

    #[test]
    fn aborted_transactions_are_skipped_up_to_their_markers() {
        use BatchKind::{Aborted, Control, Data};
        let log = [
            of(7, 0, TRANSACTIONAL, b"aborted"),
            of(8, 1, TRANSACTIONAL, b"committed"),
            of(7, 2, TRANSACTIONAL, b"aborted"),
            of(9, 3, 0, b"outside"),
            of(7, 4, MARKER, &ABORT),
            of(7, 5, TRANSACTIONAL, b"the next transaction, committed"),
            of(8, 6, MARKER, &COMMIT),
            of(7, 7, MARKER, &COMMIT),
            of(7, 8, TRANSACTIONAL, b"aborted, and its marker is not here"),
        ];
        let aborted = [(7, 8), (7, 0)];
        let expected = [
            Aborted, Data, Aborted, Data, Control, Data, Control, Control, Aborted,
        ];
        assert_eq!(kinds(Isolation::ReadCommitted, &aborted, &log), expected);
        let all = kinds(Isolation::ReadUncommitted, &aborted, &log);
        assert!(!all.contains(&Aborted));
    }

    #[test]
    fn bytes_of_a_batch_are_shared() {
        let mut fetched = fetched(batch(0..5));
        assert_eq!(
            fetched.batches().count(),
            0,
            "what is not checked is not lent"
        );
        fetched.keep_intact();
        let at = fetched.bytes().as_ptr();
        let (batch, _) = fetched.batches().next().unwrap().unwrap();
        assert_eq!(fetched.share(&batch).as_ptr(), at);
    }
}
