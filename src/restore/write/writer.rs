//! Writes the partitions of one producer, a transaction at a time.
//!
//! A transaction holds records of one or more partitions. SPEC section 11.7 gives the order of its steps: records are acknowledged, pages
//! of the offset map are durable, positions and records are committed. A failure before the commit rolls back the whole transaction, and its
//! partitions are read again from their committed positions.
//!
//! Without transactions the steps are the same except for the commit. A restore that is killed then leaves records of which nothing says
//! whether they are complete.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use kbk_format::batch::BatchDecoder;
use kbk_format::repo::{Digest, MapRun, OffsetAndMetadata, RepoError};
use kbk_tools::StoredBlock;

use crate::records::{
    KafkaError, OffsetCommit, Positions, RecordSink, TopicPartition, TransactionError, Transport,
    outlast,
};
use crate::restore::context::RestoreContext;
use crate::restore::error::RestoreError;
use crate::restore::target_error::TargetError;
use crate::restore::write::claims::Claims;
use crate::restore::write::halt::Halt;
use crate::restore::write::offset_map::{Descent, Extended};
use crate::restore::write::pace::Pace;
use crate::restore::write::producers::Producers;
use crate::restore::write::rate::Throttle;
use crate::restore::write::work::{Job, Work};
use crate::run::{Retry, RunEvents, Stage};
use crate::select::DropHeaders;

mod sending;

use sending::Amount;

/// Runs of the offset map in a transaction: a few pages. Tiny records with a gap behind each, as in a compacted topic, would otherwise take more
/// memory as runs than as records.
pub(super) const TRANSACTION_RUNS: u32 = 1 << 16;
/// Partitions in a transaction.
const TRANSACTION_PARTITIONS: usize = 256;
/// Aborted transactions in a row after which the trouble is not passing.
const MOST_ABORTS: u32 = 8;
/// The prefix of a page's digest in the metadata of a committed position (SPEC section 11.7).
const METADATA_PREFIX: &str = "kbk1:";

/// What all writers of a restore share.
pub(crate) struct Shared<'a> {
    pub(crate) work: &'a Work,
    pub(crate) context: RestoreContext<'a>,
    pub(crate) halt: Halt,
    /// Whether the repository keeps the offset map.
    pub(crate) keep_map: bool,
    /// Headers that are not written.
    pub(crate) drop_headers: DropHeaders,
    pub(crate) throttle: Option<Throttle>,
    /// `None` where the targets are not claimed.
    pub(crate) claims: Option<&'a Claims<'a>>,
    pub(crate) events: &'a RunEvents,
}

/// Writes partitions with one producer.
pub(crate) struct Writer<'a, T: Transport> {
    shared: &'a Shared<'a>,
    producers: &'a Producers<'a, T>,
    /// The number of its producer.
    number: usize,
    producer: T::Sink,
    /// Partitions with records in the open transaction. Only the last one may be unfinished.
    jobs: Vec<Job>,
    /// The offset maps of these partitions with the open transaction, once its commit was requested.
    requested: Option<Vec<Extended>>,
    /// When the open transaction began; `None` while none is open.
    since: Option<Instant>,
    /// Payload bytes in the open transaction.
    bytes: usize,
    /// Headers left out of the records in the open transaction.
    dropped_headers: u64,
    /// Records and batches that were sent.
    sends: u32,
    /// Runs of the offset map that the open transaction needs at most.
    runs: u32,
    pace: Pace,
    /// For batches that are written by record.
    decoder: BatchDecoder,
    aborts: u32,
    /// When the first of these aborts happened.
    troubled_since: Option<Instant>,
    /// The part of the time of a batch that is not writing: commits, and the rate limit.
    apart: Duration,
}

/// Why a transaction was not committed.
enum Stopped {
    /// It can be repeated.
    Again(KafkaError),
    /// It may have been committed, and can be repeated with another producer if not, unless another run has taken over.
    Lost(KafkaError),
    /// The restore fails.
    Failed(RestoreError),
}

