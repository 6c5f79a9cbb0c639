//! The transactions of one producer: batches and offsets that are committed together, or not at all.
//!
//! | | before KIP-890 | by KIP-890 (`transaction.version` 2) |
//! |---|---|---|
//! | a partition joins | AddPartitionsToTxn, before its first batch | by its first batch |
//! | a group joins | AddOffsetsToTxn, before TxnOffsetCommit | by TxnOffsetCommit |
//! | after each transaction | the same epoch, and sequence numbers that continue | the next epoch, and sequence numbers from 0 |
//! | after an aborted one of which a batch may still arrive | the next epoch, by InitProducerId | as after each |
//!
//! A broker tells the two apart by the versions of the requests. Which one is used, the cluster decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::client::WireClient;
use super::coordinators::BrokerError;
use super::deadline::Deadline;
use super::error::WireError;
use super::producer::BatchProducer;
use super::protocol::{
    AddOffsetsRequest, AddPartitionsRequest, CommittedPartition, CoordinatorKind, EndTxnRequest,
    ErrorCode, InitProducerIdRequest, PartitionResults, ProducerIdentity, TxnOffsetCommitRequest,
};
use crate::kafka::commit::OffsetCommit;

/// The first version of transactions by KIP-890.
const BY_KIP_890: i16 = 2;

/// The transactions of a transactional id.
pub(super) struct Transactions {
    client: WireClient,
    id: Arc<str>,
    timeout: Duration,
    /// Whether the open transaction follows KIP-890.
    is_v2: bool,
    /// Whether the coordinator may know of the open transaction.
    is_begun: bool,
    /// The groups that the open transaction has.
    groups: Vec<String>,
}

impl Transactions {
    pub(super) fn new(client: WireClient, id: &str, timeout: Duration) -> Transactions {
        Transactions {
            client,
            id: id.into(),
            timeout,
            is_v2: false,
            is_begun: false,
            groups: Vec::new(),
        }
    }

    /// Whether transactions follow KIP-890.
    pub(super) fn is_v2(&self) -> bool {
        self.is_v2
    }

    /// Takes the transactional id over: the transaction that is open under it is ended, and whoever has it is fenced.
    pub(super) async fn take_over(
        &mut self,
        producer: &mut BatchProducer,
        deadline: Deadline,
    ) -> Result<(), WireError> {
        let identity = self.next_identity(ProducerIdentity::NONE, deadline).await?;
        self.is_v2 = self.client.transaction_version() >= BY_KIP_890;
        self.is_begun = false;
        producer.assume(identity, Some((Arc::clone(&self.id), self.is_v2)));
        Ok(())
    }

    async fn next_identity(
        &self,
        current: ProducerIdentity,
        deadline: Deadline,
    ) -> Result<ProducerIdentity, WireError> {
        let request = InitProducerIdRequest {
            transactional_id: Some(&self.id),
            transaction_timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            current,
        };
        let coordinator = (CoordinatorKind::Transaction, &*self.id);
        self.client
            .ask_coordinator(coordinator, &request, deadline, |response| {
                accepted(response.error).map(|()| response.producer)
            })
            .await
    }

    /// Adds the partitions that are about to be sent something to the open transaction.
    pub(super) async fn add_partitions(
        &mut self,
        producer: &mut BatchProducer,
        deadline: Deadline,
    ) -> Result<(), WireError> {
        let joining = producer.joining();
        if joining.is_empty() {
            return Ok(());
        }
        // A request that is not answered may have arrived.
        self.is_begun = true;
        if !self.is_v2 {
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for partition in joining.iter().filter_map(|slot| producer.partition(*slot)) {
                let numbers = topics.entry(&partition.topic).or_default();
                numbers.push(partition.partition.get());
            }
            let request = AddPartitionsRequest {
                transactional_id: &self.id,
                producer: producer.identity(),
                topics: topics.into_iter().collect(),
            };
            let coordinator = (CoordinatorKind::Transaction, &*self.id);
            self.client
                .ask_coordinator(coordinator, &request, deadline, |response| all(&response))
                .await?;
        }
        producer.joined(&joining);
        Ok(())
    }

    /// Commits positions of a group within the open transaction.
    pub(super) async fn add_positions(
        &mut self,
        producer: &BatchProducer,
        group: &str,
        positions: &[OffsetCommit],
        deadline: Deadline,
    ) -> Result<(), WireError> {
        self.is_begun = true;
        if !self.is_v2 && !self.groups.iter().any(|known| known == group) {
            let request = AddOffsetsRequest {
                transactional_id: &self.id,
                producer: producer.identity(),
                group,
            };
            let coordinator = (CoordinatorKind::Transaction, &*self.id);
            self.client
                .ask_coordinator(coordinator, &request, deadline, |response| {
                    accepted(response.error)
                })
                .await?;
            self.groups.push(group.to_owned());
        }
        let mut topics: BTreeMap<&str, Vec<CommittedPartition<'_>>> = BTreeMap::new();
        for position in positions {
            let partitions = topics.entry(&position.topic).or_default();
            partitions.push(CommittedPartition {
                partition: position.partition.get(),
                offset: position.committed.offset,
                metadata: &position.committed.metadata,
            });
        }
        let request = TxnOffsetCommitRequest {
            transactional_id: &self.id,
            producer: producer.identity(),
            transaction_v2: self.is_v2,
            group,
            topics: topics.into_iter().collect(),
        };
        let coordinator = (CoordinatorKind::Group, group);
        self.client
            .ask_coordinator(coordinator, &request, deadline, |response| all(&response))
            .await
    }

    /// Ends the open transaction. All batches are acknowledged, or it is aborted.
    pub(super) async fn end(
        &mut self,
        producer: &mut BatchProducer,
        commit: bool,
        deadline: Deadline,
    ) -> Result<(), WireError> {
        let mut next = ProducerIdentity::NONE;
        if self.is_begun {
            let request = EndTxnRequest {
                transactional_id: &self.id,
                producer: producer.identity(),
                transaction_v2: self.is_v2,
                commit,
            };
            let coordinator = (CoordinatorKind::Transaction, &*self.id);
            let ended = self
                .client
                .ask_coordinator(coordinator, &request, deadline, |response| {
                    accepted(response.error).map(|()| response.next)
                });
            next = ended.await?;
        }
        self.is_begun = false;
        self.groups.clear();
        let is_settled = producer.is_settled();
        producer.reset();
        if next == ProducerIdentity::NONE && !is_settled {
            // A batch that may still arrive must not become part of the next transaction.
            next = self.next_identity(producer.identity(), deadline).await?;
        }
        if next != ProducerIdentity::NONE {
            producer.assume(next, Some((Arc::clone(&self.id), self.is_v2)));
        }
        Ok(())
    }
}

fn accepted(error: ErrorCode) -> Result<(), BrokerError> {
    match error {
        ErrorCode::NONE => Ok(()),
        code => Err(code.into()),
    }
}

/// Whether all partitions succeeded; else what the first was refused for.
fn all(results: &PartitionResults<'_>) -> Result<(), BrokerError> {
    let mut failed = results
        .partitions
        .iter()
        .filter(|it| it.error != ErrorCode::NONE);
    // The others were not attempted because of it.
    const NOT_ATTEMPTED: ErrorCode = ErrorCode(55);
    let first = failed.clone().find(|it| it.error != NOT_ATTEMPTED);
    match first.or_else(|| failed.next()) {
        None => Ok(()),
        Some(refused) => Err(BrokerError {
            code: refused.error,
            subject: Some(format!("{}/{}", refused.topic, refused.partition)),
        }),
    }
}
