//! One producer's share of a restore: partitions read from the backup and written, a transaction at a time.
//!
//! A transaction holds records of one partition or of many. Its order of steps is that of SPEC section 11.7: records
//! acknowledged, pages of the offset map durable, positions and records committed; only then do they count. Whatever ends it
//! before that ends all of it, and its partitions are read again from where the last one left them.
//!
//! Without transactions the same steps are taken, but for the commit: what a process that is killed leaves can then not be
//! told from what it should have left.

use std::thread;
use std::time::{Duration, Instant};

use kbk_format::repo::{Digest, MapRun, OffsetAndMetadata, RepoError, Repository, RestoreManifest};
use kbk_format::{Record, Streams};
use tokio::runtime::Handle;

use crate::records::{
    KafkaError, OffsetCommit, Positions, RecordSink, TransactionError, Transport,
};
use crate::restore::apply::RestoreError;
use crate::restore::write::offset_map::Extended;
use crate::restore::write::producers::Producers;
use crate::restore::write::rate::Throttle;
use crate::restore::write::work::{Job, Work};
use crate::run::Cancel;

/// Bytes of records in a transaction. Committing takes some round trips and a flush of the disk, in which nothing is sent.
const TRANSACTION_BYTES: usize = 64 << 20;
/// How long one may be open: well below its timeout, so that a slow cluster does not run into that.
const TRANSACTION_TIME: Duration = Duration::from_secs(10);
/// Records in one, where each may be a run of the offset map by itself: some pages.
const TRANSACTION_RUNS: u32 = 1 << 16;
/// Partitions in one.
const TRANSACTION_PARTITIONS: usize = 256;
/// How long the last records may take to be acknowledged.
const FLUSH_PATIENCE: Duration = Duration::from_secs(600);
/// So many transactions in a row that had to be aborted are no passing trouble.
const MOST_ABORTS: u32 = 8;
/// What stands before a page's digest in the metadata of a committed position (SPEC section 11.7).
const METADATA_PREFIX: &str = "kbk1:";

/// What all writers of a restore have in common.
pub(crate) struct Shared<'a> {
    pub(crate) work: &'a Work,
    pub(crate) repository: &'a Repository,
    pub(crate) restore: &'a RestoreManifest,
    /// Whether the repository keeps the map.
    pub(crate) keep_map: bool,
    pub(crate) throttle: Option<Throttle>,
    pub(crate) cancel: &'a Cancel,
    pub(crate) runtime: &'a Handle,
}

/// A writer with its producer.
pub(crate) struct Writer<'a, T: Transport> {
    shared: &'a Shared<'a>,
    producers: &'a Producers<'a, T>,
    /// Of its producer.
    number: usize,
    producer: T::Sink,
    /// Partitions with records in the open transaction; the last one may be read further.
    jobs: Vec<Job>,
    /// When the open transaction began, if one is open.
    since: Option<Instant>,
    bytes: usize,
    sends: u32,
    aborts: u32,
}

/// Why a transaction was not committed.
enum Stopped {
    /// It may be tried again.
    Again(KafkaError),
    /// The same, with another producer.
    Lost(KafkaError),
    Failed(RestoreError),
}

impl From<TransactionError> for Stopped {
    fn from(error: TransactionError) -> Stopped {
        match error {
            TransactionError::Again(error) => Stopped::Again(error),
            TransactionError::Lost(error) => Stopped::Lost(error),
            TransactionError::Failed(error) => Stopped::Failed(error.into()),
        }
    }
}

impl From<RepoError> for Stopped {
    fn from(error: RepoError) -> Stopped {
        Stopped::Failed(error.into())
    }
}

