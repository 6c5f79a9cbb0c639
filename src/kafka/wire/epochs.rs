//! Asks where leader epochs end, for the engine: evidence, without which it does as well.

use std::collections::BTreeMap;

use tokio::time::timeout;

use super::client::{ATTEMPT, WireClient, runtime};
use super::settings::WireSettings;
use crate::kafka::error::KafkaError;
use crate::kafka::leader_epoch::EpochEnd;
use crate::kafka::partition::TopicPartition;
use crate::kafka::settings::ClientSettings;

/// Looks up where a leader epoch of each partition ends, within ten seconds. Blocks; must not be called from asynchronous code.
///
/// There is no answer about a partition whose leader knows nothing of that epoch, does not answer, or is of a version that cannot be asked.
///
/// # Errors
///
/// Where a property cannot be honoured.
pub fn epoch_ends(
    settings: &ClientSettings,
    epochs: &[(TopicPartition, i32)],
) -> Result<BTreeMap<TopicPartition, EpochEnd>, KafkaError> {
    let addresses = settings.bootstrap_servers();
    let wire = WireSettings::new(settings)
        .map_err(|error| error.into_kafka(addresses, "ask for leader epochs", None))?;
    let runtime = runtime()?;
    let client = WireClient::new(wire);
    let asked = runtime.block_on(async { timeout(ATTEMPT, client.epoch_ends(epochs)).await });
    let mut ends = BTreeMap::new();
    for (partition, found) in asked.unwrap_or_default() {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!("{partition}: its leader epochs are not known: {error}");
                continue;
            }
        };
        // Without an epoch, the leader knows none up to that one: its log may have begun later, or be another one.
        let Some(end_offset) = found.leader_epoch.and(found.end_offset) else {
            continue;
        };
        let leader = client.leader(&partition).and_then(Result::ok);
        let topic_id = leader.and_then(|leader| leader.topic_id);
        let end = EpochEnd {
            topic_id,
            end_offset,
        };
        ends.insert(partition, end);
    }
    Ok(ends)
}
