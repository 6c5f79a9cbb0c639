//! Writes records for the engine: into batches of kbk's own, with the target's codec, and these to the leaders of their partitions.
//!
//! A sink blocks on the caller's thread. Its connections are served by a thread of their own, so that batches travel while the next ones are
//! built. Memory is bounded by [`SinkOptions::queue_bytes`], over batches that are not acknowledged and those that are being filled, but
//! for a record or a batch that exceeds it, which is then the only one.
//!
//! Records are written as they are: each timestamp too, 0 and -1 among them.

use std::time::Duration;

use bytes::Bytes;
use kbk_format::batch::{BatchCodec, RecordBatch, RecordSize, record_size};
use kbk_format::record::Record;
use kbk_format::{FormatError, counted};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::client::WireClient;
use super::deadline::Deadline;
use super::error::WireError;
use super::filling::OpenBatches;
use super::outage_watch::OutageWatch;
use super::patience::{Patience, TICK, waited};
use super::producer::BatchProducer;
use super::protocol::{ErrorCode, InitProducerIdRequest, ProducerIdentity};
use super::refusal::{explained, judged, undelivered};
use super::settings::{WireSettings, WritingSettings, unsupported};
use super::slot::{OutgoingBatch, SourceRun};
use super::transactions::Transactions;
use super::whole_batch::Treatment;
use crate::kafka::commit::{OffsetCommit, Positions, TransactionError};
use crate::kafka::delivered::Delivered;
use crate::kafka::error::KafkaError;
use crate::kafka::options::{
    SHORTEST_TRANSACTION_TIMEOUT, SinkOptions, TRANSACTION_TIMEOUT, WholeBatches,
};
use crate::kafka::partition::TopicPartition;
use crate::kafka::permission::{AclOperation, Permission};
use crate::kafka::settings::ClientSettings;

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long brokers that are starting may have no coordinator for transactions.
const STARTING: Duration = Duration::from_secs(10);

/// Writes records to partitions with the wire client.
pub struct WireSink {
    // Dropped in this order: connections before the runtime that they are registered with.
    producer: BatchProducer,
    transactions: Option<Transactions>,
    client: WireClient,
    outage: OutageWatch,
    runtime: Runtime,
    addresses: String,
    options: SinkOptions,
    /// The user's codec for all topics.
    codec: Option<BatchCodec>,
    stall_timeout: Duration,
    writing: WritingSettings,
    targets: Vec<TopicPartition>,
    open: OpenBatches,
    /// A commit or an abort has not ended in time: its outcome is unknown, and nothing more can be done with this producer.
    is_stuck: bool,
}

impl WireSink {
    /// Connects, and gets a producer id. With a transactional id, this ends the transaction that is open under it, and fences whoever has
    /// it; transactions may then stay open for as long as the brokers allow up to a minute, or as the user has set.
    ///
    /// # Errors
    ///
    /// Where no broker answers within ten seconds, or the cluster refuses.
    pub fn open(settings: &ClientSettings, options: SinkOptions) -> Result<WireSink, KafkaError> {
        let wire = WireSettings::new(settings)?;
        let writing = wire.writing.clone();
        if writing.has_level {
            return Err(unsupported("compression.level").into());
        }
        let mut options = options;
        if let Some(bytes) = writing.batch_bytes {
            options.batch_bytes = bytes;
        }
        let client = WireClient::new(wire);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kbk-produce")
            .enable_all()
            .build()
            .map_err(|error| KafkaError::Settings {
                cause: error.to_string(),
            })?;
        let mut sink = WireSink {
            producer: BatchProducer::new(client.clone()),
            transactions: None,
            outage: OutageWatch::new(client.clone(), settings.bootstrap_servers()),
            client,
            runtime,
            addresses: settings.bootstrap_servers().to_owned(),
            codec: settings.batch_codec(),
            stall_timeout: settings.timeout(),
            writing,
            targets: Vec::new(),
            open: OpenBatches::default(),
            is_stuck: false,
            options,
        };
        let connected = async {
            let deadline = Deadline::after(CONNECTING);
            sink.client.metadata_by(Some(&[]), deadline).await
        };
        let connected = sink.runtime.block_on(connected);
        connected.map_err(|error| error.into_kafka(&sink.addresses, "connect", None))?;
        match sink.options.transactional_id.clone() {
            Some(id) => sink.take_over(&id, settings.transaction_timeout())?,
            None => sink.identify()?,
        }
        Ok(sink)
    }

