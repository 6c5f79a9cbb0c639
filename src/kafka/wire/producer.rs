//! Appends batches to the partitions of a cluster: idempotent, in order per partition, with up to five requests under way per broker.
//!
//! ```text
//!   queue ──► Slot (partition 0) ─┐              ┌─► lane (broker 1) ──► socket
//!             Slot (partition 1) ─┼─ shipments ──┤
//!             Slot (partition 2) ─┘              └─► lane (broker 2) ──► socket
//!                     ▲                                  │
//!                     └───────────── receipts ───────────┘
//! ```
//!
//! The caller drives: [`BatchProducer::advance`] takes the receipts that there are, and sends what may be sent. What a broker refuses for
//! a reason that may pass is sent again to whoever leads the partition by then. The first failure that does not pass stops everything, until
//! [`BatchProducer::reset`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kbk_format::FormatError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{ATTEMPT, WireClient};
use super::deadline::Deadline;
use super::error::WireError;
use super::lane::{self, Outcome, Parcel, Receipt, Shipment};
use super::offsets::UNKNOWN_TOPIC_PATIENCE;
use super::protocol::{ErrorCode, ProducerIdentity};
use super::slot::{MOST_UNDER_WAY, OutgoingBatch, Slot};
use crate::kafka::delivered::Delivered;
use crate::kafka::partition::TopicPartition;

/// Bytes of batches per request, unless one batch exceeds it. The default `socket.request.max.bytes` is 100 MiB.
const REQUEST_BYTES: usize = 8 << 20;

/// Why nothing more is appended.
#[derive(Clone, Debug)]
pub(super) struct ProduceFailure {
    pub(super) error: WireError,
    /// The partition that it concerns, if it concerns one.
    pub(super) slot: Option<usize>,
    /// The source offset of the record that is to blame; of the first record of its batch where the broker does not say.
    pub(super) source_offset: i64,
    /// Bytes of that batch.
    pub(super) batch_bytes: usize,
    /// More about it, in the broker's words.
    pub(super) message: Option<String>,
}

/// Appends batches under one producer id.
pub(super) struct BatchProducer {
    client: WireClient,
    identity: ProducerIdentity,
    /// The id of its transactions, and whether these follow KIP-890.
    transaction: Option<(Arc<str>, bool)>,
    slots: Vec<Slot>,
    /// Partitions that have something to send.
    waiting: BTreeSet<usize>,
    lanes: BTreeMap<i32, LaneHandle>,
    receipts: UnboundedReceiver<Receipt>,
    receipt_sender: UnboundedSender<Receipt>,
    queued_bytes: usize,
    failure: Option<ProduceFailure>,
    /// When a batch was last acknowledged, or the first one queued.
    heard: Instant,
    /// The last failure that passes, for the message that nothing is acknowledged.
    trouble: Option<WireError>,
}

struct LaneHandle {
    shipments: UnboundedSender<Shipment>,
    under_way: usize,
}

impl BatchProducer {
    pub(super) fn new(client: WireClient) -> BatchProducer {
        let (receipt_sender, receipts) = unbounded_channel();
        BatchProducer {
            client,
            identity: ProducerIdentity::NONE,
            transaction: None,
            slots: Vec::new(),
            waiting: BTreeSet::new(),
            lanes: BTreeMap::new(),
            receipts,
            receipt_sender,
            queued_bytes: 0,
            failure: None,
            heard: Instant::now(),
            trouble: None,
        }
    }

    pub(super) fn set_targets(&mut self, targets: Vec<TopicPartition>) {
        let backoff = self.client.backoff();
        let slots = targets.into_iter().map(|it| Slot::new(it, backoff.clone()));
        self.slots = slots.collect();
    }

    pub(super) fn identity(&self) -> ProducerIdentity {
        self.identity
    }

    /// Produces as `identity` from now on: sequence numbers begin again with another id or epoch. Nothing may be queued.
    pub(super) fn assume(
        &mut self,
        identity: ProducerIdentity,
        transaction: Option<(Arc<str>, bool)>,
    ) {
        if identity != self.identity {
            self.slots.iter_mut().for_each(Slot::restart);
        }
        self.identity = identity;
        self.transaction = transaction;
    }

