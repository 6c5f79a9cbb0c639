//! Sends what is read: records, and batches of the backup as they are.

use std::time::Instant;

use kbk_format::Record;
use kbk_tools::{StoredBatch, StoredBatches};

use super::{Stopped, Writer};
use crate::records::{BatchCodec, RecordSink, Transport};
use crate::restore::write::work::Route;

/// How much was read.
#[derive(Default)]
pub(super) struct Amount {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Amount {
    fn add(&mut self, records: u64, bytes: usize) {
        self.records += records;
        self.bytes += bytes as u64;
    }
}

impl<T: Transport> Writer<'_, T> {
    /// Writes the records of a block or of a batch with this codec.
    pub(super) fn write_records<'r>(
        &mut self,
        records: impl Iterator<Item = Record<'r>>,
        codec: Option<BatchCodec>,
        read: &mut Amount,
    ) -> Result<(), Stopped> {
        for record in records {
            let sent = self.send(&record, codec)?;
            read.add(1, sent);
            self.throttle(sent, 1)?;
            if self.is_full() {
                self.commit()?;
            }
            // At a low rate limit a block takes too long to react to a signal.
            if self.shared.throttle.is_some() && self.shared.halt.is_set() {
                break;
            }
        }
        Ok(())
    }

    /// Writes the batches of a block: as they are where that is possible, by record otherwise.
    pub(super) fn write_batches(
        &mut self,
        mut batches: StoredBatches<'_>,
        read: &mut Amount,
    ) -> Result<(), Stopped> {
        while let Some(batch) = batches.next()? {
            if self.send_batch(&batch)? {
                let records = batch.batch().header().record_count.unwrap_or_default();
                let bytes = batch.batch().bytes().len();
                read.add(u64::from(records), bytes);
                self.throttle(bytes, u64::from(records))?;
                if self.is_full() || self.is_late() {
                    self.commit()?;
                }
            } else {
                let codec = batch.batch().header().attributes.codec();
                let mut decoder = std::mem::take(&mut self.decoder);
                let written = match batch.records(&mut decoder) {
                    Ok(records) => self.write_records(records, codec, read),
                    Err(error) => Err(error.into()),
                };
                self.decoder = decoder;
                written?;
            }
            if self.shared.throttle.is_some() && self.shared.halt.is_set() {
                break;
            }
        }
        Ok(())
    }

    /// Begins a transaction, unless one is open.
    fn begin(&mut self) -> Result<(), Stopped> {
        if self.since.is_none() {
            if self.is_transactional() {
                self.producer.begin()?;
            }
            self.since = Some(Instant::now());
        }
        Ok(())
    }

    /// Sends a batch of the last job as it is. Returns `false`, and does nothing, where its records have to be sent one by one.
    fn send_batch(&mut self, batch: &StoredBatch<'_>) -> Result<bool, Stopped> {
        let job = self.jobs.last_mut();
        let job = job.expect("records are sent only while their job is in the transaction");
        let Route::One(target) = job.route else {
            return Ok(false);
        };
        if !batch.is_whole() || !self.shared.drop_headers.is_empty() {
            return Ok(false);
        }
        self.begin()?;
        let sent = self
            .producer
            .send_batch(target, batch.batch(), || batch.bytes());
        match sent {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return Err(self.judge(error)),
        }
        let header = batch.batch().header();
        let records = u64::from(header.record_count.unwrap_or_default());
        let (first, end) = (header.base_offset, header.last_offset.saturating_add(1));
        self.sent(first, end, (records, batch.batch().bytes().len()));
        Ok(true)
    }

    /// Sends a record of the last job, and returns its payload bytes.
    fn send(&mut self, record: &Record<'_>, codec: Option<BatchCodec>) -> Result<usize, Stopped> {
        self.begin()?;
        let job = self.jobs.last_mut();
        let job = job.expect("records are sent only while their job is in the transaction");
        let target = job.route.target(record.key);
        let send = |record: &Record<'_>, dropped| {
            let sent = self.producer.send_as(target, record, codec);
            sent.map(|()| (record.payload_len(), dropped))
        };
        let (bytes, dropped) = match self.shared.drop_headers.apply(record, send) {
            Ok(sent) => sent,
            Err(error) => return Err(self.judge(error)),
        };
        self.sent(record.offset, record.offset + 1, (1, bytes));
        self.dropped_headers += dropped;
        Ok(bytes)
    }

    /// Counts what was sent of the last job: the records from offset `first` on, below `end`.
    fn sent(&mut self, first: i64, end: i64, (records, bytes): (u64, usize)) {
        let Some(job) = self.jobs.last_mut() else {
            return;
        };
        if job.route.is_shared() || first != job.sent || job.uncommitted == 0 {
            self.runs += 1;
        }
        job.sent = end;
        job.uncommitted += records;
        job.uncommitted_bytes += bytes as u64;
        self.bytes += bytes;
        self.sends += 1;
    }
}