    /// Gets a producer id of an idempotent producer without transactions.
    fn identify(&mut self) -> Result<(), KafkaError> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            current: ProducerIdentity::NONE,
        };
        let doing = "get the id of a producer";
        let deadline = Deadline::after(self.stall_timeout);
        let asked = self
            .client
            .ask_any(&request, deadline, |response| match response.error {
                ErrorCode::NONE => Ok(response.producer),
                code => Err(code),
            });
        let asked = self.runtime.block_on(asked);
        let identity = asked.map_err(|error| self.explain(error, doing))?;
        self.producer.assume(identity, None);
        Ok(())
    }

    /// Takes a transactional id over, with the longest transactions that the brokers allow.
    fn take_over(&mut self, id: &str, given: Option<Duration>) -> Result<(), KafkaError> {
        let doing = format!("begin transactions as {id}");
        let mut longest = given.unwrap_or(TRANSACTION_TIMEOUT);
        let began = Instant::now();
        loop {
            self.options.transaction_timeout = longest;
            let mut transactions = Transactions::new(self.client.clone(), id, longest);
            let left = self.stall_timeout.saturating_sub(began.elapsed());
            let patience = match began.elapsed() < STARTING {
                true => left.min(STARTING),
                false => left,
            };
            let stop = self.options.stop.clone();
            let producer = &mut self.producer;
            let waiting = Patience {
                client: &self.client,
                outage: &self.outage,
                stop: &stop,
                limit: patience,
            };
            let deadline = Deadline::after(patience);
            let taken = waiting.wait_for(transactions.take_over(producer, deadline));
            let taken = self.runtime.block_on(taken);
            let error = match taken {
                Some(Ok(())) => {
                    self.transactions = Some(transactions);
                    return Ok(());
                }
                Some(Err(error)) => error,
                None => {
                    let cause = self.client.silence();
                    return Err(self.no_answer(&doing, began.elapsed(), &cause));
                }
            };
            match error.code() {
                Some(ErrorCode::INVALID_TRANSACTION_TIMEOUT)
                    if given.is_none() && longest > SHORTEST_TRANSACTION_TIMEOUT =>
                {
                    // Only a principal with DESCRIBE_CONFIGS on the cluster could ask for the limit.
                    longest = (longest / 2).max(SHORTEST_TRANSACTION_TIMEOUT);
                }
                Some(ErrorCode::INVALID_TRANSACTION_TIMEOUT) => {
                    return Err(KafkaError::TransactionTimeout { timeout: longest });
                }
                Some(ErrorCode::COORDINATOR_NOT_AVAILABLE) => {
                    return Err(KafkaError::NoCoordinator {
                        waited: began.elapsed(),
                        cause: error.to_string(),
                    });
                }
                _ if error.is_transient() && began.elapsed() < self.stall_timeout => {}
                _ => {
                    let error = self.explain(error, &doing);
                    return Err(error.needing(Permission::transactional_id(id)));
                }
            }
        }
    }

    /// Sets the targets, once. Their topics must exist.
    pub fn set_targets(&mut self, targets: Vec<TopicPartition>) -> Result<(), KafkaError> {
        self.producer.set_targets(targets.clone());
        self.targets = targets;
        Ok(())
    }

    /// Copies the record into a batch for `targets[target]`; blocks while the queue is full. One that exceeds the whole queue is the only one in it.
    pub fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        self.send_as(target, record, None)
    }

    /// Copies a record of a batch with this codec into a batch for `targets[target]`, which has the same unless another one is asked for.
    pub fn send_as(
        &mut self,
        target: usize,
        record: &Record<'_>,
        codec: Option<BatchCodec>,
    ) -> Result<(), KafkaError> {
        self.check()?;
        let Some(at) = self.targets.get(target) else {
            return Ok(());
        };
        let (topic, partition, source_offset) = (&at.topic, at.partition, record.offset);
        if record.control {
            return Err(KafkaError::Delivery {
                topic: topic.clone(),
                partition,
                source_offset,
                cause: "it is a transaction marker, which only brokers can write".to_owned(),
            });
        }
        // Of any deltas.
        let most = record_size(i64::MAX, i64::MAX, &RecordSize::of(record));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let codec = self.codec_of(target, most, codec);
        let limits = (self.options.batch_bytes, self.writing.batch_records);
        if !self.open.takes_records(target, codec) || !self.open.has_room(target, (1, most), limits)
        {
            self.close(target)?;
            self.make_place()?;
            self.open.begin(target, codec);
        }
        let pushed = self.open.push(target, record);
        pushed.map_err(|error| self.unwritable(target, source_offset, &error))?;
        self.make_room()
    }

    /// Writes a whole batch of a backup to `targets[target]`, whose bytes `bytes` returns: as it is, or as part of a larger one. Returns
    /// `false` where its records have to be written one by one. Blocks while the queue is full.
    pub fn send_batch(
        &mut self,
        target: usize,
        batch: &RecordBatch<'_>,
        bytes: impl FnOnce() -> Bytes,
    ) -> Result<bool, KafkaError> {
        self.check()?;
        let Some(at) = self.targets.get(target) else {
            return Ok(true);
        };
        let header = batch.header();
        let source = SourceRun {
            first: header.base_offset,
            records: header.record_count.unwrap_or_default(),
        };
        let Some(rules) = self.options.whole_batches.get(&at.topic).copied() else {
            return Ok(false);
        };
        let most_bytes = self.writing.batch_bytes.unwrap_or(rules.most_bytes);
        let rules = WholeBatches {
            codec: self.codec.or(rules.codec),
            most_bytes: rules.most_bytes.min(most_bytes),
        };
        let most_records = self.writing.batch_records.unwrap_or(u32::MAX);
        if source.records > most_records {
            return Ok(false);
        }
        let is_merged = match rules.treat(batch) {
            Treatment::ByRecord => return Ok(false),
            Treatment::Merged(codec) => self.merge(target, (batch, source), codec)?,
            Treatment::AsItIs => false,
        };
        if !is_merged {
            // What was sent before it comes first.
            self.close(target)?;
            self.queue(target, &bytes(), vec![source])?;
        }
        self.make_room()?;
        Ok(true)
    }

    /// Adds a small batch to those before it, or begins with it. Returns `false` where it does not take part.
    fn merge(
        &mut self,
        target: usize,
        (batch, source): (&RecordBatch<'_>, SourceRun),
        codec: BatchCodec,
    ) -> Result<bool, KafkaError> {
        let most_bytes = self.options.batch_bytes;
        let limits = (most_bytes, self.writing.batch_records);
        let adds = (source.records, batch.bytes().len());
        let unwritable = |sink: &Self, error| sink.unwritable(target, source.first, &error);
        if self.open.takes_batches(target, codec) && self.open.has_room(target, adds, limits) {
            let pushed = self.open.push_batch(target, batch, source);
            if pushed.map_err(|error| unwritable(self, error))? {
                return Ok(true);
            }
        }
        self.close(target)?;
        self.make_place()?;
        self.open.begin_merging(target, codec, most_bytes);
        let pushed = self.open.push_batch(target, batch, source);
        pushed.map_err(|error| unwritable(self, error))
    }

    /// Sends what was filled for long enough, and waits until the queue has room.
    fn make_room(&mut self) -> Result<(), KafkaError> {
        // At a low rate, a full batch would take too long.
        if let Some(oldest) = self.open.lingering(self.writing.linger) {
            self.close(oldest)?;
        }
        while self.open.bytes() + self.producer.queued_bytes() > self.options.queue_bytes {
            if self.producer.queued_bytes() == 0 {
                // Only what is being filled takes memory: the oldest batch goes first.
                match self.open.oldest() {
                    Some(oldest) => self.close(oldest)?,
                    None => break,
                }
            }
            self.advance(TICK)?;
        }
        Ok(())
    }

    /// Closes the oldest batch where no further one may be begun.
    fn make_place(&mut self) -> Result<(), KafkaError> {
        match self.open.oldest().filter(|_| self.open.is_full()) {
            Some(oldest) => self.close(oldest),
            None => Ok(()),
        }
    }

    /// Returns the codec for a record of at most `bytes`, of a batch with the codec `own`.
    fn codec_of(&self, target: usize, bytes: usize, own: Option<BatchCodec>) -> BatchCodec {
        let topic = self.targets.get(target).map(|target| target.topic.as_str());
        let by_topic = topic.and_then(|topic| self.options.codecs.get(topic).copied());
        let rules = topic.and_then(|topic| self.options.whole_batches.get(topic));
        let keeps = rules.is_some_and(|rules| rules.codec.is_none());
        // One that fits only compressed gets the codec that was chosen for such.
        let own = own.filter(|_| keeps && bytes <= self.options.batch_bytes);
        self.codec.or(own).or(by_topic).unwrap_or_default()
    }

    /// Hands a batch over to be sent.
    fn close(&mut self, target: usize) -> Result<(), KafkaError> {
        let first = self.open.first_source(target).unwrap_or(-1);
        let closed = self.open.close(target);
        let Some((batch, sources)) =
            closed.map_err(|error| self.unwritable(target, first, &error))?
        else {
            return Ok(());
        };
        self.queue(target, &batch, sources)
    }

    fn queue(
        &mut self,
        target: usize,
        batch: &Bytes,
        sources: Vec<SourceRun>,
    ) -> Result<(), KafkaError> {
        let first = sources.first().map_or(-1, |run| run.first);
        let queued = OutgoingBatch::new(batch, sources);
        let queued = queued.and_then(|batch| self.producer.queue(target, batch));
        queued.map_err(|error| self.unwritable(target, first, &error))?;
        self.advance(Duration::ZERO)
    }

    /// Sends what may be sent, and waits for an answer for at most `wait`.
    fn advance(&mut self, wait: Duration) -> Result<(), KafkaError> {
        let is_held_back = self.is_held_back();
        if !is_held_back {
            self.join()?;
        }
        // Not much longer than the whole wait may take.
        let limit = self.options.stop.shorten(self.stall_timeout);
        let lookup = limit.saturating_sub(self.waited());
        let lookup = lookup.max(Duration::from_secs(1));
        self.runtime.block_on(self.producer.advance(wait, lookup));
        if is_held_back && !wait.is_zero() && !self.producer.is_under_way() {
            // Nothing comes that could be waited for.
            std::thread::sleep(wait);
        }
        let waited = self.waited();
        if !wait.is_zero() {
            self.outage.look(waited);
        }
        self.check()?;
        if self.producer.queued_bytes() > 0
            && waited >= self.options.stop.shorten(self.stall_timeout)
        {
            let doing = format!(
                "acknowledge {}",
                counted(self.producer.outstanding() as usize, "record")
            );
            let cause = self.producer.silence();
            return Err(self.no_answer(&doing, waited, &cause));
        }
        Ok(())
    }

    /// For how long the cluster has owed an answer to what is queued.
    fn waited(&self) -> Duration {
        waited(&self.client, &self.options.stop, self.producer.heard())
    }

    /// Whether a transaction must not begin yet: by AddPartitionsToTxn its time would run while a quota makes its first batch wait.
    fn is_held_back(&self) -> bool {
        let by_request = self.transactions.as_ref().is_some_and(|it| !it.is_v2());
        by_request && !self.options.stop.is_set() && self.client.throttle().is_some()
    }

    /// Adds partitions that are about to be sent something to the open transaction.
    fn join(&mut self) -> Result<(), KafkaError> {
        let doing = "add partitions to a transaction";
        let Some(mut transactions) = self.transactions.take() else {
            return Ok(());
        };
        let producer = &mut self.producer;
        let (stop, limit) = (self.options.stop.clone(), self.stall_timeout);
        let joined = match producer.failure().is_some() || producer.joining().is_empty() {
            true => Some(Ok(())),
            false => {
                let waiting = Patience {
                    client: &self.client,
                    outage: &self.outage,
                    stop: &stop,
                    limit,
                };
                let deadline = Deadline::after(limit);
                let joined = waiting.wait_for(transactions.add_partitions(producer, deadline));
                self.runtime.block_on(joined)
            }
        };
        self.transactions = Some(transactions);
        match joined {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                self.producer.stop(error);
                self.check()
            }
            None => Err(self.no_answer(doing, limit, &self.client.silence())),
        }
    }

    /// Waits until every record sent is acknowledged. Fails once the cluster has acknowledged nothing for the timeout of the settings.
    pub fn flush(&mut self) -> Result<(), KafkaError> {
        self.check()?;
        while let Some(oldest) = self.open.oldest() {
            self.close(oldest)?;
        }
        while self.producer.queued_bytes() > 0 {
            self.advance(TICK)?;
        }
        Ok(())
    }

    /// Returns what was acknowledged for `targets[target]` since the last call, in the order of sending.
    #[must_use]
    pub fn take_delivered(&mut self, target: usize) -> Vec<Delivered> {
        self.producer.take_delivered(target)
    }

    /// How long a transaction may stay open before its coordinator aborts it.
    #[must_use]
    pub fn transaction_timeout(&self) -> Duration {
        self.options.transaction_timeout
    }

    /// Begins a transaction. It sends nothing: a transaction begins with its first record or position.
    pub fn begin(&mut self) -> Result<(), TransactionError> {
        match &self.transactions {
            Some(_) => Ok(()),
            None => Err(TransactionError::Failed(KafkaError::Other {
                doing: "begin a transaction".to_owned(),
                cause: "this producer has no transactional id".to_owned(),
            })),
        }
    }

    /// Commits the records together with the positions of the groups.
    pub fn commit(&mut self, positions: &Positions) -> Result<(), TransactionError> {
        for (group, positions) in positions {
            self.add_positions(group, positions)?;
        }
        self.end(true)
    }

    /// Checks that these positions could be committed, in a transaction that is then aborted.
    pub fn try_commit(&mut self, positions: &Positions) -> Result<(), KafkaError> {
        let sent = positions.iter().try_for_each(|(group, positions)| {
            self.add_positions(group, positions).map_err(|error| {
                KafkaError::from(error).needing(Permission::group(AclOperation::Read, group))
            })
        });
        let aborted = self.abort();
        sent?;
        aborted
    }

    fn add_positions(
        &mut self,
        group: &str,
        positions: &[OffsetCommit],
    ) -> Result<(), TransactionError> {
        if positions.is_empty() {
            return Ok(());
        }
        let doing = format!("commit positions of group {group}");
        // After the transaction timeout, an answer is useless: the transaction has been aborted by then.
        let limit = (self.options.transaction_timeout + STARTING).min(self.stall_timeout);
        self.in_transaction(&doing, limit, async |transactions, producer, deadline| {
            transactions
                .add_positions(producer, group, positions, deadline)
                .await
        })
    }

    fn end(&mut self, commit: bool) -> Result<(), TransactionError> {
        let doing = match commit {
            true => "commit a transaction",
            false => "abort a transaction",
        };
        let limit = self.stall_timeout;
        let ended = self.in_transaction(doing, limit, async |transactions, producer, deadline| {
            transactions.end(producer, commit, deadline).await
        });
        // The coordinator may have the request: only a resumed restore can find out.
        self.is_stuck |= matches!(
            ended,
            Err(TransactionError::Failed(KafkaError::Timeout { .. }))
        );
        ended
    }

    /// Does a part of a transaction, within `limit`, or less once the caller wants to stop.
    fn in_transaction(
        &mut self,
        doing: &str,
        limit: Duration,
        part: impl AsyncFnOnce(&mut Transactions, &mut BatchProducer, Deadline) -> Result<(), WireError>,
    ) -> Result<(), TransactionError> {
        let Some(transactions) = &mut self.transactions else {
            return Err(TransactionError::Failed(KafkaError::Other {
                doing: doing.to_owned(),
                cause: "this producer has no transactional id".to_owned(),
            }));
        };
        let began = Instant::now();
        let stop = self.options.stop.clone();
        let deadline = Deadline::after(limit);
        let waiting = Patience {
            client: &self.client,
            outage: &self.outage,
            stop: &stop,
            limit,
        };
        let done = waiting.wait_for(part(transactions, &mut self.producer, deadline));
        let done = self.runtime.block_on(done);
        match done {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(self.judge_error(&error, doing, began.elapsed())),
            None => {
                let cause = self.client.silence();
                Err(self.no_answer(doing, began.elapsed(), &cause).into())
            }
        }
    }

    /// Aborts the transaction: discards everything sent since it began. Another one may follow.
    pub fn abort(&mut self) -> Result<(), KafkaError> {
        if self.is_stuck {
            return Ok(());
        }
        self.open.clear();
        self.producer.drop_waiting();
        // A batch that arrives after the end of its transaction would be part of the next one.
        let began = Instant::now();
        while self.producer.is_under_way() {
            self.runtime.block_on(self.producer.drain(TICK));
            let waited = waited(&self.client, &self.options.stop, began);
            if waited >= self.options.stop.shorten(self.stall_timeout) {
                self.is_stuck = true;
                let cause = self.producer.silence();
                return Err(self.no_answer("abort a transaction", waited, &cause));
            }
        }
        self.end(false).map_err(|error| match error {
            // Whoever has the transactional id by now has ended the transaction.
            TransactionError::Lost(error) | TransactionError::Again(error) => KafkaError::Fenced {
                doing: "abort a transaction".to_owned(),
                cause: error.to_string(),
            },
            error => error.into(),
        })
    }

    /// Decides what an error of [`send`](Self::send) or [`flush`](Self::flush) means for the transaction.
    #[must_use]
    pub fn judge(&self, error: KafkaError) -> TransactionError {
        match self.producer.failure() {
            Some(failure) => judged(&failure.error, error),
            None => TransactionError::Failed(error),
        }
    }

    fn judge_error(&self, error: &WireError, doing: &str, waited: Duration) -> TransactionError {
        // The time was up: what is in the way says why.
        let explained = match error.is_transient() {
            true => self.no_answer(doing, waited, &error.as_cause()),
            false => self.explain(error.clone(), doing),
        };
        judged(error, explained)
    }

    fn explain(&self, error: WireError, doing: &str) -> KafkaError {
        explained(error, doing, &self.addresses)
    }

    fn no_answer(&self, doing: &str, waited: Duration, cause: &str) -> KafkaError {
        KafkaError::Timeout {
            doing: doing.to_owned(),
            waited,
            cause: cause.to_owned(),
        }
    }

    /// Returns the first failure again.
    fn check(&self) -> Result<(), KafkaError> {
        match self.producer.failure() {
            Some(failure) => {
                let target = failure.slot.and_then(|slot| self.targets.get(slot));
                Err(undelivered(failure, target, &self.addresses))
            }
            None => Ok(()),
        }
    }

    fn unwritable(&self, target: usize, source_offset: i64, error: &FormatError) -> KafkaError {
        match self.targets.get(target) {
            Some(at) => KafkaError::Delivery {
                topic: at.topic.clone(),
                partition: at.partition,
                source_offset,
                cause: error.to_string(),
            },
            None => KafkaError::Other {
                doing: "write a record".to_owned(),
                cause: error.to_string(),
            },
        }
    }
}