impl From<TransactionError> for Stopped {
    fn from(error: TransactionError) -> Stopped {
        match error {
            TransactionError::Again(error) => Stopped::Again(error),
            TransactionError::Lost(error) | TransactionError::Fenced(error) => Stopped::Lost(error),
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
        let producer_timeout = producer.transaction_timeout();
        Writer {
            shared,
            producers,
            number,
            producer,
            jobs: Vec::new(),
            requested: None,
            since: None,
            bytes: 0,
            dropped_headers: 0,
            sends: 0,
            runs: 0,
            pace: Pace::new(producer_timeout),
            decoder: BatchDecoder::new(),
            aborts: 0,
            troubled_since: None,
            apart: Duration::ZERO,
        }
    }

    /// Writes until no partition waits, a signal arrives or another writer has failed; everything sent is then committed.
    pub(crate) fn run(mut self) -> Result<(), RestoreError> {
        loop {
            let job = match self.shared.halt.is_set() {
                true => None,
                false => self.shared.work.next(self.shared.context.runtime),
            };
            let step = match job {
                Some(job) => self.write(job),
                None if self.jobs.is_empty() => return Ok(()),
                None => self.commit().map(|()| self.stop()),
            };
            match step {
                Ok(()) => {}
                Err(Stopped::Again(error)) => {
                    self.start_over(error, |writer| match writer.producer.abort() {
                        Err(KafkaError::Fenced { .. }) => writer.replace_producer(),
                        aborted => Ok(aborted?),
                    })?
                }
                Err(Stopped::Lost(error)) => self.start_over(error, Writer::replace_producer)?,
                Err(Stopped::Failed(error)) => {
                    self.abandon();
                    return Err(error);
                }
            }
        }
    }

    fn write(&mut self, mut job: Job) -> Result<(), Stopped> {
        let mut reader = job.reader(self.shared.context.runtime);
        self.jobs.push(job);
        let events = self.shared.events;
        loop {
            let began = Instant::now();
            let reading = reader.next_stored();
            let Some(block) = self.shared.context.runtime.block_on(reading)? else {
                break;
            };
            events.took_since(Stage::Read, began);
            let began = Instant::now();
            self.apart = Duration::ZERO;
            let mut read = Amount::default();
            match block {
                StoredBlock::Records(batch) => {
                    self.write_records(batch.records(), None, &mut read)?;
                }
                StoredBlock::Batches(batches) => self.write_batches(batches, &mut read)?,
            }
            events.took(Stage::Write, began.elapsed().saturating_sub(self.apart));
            if let Some(events) = self.jobs.last().and_then(|job| job.events.as_ref()) {
                events.received(read.records, read.bytes);
            }
            if self.shared.halt.is_set() {
                return Ok(());
            }
        }
        if let Some(job) = self.jobs.last_mut() {
            // Offsets without records, up to the end, are done as well.
            job.sent = job.restored.end_offset.max(job.sent);
            job.finished = true;
            if job.route.is_shared() {
                // The next job writes to the same targets, whose delivery reports do not tell jobs apart.
                self.flush()?;
                self.gather(self.jobs.len() - 1);
            }
        }
        if self.jobs.len() >= TRANSACTION_PARTITIONS {
            self.commit()?;
        }
        Ok(())
    }

    /// Waits after `records` of `bytes` as long as the rate limit asks. The transaction is committed meanwhile if it has been open for too
    /// long.
    fn throttle(&mut self, bytes: usize, records: u64) -> Result<(), Stopped> {
        const SLICE: Duration = Duration::from_millis(100);
        let Some(throttle) = &self.shared.throttle else {
            return Ok(());
        };
        let mut left = throttle.take(bytes as u64, records, Instant::now());
        while !left.is_zero() && !self.shared.halt.is_set() {
            let slice = left.min(SLICE);
            thread::sleep(slice);
            self.apart += slice;
            left -= slice;
            if self.is_late() {
                self.commit()?;
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        const CHECK_TIME_EVERY: u32 = 256;
        self.bytes >= self.pace.most_bytes()
            || self.runs >= TRANSACTION_RUNS
            || (self.sends.is_multiple_of(CHECK_TIME_EVERY) && self.is_late())
    }

    fn is_late(&self) -> bool {
        let open_since = self.since;
        open_since.is_some_and(|since| since.elapsed() >= self.pace.longest())
    }

    fn is_transactional(&self) -> bool {
        self.shared.context.manifest.producers > 0
    }

    fn judge(&self, error: KafkaError) -> Stopped {
        if self.is_transactional() {
            self.producer.judge(error).into()
        } else {
            Stopped::Failed(error.into())
        }
    }

    /// Commits the open transaction, in the order of SPEC section 11.7.
    fn commit(&mut self) -> Result<(), Stopped> {
        if self.since.is_none() {
            // Nothing was sent since the last commit, so the pages that it names still count.
            self.committed();
            return Ok(());
        }
        let began = Instant::now();
        self.flush()?;
        self.requested = None;
        let mut extended = Vec::with_capacity(self.jobs.len());
        for index in 0..self.jobs.len() {
            extended.push(self.extend_map(index)?);
        }
        self.confirm_claims()?;
        self.write_pages(&extended)?;
        if self.is_transactional() {
            let mut positions = Positions::new();
            for (job, extended) in self.jobs.iter().zip(&extended) {
                let group = job.committed_at.group.clone();
                let positions = positions.entry(group).or_default();
                positions.push(position(job, extended));
            }
            self.requested = Some(extended);
            self.producer.commit(&positions)?;
            extended = self.requested.take().unwrap_or_default();
        }
        if let Some(since) = self.since {
            self.pace.committed(self.bytes, since.elapsed());
        }
        self.shared.events.took_since(Stage::Commit, began);
        self.apart += began.elapsed();
        self.conclude(extended);
        Ok(())
    }

    /// Counts a transaction that is committed, with the offset maps that it extended.
    fn conclude(&mut self, extended: Vec<Extended>) {
        self.shared.work.count(&self.jobs);
        let replaced = extended.iter().filter_map(|extended| extended.replaced);
        let replaced: Vec<Digest> = replaced.collect();
        for (job, extended) in self.jobs.iter_mut().zip(extended) {
            job.map = extended.map;
        }
        self.committed();
        self.remove_pages(&replaced);
    }

    /// Continues with another producer, since this one is fenced or unusable, unless another run has taken the restore over. What is committed says
    /// whether the transaction was.
    fn replace_producer(&mut self) -> Result<(), RestoreError> {
        let requested = self.requested.take();
        self.outlast(|| self.check_run())?;
        self.producer = self.outlast(|| Ok(self.producers.replace(self.number)?))?;
        // A run that took over in between has lost its id by this. It takes the id back, and finds itself named.
        self.outlast(|| self.check_run())?;
        let mut before = true;
        let mut after = requested.is_some();
        let positions = self.outlast(|| self.positions())?;
        for (index, committed) in positions.into_iter().enumerate() {
            let job = &self.jobs[index];
            let extended = requested.as_ref().and_then(|all| all.get(index));
            let new = extended.map(|extended| position(job, extended).committed);
            before &= is_at(job, committed.as_ref());
            after &= committed.is_some() && committed == new;
        }
        match requested {
            Some(extended) if after => {
                self.conclude(extended);
                Ok(())
            }
            _ if before => Ok(()),
            _ => Err(RestoreError::TakenOver {
                restore: self.shared.context.manifest.restore.clone(),
                holder: "another run, which has committed other records,".to_owned(),
            }),
        }
    }

    /// Fails if another run has taken the restore over, and perhaps ended it.
    fn check_run(&self) -> Result<(), RestoreError> {
        let RestoreContext {
            manifest,
            repository,
            runtime,
            ..
        } = self.shared.context;
        if self.shared.keep_map {
            let name = &manifest.restore;
            let holder = match runtime.block_on(async {
                let done = repository.restore_done(name).await?;
                Ok::<_, RepoError>((done, repository.restore_discarded(name).await?))
            })? {
                (Some(_), _) => Some("another run, which has finished it,"),
                (None, Some(_)) => Some("`kbk restores discard`"),
                (None, None) => None,
            };
            if let Some(holder) = holder {
                return Err(RestoreError::TakenOver {
                    restore: name.clone(),
                    holder: holder.to_owned(),
                });
            }
        }
        self.producers.run.check(manifest, self.producers.transport)
    }

    /// Returns what is committed as the positions of the partitions of the open transaction, in their order.
    fn positions(&self) -> Result<Vec<Option<OffsetAndMetadata>>, RestoreError> {
        let mut found = vec![None; self.jobs.len()];
        let mut by_group: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, job) in self.jobs.iter().enumerate() {
            by_group
                .entry(&job.committed_at.group)
                .or_default()
                .push(index);
        }
        for (group, jobs) in by_group {
            let at = |index: &usize| {
                let at = &self.jobs[*index].committed_at;
                TopicPartition::new(at.topic.to_string(), at.partition)
            };
            let partitions: Vec<TopicPartition> = jobs.iter().map(at).collect();
            let committed = self.producers.transport.committed(group, &partitions)?;
            for (index, committed) in jobs.into_iter().zip(committed) {
                found[index] = committed;
            }
        }
        Ok(found)
    }

    /// Fails if another restore has claimed a target of the open transaction, whose records are in the log by now.
    fn confirm_claims(&self) -> Result<(), Stopped> {
        let Some(claims) = self.shared.claims else {
            return Ok(());
        };
        let targets = || self.jobs.iter().flat_map(|job| job.route.targets());
        self.outlast(|| claims.confirm(targets())).map_err(|lost| {
            // A run that took this restore over has released the claims when it finished.
            let taken_over = self.check_run().err();
            Stopped::Failed(taken_over.unwrap_or(lost))
        })
    }

    /// Asks the cluster, and asks again as long as no broker can be reached: an outage ends a restore no sooner here than while it sends.
    fn outlast<R>(&self, ask: impl FnMut() -> Result<R, RestoreError>) -> Result<R, RestoreError> {
        fn in_kafka(error: &RestoreError) -> Option<&KafkaError> {
            match error {
                RestoreError::Kafka(error) => Some(error),
                _ => None,
            }
        }
        let Producers { timeout, stop, .. } = self.producers;
        outlast(*timeout, stop, in_kafka, ask)
    }

    fn write_pages(&self, extended: &[Extended]) -> Result<(), RepoError> {
        if !self.shared.keep_map {
            return Ok(());
        }
        let pages = extended.iter().flat_map(|extended| &extended.pages);
        let pages: Vec<_> = pages.cloned().collect();
        let written = self.shared.context.repository.write_map_pages(&pages);
        self.shared.context.runtime.block_on(written).map(drop)
    }

    fn remove_pages(&self, pages: &[Digest]) {
        let restore = &self.shared.context.manifest.restore;
        let removed = self
            .shared
            .context
            .repository
            .remove_map_pages(restore, pages);
        if self.shared.keep_map
            && let Err(error) = self.shared.context.runtime.block_on(removed)
        {
            tracing::debug!("an unused offset map page stays: {error}");
        }
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        let flushed = self.producer.flush();
        flushed.map_err(|error| self.judge(error))
    }

    /// Collects the delivery reports of a job whose records are all acknowledged.
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

    /// Extends the offset map of a job by this transaction, if every record has an offset.
    fn extend_map(&mut self, index: usize) -> Result<Extended, Stopped> {
        // The reports of a finished job that shares its targets were collected when it ended.
        if !(self.jobs[index].route.is_shared() && self.jobs[index].finished) {
            self.gather(index);
        }
        let job = &self.jobs[index];
        let records: u64 = job.runs.iter().map(|run| run.records).sum();
        let known = job.runs.iter().all(|run| run.target_offset >= 0);
        if records != job.uncommitted || !known {
            let error = KafkaError::Other {
                doing: format!("map the records of {}", job.id()),
                cause: format!(
                    "{} were sent and {records} are reported{}",
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
        let base_offset = job.restored.base_offset;
        let extended = job.map.extend(base_offset, job.sent, &job.runs);
        extended.map_err(|descent| Stopped::Failed(self.restarted(job, descent).into()))
    }

    /// Returns the error of a target whose offsets begin again.
    fn restarted(&self, job: &Job, descent: Descent) -> TargetError {
        let target = job.route.target_numbered(descent.target_partition);
        TargetError::Restarted {
            target: self.shared.work.targets[target].clone(),
            expected: descent.expected,
            found: descent.found,
        }
    }

    /// Makes the transaction's positions the committed ones. Only from here on do its records count as restored.
    fn committed(&mut self) {
        self.shared.work.add_dropped_headers(self.dropped_headers);
        for mut job in std::mem::take(&mut self.jobs) {
            if let Some(events) = job.events.as_ref().filter(|_| job.uncommitted > 0) {
                events.advanced(job.uncommitted, job.uncommitted_bytes);
                events.written(job.uncommitted, job.uncommitted_bytes, None);
            }
            job.position = job.sent;
            job.uncommitted = 0;
            job.uncommitted_bytes = 0;
            job.runs = Vec::new();
            if job.finished {
                self.shared.work.finished(job);
            } else {
                self.jobs.push(job);
            }
        }
        self.close();
        self.aborts = 0;
        self.troubled_since = None;
    }

    /// Takes unfinished partitions out of the restore that stops; they keep their last committed position.
    fn stop(&mut self) {
        for job in self.jobs.drain(..) {
            self.shared.work.stopped(job);
        }
    }

    /// Rolls back the transaction, and returns its partitions to their committed positions.
    fn start_over(
        &mut self,
        error: KafkaError,
        roll_back: impl FnOnce(&mut Self) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        self.aborts += 1;
        self.pace.aborted();
        let troubled_since = *self.troubled_since.get_or_insert_with(Instant::now);
        let waited_enough = troubled_since.elapsed() >= self.producers.timeout;
        // After a signal, or the failure of another writer, there is nobody to try again for.
        if waited_enough || self.aborts > MOST_ABORTS || self.shared.halt.is_set() {
            self.abandon();
            return Err(error.into());
        }
        let what = format!("{error}; retrying the records of this transaction");
        if self.aborts == 1 {
            tracing::warn!("{what}");
        } else {
            tracing::debug!("{what}");
        }
        self.shared.events.retried(Retry::Transaction);
        roll_back(self)?;
        self.requested = None;
        for mut job in self.jobs.drain(..) {
            job.sent = job.position;
            job.uncommitted = 0;
            job.uncommitted_bytes = 0;
            job.runs = Vec::new();
            job.finished = false;
            self.shared.work.put_back(job);
        }
        self.close();
        thread::sleep(Duration::from_secs(1) * self.aborts);
        Ok(())
    }

    /// Aborts the open transaction, which would otherwise block readers of the target until it times out.
    fn abandon(&mut self) {
        if self.since.is_some()
            && self.is_transactional()
            && let Err(error) = self.producer.abort()
        {
            tracing::debug!("the open transaction will time out: {error}");
        }
    }

    fn close(&mut self) {
        self.since = None;
        self.bytes = 0;
        self.dropped_headers = 0;
        self.sends = 0;
        self.runs = 0;
    }
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

/// Returns whether this is what is committed where a partition has reached its position, and not more.
fn is_at(job: &Job, committed: Option<&OffsetAndMetadata>) -> bool {
    match committed {
        Some(committed) => committed.offset == job.position && page_of(committed) == job.map.page(),
        None => job.map.page().is_none(),
    }
}

/// Returns the offset map page that a committed position names.
pub(crate) fn page_of(committed: &OffsetAndMetadata) -> Option<Digest> {
    committed
        .metadata
        .strip_prefix(METADATA_PREFIX)?
        .parse()
        .ok()
}