impl<'a, T: Transport> Writer<'a, T> {
    pub(crate) fn new(
        shared: &'a Shared<'a>,
        producers: &'a Producers<'a, T>,
        number: usize,
        producer: T::Sink,
    ) -> Writer<'a, T> {
        Writer {
            shared,
            producers,
            number,
            producer,
            jobs: Vec::new(),
            since: None,
            bytes: 0,
            sends: 0,
            aborts: 0,
        }
    }

    /// Writes until no partition waits or a signal comes. What was sent is committed then.
    pub(crate) fn run(mut self) -> Result<(), RestoreError> {
        loop {
            let job = match self.shared.cancel.is_set() {
                true => None,
                false => self.shared.work.next(),
            };
            let step = match job {
                Some(job) => self.write(job),
                None if self.jobs.is_empty() => return Ok(()),
                None => self.commit().map(|()| self.stop()),
            };
            match step {
                Ok(()) => {}
                Err(Stopped::Again(error)) => {
                    self.start_over(error, |writer| Ok(writer.producer.abort()?))?
                }
                Err(Stopped::Lost(error)) => self.start_over(error, |writer| {
                    writer.producer = writer.producers.replace(writer.number)?;
                    Ok(())
                })?,
                Err(Stopped::Failed(error)) => {
                    self.give_up();
                    return Err(error);
                }
            }
        }
    }

    fn write(&mut self, job: Job) -> Result<(), Stopped> {
        let plan = job.plan.read.clone().from_offset(job.position);
        let mut reader = plan.read(Streams::All, self.shared.runtime);
        self.jobs.push(job);
        while let Some(batch) = self.shared.runtime.block_on(reader.next())? {
            let (mut records, mut bytes) = (0, 0);
            for record in batch.records() {
                bytes += self.send(&record)?;
                records += 1;
                self.keep_to_limit(&record)?;
                if self.is_full() {
                    self.commit()?;
                }
                // Where writing is slow, a block takes too long for somebody who asks to stop.
                if self.shared.throttle.is_some() && self.shared.cancel.is_set() {
                    break;
                }
            }
            if let Some(Job {
                events: Some(events),
                ..
            }) = self.jobs.last()
            {
                events.advanced(records, bytes as u64);
            }
            if self.shared.cancel.is_set() {
                return Ok(());
            }
        }
        if let Some(job) = self.jobs.last_mut() {
            job.sent = job.plan.end_offset.max(job.sent);
            job.finished = true;
            if job.route.is_shared() {
                // The next one writes to the same targets, whose reports do not say which it was.
                self.flush()?;
                self.gather(self.jobs.len() - 1);
            }
        }
        if self.jobs.len() >= TRANSACTION_PARTITIONS {
            self.commit()?;
        }
        Ok(())
    }

    /// Sends a record of the last job, and says how many bytes it has.
    fn send(&mut self, record: &Record<'_>) -> Result<usize, Stopped> {
        if self.since.is_none() {
            if self.is_transactional() {
                self.producer.begin()?;
            }
            self.since = Some(Instant::now());
        }
        let Some(job) = self.jobs.last_mut() else {
            return Ok(0);
        };
        if let Err(error) = self.producer.send(job.route.target(record.key), record) {
            return Err(self.judge(error));
        }
        job.sent = record.offset + 1;
        job.uncommitted += 1;
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.bytes += bytes;
        self.sends += 1;
        Ok(bytes)
    }

    /// Waits, behind a record that was sent, where writing would be faster than it may be. A transaction does not stay open
    /// for it longer than for anything else.
    fn keep_to_limit(&mut self, record: &Record<'_>) -> Result<(), Stopped> {
        const SLICE: Duration = Duration::from_millis(100);
        let Some(throttle) = &self.shared.throttle else {
            return Ok(());
        };
        let mut left = throttle.take(payload_bytes(record), Instant::now());
        while !left.is_zero() && !self.shared.cancel.is_set() {
            let slice = left.min(SLICE);
            thread::sleep(slice);
            left -= slice;
            if self.is_late() {
                self.commit()?;
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        const LOOK_EVERY: u32 = 256;
        let scattered = self.jobs.last().is_some_and(|job| job.route.is_shared());
        self.bytes >= TRANSACTION_BYTES
            || (scattered && self.sends >= TRANSACTION_RUNS)
            || (self.sends.is_multiple_of(LOOK_EVERY) && self.is_late())
    }

    fn is_late(&self) -> bool {
        let open_since = self.since;
        open_since.is_some_and(|since| since.elapsed() >= TRANSACTION_TIME)
    }

    fn is_transactional(&self) -> bool {
        self.shared.restore.producers > 0
    }

    fn judge(&self, error: KafkaError) -> Stopped {
        if self.is_transactional() {
            self.producer.judge(error).into()
        } else {
            Stopped::Failed(error.into())
        }
    }

    /// The steps of SPEC section 11.7, in its order.
    fn commit(&mut self) -> Result<(), Stopped> {
        if self.since.is_none() {
            // Nothing was sent since the last commit: the pages that it names stay those that count.
            self.committed();
            return Ok(());
        }
        self.flush()?;
        let mut extended = Vec::with_capacity(self.jobs.len());
        for index in 0..self.jobs.len() {
            extended.push(self.extend_map(index)?);
        }
        self.write_pages(&extended)?;
        if self.is_transactional() {
            let mut positions = Positions::new();
            for (job, extended) in self.jobs.iter().zip(&extended) {
                let group = job.committed_at.group.clone();
                let positions = positions.entry(group).or_default();
                positions.push(position(job, extended));
            }
            self.producer.commit(&positions)?;
        }
        let replaced = extended.iter().filter_map(|extended| extended.replaced);
        let replaced: Vec<Digest> = replaced.collect();
        for (job, extended) in self.jobs.iter_mut().zip(extended) {
            job.map = extended.map;
        }
        self.committed();
        self.remove_pages(&replaced);
        Ok(())
    }

    fn write_pages(&self, extended: &[Extended]) -> Result<(), RepoError> {
        if !self.shared.keep_map {
            return Ok(());
        }
        let pages = extended.iter().flat_map(|extended| &extended.pages);
        let pages: Vec<_> = pages.cloned().collect();
        let written = self.shared.repository.write_map_pages(&pages);
        self.shared.runtime.block_on(written).map(drop)
    }

    fn remove_pages(&self, pages: &[Digest]) {
        let restore = &self.shared.restore.restore;
        let removed = self.shared.repository.remove_map_pages(restore, pages);
        if self.shared.keep_map
            && let Err(error) = self.shared.runtime.block_on(removed)
        {
            tracing::debug!("a page that is not needed any more stays: {error}");
        }
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        let flushed = self.producer.flush(FLUSH_PATIENCE);
        flushed.map_err(|error| self.judge(error))
    }

    /// Takes where the records of a job went, which all are acknowledged.
    fn gather(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        for target in job.route.targets() {
            let partition = self.shared.work.targets[target].partition;
            let delivered = self.producer.take_delivered(target).into_iter();
            job.runs.extend(delivered.map(|run| MapRun {
                source_offset: run.source_offset,
                target_partition: partition,
                target_offset: run.target_offset,
                records: run.records,
            }));
        }
        job.runs.sort_unstable_by_key(|run| run.source_offset);
    }

    /// What the map of a job becomes by this transaction, if every record has its offset.
    fn extend_map(&mut self, index: usize) -> Result<Extended, Stopped> {
        // One that shares its targets has been asked about when it ended.
        if !(self.jobs[index].route.is_shared() && self.jobs[index].finished) {
            self.gather(index);
        }
        let job = &self.jobs[index];
        let records: u64 = job.runs.iter().map(|run| run.records).sum();
        let known = job.runs.iter().all(|run| run.target_offset >= 0);
        if records != job.uncommitted || !known {
            let error = KafkaError::Other {
                doing: format!("learn where the records of {} went", job.place()),
                cause: format!(
                    "{} were sent, and {records} reported on{}",
                    job.uncommitted,
                    if known {
                        ""
                    } else {
                        ", not all with an offset"
                    }
                ),
            };
            return Err(match self.is_transactional() {
                true => Stopped::Again(error),
                false => Stopped::Failed(error.into()),
            });
        }
        Ok(job.map.extend(job.plan.base_offset, job.sent, &job.runs))
    }

    /// From here on it counts.
    fn committed(&mut self) {
        for mut job in std::mem::take(&mut self.jobs) {
            job.position = job.sent;
            job.uncommitted = 0;
            job.runs = Vec::new();
            if job.finished {
                self.shared.work.finished(job);
            } else {
                self.jobs.push(job);
            }
        }
        self.close();
        self.aborts = 0;
    }

    /// A signal came: what is not finished stays where the last commit left it.
    fn stop(&mut self) {
        for job in self.jobs.drain(..) {
            self.shared.work.stopped(job);
        }
    }

    /// Takes the transaction back, and puts its partitions back to where they were before.
    fn start_over(
        &mut self,
        error: KafkaError,
        take_back: impl FnOnce(&mut Self) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        self.aborts += 1;
        if self.aborts > MOST_ABORTS {
            self.give_up();
            return Err(error.into());
        }
        tracing::warn!("{error}; the records of this transaction are written again");
        take_back(self)?;
        for mut job in self.jobs.drain(..) {
            job.sent = job.position;
            job.uncommitted = 0;
            job.runs = Vec::new();
            job.finished = false;
            self.shared.work.put_back(job);
        }
        self.close();
        thread::sleep(Duration::from_secs(1) * self.aborts);
        Ok(())
    }

    /// Nothing more is written; what is open would hold up readers of the target until it times out.
    fn give_up(&mut self) {
        if self.since.is_some()
            && self.is_transactional()
            && let Err(error) = self.producer.abort()
        {
            tracing::debug!("the open transaction is left to its timeout: {error}");
        }
    }

    fn close(&mut self) {
        self.since = None;
        self.bytes = 0;
        self.sends = 0;
    }
}

/// Of key, value and headers, before compression.
fn payload_bytes(record: &Record<'_>) -> u64 {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record.headers.clone();
    let headers: usize = headers
        .map(|header| header.name.len() + length(header.value))
        .sum();
    (length(record.key) + length(record.value) + headers) as u64
}

fn position(job: &Job, extended: &Extended) -> OffsetCommit {
    let page = extended
        .map
        .page()
        .map_or_else(String::new, |page| page.to_string());
    OffsetCommit {
        topic: job.committed_at.topic.to_string(),
        partition: job.committed_at.partition,
        committed: OffsetAndMetadata {
            offset: job.sent,
            metadata: format!("{METADATA_PREFIX}{page}"),
        },
    }
}

/// The page that a committed position names.
pub(crate) fn page_of(committed: &OffsetAndMetadata) -> Option<Digest> {
    committed
        .metadata
        .strip_prefix(METADATA_PREFIX)?
        .parse()
        .ok()
}
