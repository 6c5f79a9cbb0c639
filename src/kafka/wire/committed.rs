//! What groups have committed, for the engine: over one client, whose connections stay open from one question to the next.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Instant;

use kbk_format::repo::OffsetAndMetadata;
use tokio::runtime::Runtime;

use super::client::{ATTEMPT, WireClient, runtime};
use super::coordinators::BrokerError;
use super::deadline::Deadline;
use super::error::WireError;
use super::protocol::{CoordinatorKind, ErrorCode, OffsetFetchRequest, OffsetFetchResponse};
use super::settings::WireSettings;
use crate::kafka::cause::Cause;
use crate::kafka::error::KafkaError;
use crate::kafka::partition::TopicPartition;
use crate::kafka::settings::ClientSettings;

/// Asks what groups have committed.
pub struct CommittedOffsets {
    settings: ClientSettings,
    runtime: Runtime,
    client: WireClient,
}

/// By topic and number.
type Found = HashMap<(String, i32), Option<OffsetAndMetadata>>;

impl CommittedOffsets {
    /// Keeps the settings; it connects with the first question.
    ///
    /// # Errors
    ///
    /// Where a property cannot be honoured.
    pub fn new(settings: ClientSettings) -> Result<CommittedOffsets, KafkaError> {
        let client = WireClient::new(WireSettings::new(&settings)?);
        Ok(CommittedOffsets {
            settings,
            runtime: runtime()?,
            client,
        })
    }

    /// Returns what a group has committed for each of these partitions, in their order, once no open transaction can change it any more: a
    /// coordinator is asked again until `--timeout`, and one that does not answer for ten seconds. Brokers before Apache Kafka 2.5 do
    /// not say whether a transaction is open. Blocks; must not be called from asynchronous code.
    ///
    /// # Errors
    ///
    /// *Unreachable* where nobody answers; else what the coordinator refuses.
    pub fn of(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
        let doing = format!("read what group {group} has committed");
        let began = Instant::now();
        loop {
            let error = match self.runtime.block_on(self.ask(group, partitions)) {
                Ok(found) => return in_order(found, partitions, &doing),
                Err(error) => error,
            };
            let answers = error.code().is_some() && error.is_transient();
            if !answers || began.elapsed() >= self.settings.timeout() {
                return Err(self.failure(error, &doing));
            }
        }
    }

    async fn ask(&self, group: &str, partitions: &[TopicPartition]) -> Result<Found, WireError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let numbers = topics.entry(&partition.topic).or_default();
            numbers.push(partition.partition.get());
        }
        let request = OffsetFetchRequest {
            group,
            topics: topics.into_iter().collect(),
        };
        let coordinator = (CoordinatorKind::Group, group);
        let deadline = Deadline::after(ATTEMPT.min(self.settings.timeout()));
        self.client
            .ask_coordinator(coordinator, &request, deadline, |response| found(&response))
            .await
    }

    /// Nobody who answers is an outage, which a caller may wait for; a quota that is exceeded is none.
    fn failure(&self, error: WireError, doing: &str) -> KafkaError {
        let addresses = self.settings.bootstrap_servers();
        match error {
            WireError::Timeout { .. }
            | WireError::Disconnected { .. }
            | WireError::UnknownBroker { .. } => KafkaError::Unreachable {
                addresses: addresses.to_owned(),
                cause: error.as_cause(),
                next: Cause::NEXT,
            },
            error => error.into_kafka(addresses, doing, None),
        }
    }
}

/// A partition that is left out is not one without a commit.
fn in_order(
    mut found: Found,
    partitions: &[TopicPartition],
    doing: &str,
) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
    let of = |partition: &TopicPartition| {
        let key = (partition.topic.clone(), partition.partition.get());
        found.remove(&key).ok_or_else(|| KafkaError::Other {
            doing: doing.to_owned(),
            cause: format!("the coordinator left {partition} out of its answer"),
        })
    };
    partitions.iter().map(of).collect()
}

impl fmt::Debug for CommittedOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommittedOffsets").finish_non_exhaustive()
    }
}

/// Returns what a response says, unless it refuses to say anything.
fn found(response: &OffsetFetchResponse<'_>) -> Result<Found, BrokerError> {
    if response.error != ErrorCode::NONE {
        return Err(response.error.into());
    }
    let mut found = Found::with_capacity(response.partitions.len());
    for answer in &response.partitions {
        if answer.error != ErrorCode::NONE {
            return Err(BrokerError {
                code: answer.error,
                subject: Some(format!("{}/{}", answer.topic, answer.partition)),
            });
        }
        let committed = (answer.offset >= 0).then(|| OffsetAndMetadata {
            offset: answer.offset,
            metadata: answer.metadata.unwrap_or_default().to_owned(),
        });
        found.insert((answer.topic.to_owned(), answer.partition), committed);
    }
    Ok(found)
}