    pub(super) fn partition(&self, slot: usize) -> Option<&TopicPartition> {
        self.slots.get(slot).map(|slot| &*slot.partition)
    }

    /// Queues a batch. Nothing is sent before [`advance`](Self::advance) is called.
    ///
    /// # Errors
    ///
    /// Where the batch's header is not one of format v2.
    pub(super) fn queue(&mut self, slot: usize, batch: OutgoingBatch) -> Result<(), FormatError> {
        if self.queued_bytes == 0 {
            self.heard = Instant::now();
        }
        let bytes = batch.bytes();
        let Some(queued) = self.slots.get_mut(slot) else {
            return Ok(());
        };
        queued.push(batch, self.identity, self.transaction.is_some())?;
        self.waiting.insert(slot);
        self.queued_bytes += bytes;
        Ok(())
    }

    /// Bytes of batches that are not acknowledged.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Records of batches that are not acknowledged.
    pub(super) fn outstanding(&self) -> u64 {
        self.slots.iter().map(Slot::outstanding).sum()
    }

    /// When a batch was last acknowledged, or the first one queued.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Says why nothing is acknowledged.
    pub(super) fn silence(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return trouble.as_cause();
        }
        if let Some((_, broker)) = self.client.throttle() {
            return format!("{broker} makes this client wait, since a quota is exceeded");
        }
        let silent = self.lanes.iter().filter(|(_, lane)| lane.under_way > 0);
        let names = silent.filter_map(|(broker, _)| self.client.broker_name(*broker).ok());
        let names: Vec<String> = names.map(|name| name.to_string()).collect();
        match names.is_empty() {
            true => "no broker answers".to_owned(),
            false => format!("no answer to Produce from {}", names.join(", ")),
        }
    }

    pub(super) fn failure(&self) -> Option<&ProduceFailure> {
        self.failure.as_ref()
    }

    /// Returns what was acknowledged for a partition since the last call, in order.
    pub(super) fn take_delivered(&mut self, slot: usize) -> Vec<Delivered> {
        let slot = self.slots.get_mut(slot);
        slot.map(Slot::take_delivered).unwrap_or_default()
    }

    /// Returns the partitions with something to send that the open transaction does not have.
    pub(super) fn joining(&self) -> Vec<usize> {
        let joining = self.waiting.iter().copied();
        let joining =
            joining.filter(|slot| self.slots.get(*slot).is_some_and(|it| !it.in_transaction));
        joining.collect()
    }

    /// Notes that the open transaction has these partitions.
    pub(super) fn joined(&mut self, slots: &[usize]) {
        for slot in slots {
            if let Some(slot) = self.slots.get_mut(*slot) {
                slot.in_transaction = true;
            }
        }
    }

    /// Takes the receipts that there are, and sends what may be sent. Then it waits for a receipt for at most `wait`, where one may come. Finding
    /// leaders takes `lookup` at most.
    pub(super) async fn advance(&mut self, wait: Duration, lookup: Duration) {
        if self.failure.is_some() {
            self.drain(wait).await;
            return;
        }
        self.drain(Duration::ZERO).await;
        self.find_leaders(lookup.min(ATTEMPT)).await;
        self.ship();
        let now = Instant::now();
        let due = self.waiting.iter();
        let due = due.filter_map(|slot| self.slots.get(*slot)?.retry_at);
        // One that is due and was not sent waits for a receipt.
        let due = due.filter(|at| *at > now).min();
        self.wait(wait, due).await;
    }

    /// Waits for a receipt, or until `due`.
    async fn wait(&mut self, wait: Duration, due: Option<Instant>) {
        if wait.is_zero() {
            return;
        }
        let until = due.unwrap_or_else(Instant::now);
        if !self.is_under_way() {
            if due.is_some() {
                let _ = timeout(wait, sleep_until(until)).await;
            }
            return;
        }
        tokio::select! {
            receipt = timeout(wait, self.receipts.recv()) => {
                if let Ok(Some(receipt)) = receipt {
                    self.take(receipt);
                }
            }
            () = sleep_until(until), if due.is_some() => {}
        }
    }

    /// Takes the receipts that there are, and waits for another one for at most `wait`, where one may come. It sends nothing.
    pub(super) async fn drain(&mut self, wait: Duration) {
        while let Ok(receipt) = self.receipts.try_recv() {
            self.take(receipt);
        }
        self.wait(wait, None).await;
    }

    /// Whether a request is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.lanes.values().any(|lane| lane.under_way > 0)
    }

    /// Drops what is not sent. What is under way is still to be waited for.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
        for slot in &mut self.slots {
            self.queued_bytes -= slot.drop_waiting();
        }
    }

    /// Whether everything that was sent is acknowledged, so that sequence numbers may continue.
    pub(super) fn is_settled(&self) -> bool {
        self.failure.is_none() && self.slots.iter().all(Slot::is_idle)
    }

    /// Forgets the transaction that is over, and the failure that ended it. What is under way is never heard of.
    pub(super) fn reset(&mut self) {
        for slot in &mut self.slots {
            slot.forget();
        }
        self.queued_bytes = 0;
        self.waiting.clear();
        self.failure = None;
        if self.is_under_way() {
            // Receipts of these lanes would be taken for those of what is sent next.
            self.lanes.clear();
            (self.receipt_sender, self.receipts) = unbounded_channel();
        }
    }

    /// Looks up the leaders of partitions that are due and have none.
    async fn find_leaders(&mut self, limit: Duration) {
        let now = Instant::now();
        let unknown = self.waiting.iter().copied().filter(|slot| {
            self.slots.get(*slot).is_some_and(|slot| {
                slot.is_ready(now) && !matches!(self.client.leader(&slot.partition), Some(Ok(_)))
            })
        });
        let unknown: Vec<usize> = unknown.collect();
        if unknown.is_empty() {
            return;
        }
        let partitions: Vec<Arc<TopicPartition>> = unknown
            .iter()
            .filter_map(|slot| Some(Arc::clone(&self.slots.get(*slot)?.partition)))
            .collect();
        let deadline = Deadline::after(limit);
        let partitions = partitions.iter().map(|partition| &**partition);
        let mut failures = self.client.find_leaders(partitions, deadline).await;
        for number in unknown {
            let Some(slot) = self.slots.get_mut(number) else {
                continue;
            };
            if let Some(error) = failures.remove(&*slot.partition) {
                self.postpone(number, error);
            }
        }
    }

    /// Sends batches to all brokers that may be sent some.
    fn ship(&mut self) {
        let now = Instant::now();
        let mut by_broker: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for number in &self.waiting {
            let Some(slot) = self.slots.get_mut(*number) else {
                continue;
            };
            let is_member = self.transaction.is_none() || slot.in_transaction;
            if !is_member || !slot.is_ready(now) {
                continue;
            }
            let Some(Ok(leader)) = self.client.leader(&slot.partition) else {
                continue;
            };
            if slot.topic_id.is_some() && slot.topic_id != leader.topic_id {
                let error = WireError::Recreated {
                    topic: slot.partition.topic.clone(),
                };
                let (number, blamed) = (*number, slot.blame(None));
                self.fail(number, error, blamed, None);
                return;
            }
            slot.topic_id = leader.topic_id;
            if !slot.may_go_to(leader.broker) {
                continue;
            }
            by_broker.entry(leader.broker).or_default().push(*number);
        }
        for (broker, slots) in by_broker {
            self.ship_to(broker, slots);
        }
    }

    fn ship_to(&mut self, broker: i32, mut slots: Vec<usize>) {
        while !slots.is_empty() {
            let lane = self.lanes.entry(broker).or_insert_with(|| {
                let (shipments, receiver) = unbounded_channel();
                let receipts = self.receipt_sender.clone();
                tokio::spawn(lane::serve(self.client.clone(), broker, receiver, receipts));
                LaneHandle {
                    shipments,
                    under_way: 0,
                }
            });
            if lane.under_way >= MOST_UNDER_WAY {
                return;
            }
            let mut parcels = Vec::new();
            let mut left = REQUEST_BYTES;
            for number in &slots {
                let Some(slot) = self.slots.get_mut(*number) else {
                    continue;
                };
                let Some(bytes) = slot.next_bytes() else {
                    continue;
                };
                if bytes > left && !parcels.is_empty() {
                    continue;
                }
                left = left.saturating_sub(bytes);
                parcels.extend(slot.send(*number, broker));
            }
            if parcels.is_empty() {
                return;
            }
            slots.retain(|number| self.slots.get(*number).is_some_and(Slot::has_waiting));
            for Parcel { slot, .. } in &parcels {
                if !self.slots.get(*slot).is_some_and(Slot::has_waiting) {
                    self.waiting.remove(slot);
                }
            }
            // A version that names topics by name needs each once.
            parcels.sort_by(|a, b| a.partition.cmp(&b.partition));
            lane.under_way += 1;
            let transaction = self.transaction.clone();
            // Fails where the lane has panicked; then nothing is acknowledged, and the caller's time runs out.
            let _ = lane.shipments.send(Shipment {
                transaction,
                parcels,
            });
        }
    }

    fn take(&mut self, receipt: Receipt) {
        if let Some(lane) = self.lanes.get_mut(&receipt.broker) {
            lane.under_way = lane.under_way.saturating_sub(1);
        }
        for (slot, outcome) in receipt.outcomes {
            self.take_outcome(slot, outcome);
        }
    }

    fn take_outcome(&mut self, number: usize, outcome: Outcome) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        match outcome {
            Outcome::Appended(offset) => {
                self.queued_bytes -= slot.appended(offset);
                if slot.has_waiting() {
                    self.waiting.insert(number);
                }
                self.heard = Instant::now();
                self.trouble = None;
            }
            Outcome::Unknown(error) if error.is_transient() => self.postpone_sent(number, error),
            Outcome::Unknown(error) => {
                let blamed = slot.blame(None);
                slot.failed();
                self.fail(number, error, blamed, None);
            }
            Outcome::Refused {
                error,
                code,
                record,
                message,
            } => {
                // Another batch before it has failed, which the broker has to get first.
                let is_consequence =
                    code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER && !slot.is_first();
                if code.is_transient() || is_consequence {
                    self.postpone_sent(number, error);
                } else {
                    let blamed = slot.blame(record);
                    slot.failed();
                    self.fail(number, error, blamed, message);
                }
            }
        }
    }

    /// Sends a batch that was under way again, later.
    fn postpone_sent(&mut self, number: usize, error: WireError) {
        if let Some(slot) = self.slots.get_mut(number) {
            slot.failed();
            self.waiting.insert(number);
        }
        self.postpone(number, error);
    }

    /// Lets a partition wait, and has its leader looked up again.
    fn postpone(&mut self, number: usize, error: WireError) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let now = Instant::now();
        match error.code().is_some_and(ErrorCode::is_unknown_topic) {
            true => {
                slot.unknown_since.get_or_insert(now);
            }
            false => slot.unknown_since = None,
        }
        let is_unknown = slot
            .unknown_since
            .is_some_and(|since| now.duration_since(since) >= UNKNOWN_TOPIC_PATIENCE);
        if !error.is_transient() && error.code() != Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
            || is_unknown
        {
            let blamed = slot.blame(None);
            self.fail(number, error, blamed, None);
            return;
        }
        tracing::debug!("appending to {} again: {error}", slot.partition);
        // One pause per failure of a partition, however many of its batches share it.
        if slot.retry_at.is_none_or(|at| at <= now) {
            slot.retry_at = Some(now + slot.backoff.pause());
            self.client.forget_leader(&slot.partition);
        }
        self.trouble = Some(error);
    }

    /// Keeps the first failure; `blamed` is the source offset of a record, and the size of its batch.
    fn fail(
        &mut self,
        slot: usize,
        error: WireError,
        (source_offset, batch_bytes): (i64, usize),
        message: Option<String>,
    ) {
        self.failure.get_or_insert(ProduceFailure {
            error,
            slot: Some(slot),
            source_offset,
            batch_bytes,
            message,
        });
    }

    /// Sends nothing more, for a reason that concerns no batch.
    pub(super) fn stop(&mut self, error: WireError) {
        self.failure.get_or_insert(ProduceFailure {
            error,
            slot: None,
            source_offset: -1,
            batch_bytes: 0,
            message: None,
        });
    }
}
