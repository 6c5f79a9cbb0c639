//! librdkafka's in-process cluster: enough of a broker for the demo and for tests of the plain paths.
//!
//! It serves metadata, produce and fetch. It keeps about 5 MiB a partition and then forgets the oldest, and knows no topic
//! configuration, no topic ids, no transactions worth the name and no time look-ups: those are tested on Apache Kafka.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::error::KafkaError;
use super::settings::{ClientSettings, SettingsError};

/// A cluster inside this process, gone when dropped.
pub struct EmbeddedCluster(MockCluster<'static, DefaultProducerContext>);

impl EmbeddedCluster {
    /// Starts `brokers` brokers on free ports of the loopback interface.
    pub fn start(brokers: i32) -> Result<EmbeddedCluster, KafkaError> {
        MockCluster::new(brokers)
            .map(EmbeddedCluster)
            .map_err(|error| failed("start the embedded cluster", &error))
    }

    /// Where clients find it.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }

    /// Settings for clients of it, with nothing but the address.
    pub fn settings(&self) -> Result<ClientSettings, SettingsError> {
        ClientSettings::new(Some(&self.bootstrap_servers()), None, &[])
    }

    /// Creates a topic, which clients cannot do here.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        self.0
            .create_topic(name, partitions, 1)
            .map_err(|error| failed(&format!("create topic {name}"), &error))
    }

    /// Answers the next questions for committed offsets with these errors, one each.
    #[cfg(test)]
    pub(super) fn fail_offset_fetches(&self, errors: &[rdkafka_sys::rd_kafka_resp_err_t]) {
        self.0
            .request_errors(rdkafka_sys::RDKafkaApiKey::OffsetFetch, errors);
    }

    /// Lets every answer take so long.
    #[cfg(test)]
    pub(super) fn answer_after(&self, delay: std::time::Duration) {
        self.0
            .broker_round_trip_time(1, delay)
            .expect("there is a broker 1");
    }

    /// Lets a broker lead the topic's first partition, in a new epoch, or none.
    #[cfg(test)]
    pub(super) fn lead(&self, topic: &str, broker: Option<i32>) {
        self.0
            .partition_leader(topic, 0, broker)
            .expect("there are such a broker and topic");
    }

    /// Cuts all connections and takes no new ones.
    pub fn go_down(&self) -> Result<(), KafkaError> {
        self.0
            .broker_down(-1)
            .map_err(|error| failed("take the brokers down", &error))
    }

    /// Takes connections again.
    pub fn come_up(&self) -> Result<(), KafkaError> {
        self.0
            .broker_up(-1)
            .map_err(|error| failed("bring the brokers up", &error))
    }
}

fn failed(doing: &str, error: &rdkafka::error::KafkaError) -> KafkaError {
    KafkaError::Other {
        doing: doing.to_owned(),
        cause: error.to_string(),
    }
}
