//! Whether brokers can be asked to delete committed offsets.
//!
//! Brokers before Apache Kafka 2.4 do not know OffsetDelete. librdkafka 2.12 then releases a queue twice (`rd_kafka_OffsetDeleteRequest`, then
//! `rd_kafka_coord_req_fsm`) and aborts the process, so it must not be asked where this is not known.

use std::collections::BTreeSet;

use super::Admin;
use crate::kafka::error::KafkaError;
use crate::kafka::partition::TopicPartition;
use crate::kafka::wire::{WireClient, WireSettings, runtime};

/// The number of the request.
const OFFSET_DELETE: i16 = 47;

impl Admin {
    /// Fails unless the brokers know OffsetDelete, which they are asked once per process.
    pub(super) fn check_offset_delete(
        &self,
        doing: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), KafkaError> {
        let unsupported = |cause: String| KafkaError::Unsupported {
            doing: doing.to_owned(),
            cause,
        };
        let known = self.settings.knows_offset_delete();
        let answer = match known.get() {
            Some(answer) => *answer,
            None => match WireSettings::new(&self.settings) {
                Ok(settings) => self.ask_versions(settings, doing)?,
                Err(_) if self.have_ids(partitions)? => true,
                Err(_) => {
                    let cause = "its brokers are older than Apache Kafka 2.8, and with these client properties they cannot be asked whether \
                                 they know the request OffsetDelete";
                    return Err(unsupported(cause.to_owned()));
                }
            },
        };
        match known.get_or_init(|| answer) {
            true => Ok(()),
            false => Err(unsupported(
                "its brokers do not know the request OffsetDelete".to_owned(),
            )),
        }
    }

    fn ask_versions(&self, settings: WireSettings, doing: &str) -> Result<bool, KafkaError> {
        let asked = runtime()?.block_on(WireClient::new(settings).knows_request(OFFSET_DELETE));
        asked.map_err(|error| error.into_kafka(self.settings.bootstrap_servers(), doing, None))
    }

    /// Whether a topic has an id, as all have since Apache Kafka 2.8. It tells where the wire client cannot be used.
    fn have_ids(&self, partitions: &[TopicPartition]) -> Result<bool, KafkaError> {
        let names: BTreeSet<&str> = partitions.iter().map(|it| it.topic.as_str()).collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let described = self.find_topics(&names)?;
        Ok(described.iter().any(|topic| topic.topic_id != [0; 16]))
    }
}
