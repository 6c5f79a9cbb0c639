//! librdkafka's in-process mock cluster, for `kbk demo` and for tests of the plain paths.
//!
//! It serves metadata, produce and fetch. It keeps about 5 MiB per partition and then drops the oldest batches. It has no topic
//! configurations, no topic ids, no lookups by time, and accepts transactions without isolating them: those are tested on Apache
//! Kafka.

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

    /// The addresses of its brokers.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }

    /// Client settings with its address and nothing else.
    pub fn settings(&self) -> Result<ClientSettings, SettingsError> {
        ClientSettings::new(Some(&self.bootstrap_servers()), None, &[])
    }

    /// Creates a topic, which the mock cluster does not let clients do.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        self.0
            .create_topic(name, partitions, 1)
            .map_err(|error| failed(&format!("create topic {name}"), &error))
    }

    /// Answers the next OffsetFetch requests with these errors, one each.
    #[cfg(test)]
    pub(super) fn fail_offset_fetches(&self, errors: &[rdkafka_sys::rd_kafka_resp_err_t]) {
        self.0
            .request_errors(rdkafka_sys::RDKafkaApiKey::OffsetFetch, errors);
    }

    /// Delays every response.
    #[cfg(test)]
    pub(super) fn answer_after(&self, delay: std::time::Duration) {
        self.0
            .broker_round_trip_time(1, delay)
            .expect("broker 1 exists");
    }

    /// Makes a broker, or none, the leader of the topic's first partition, in a new epoch.
    #[cfg(test)]
    pub(super) fn lead(&self, topic: &str, broker: Option<i32>) {
        self.0
            .partition_leader(topic, 0, broker)
            .expect("the broker and the topic exist");
    }

    /// Closes all connections and accepts no new ones.
    pub fn go_down(&self) -> Result<(), KafkaError> {
        self.0
            .broker_down(-1)
            .map_err(|error| failed("take the brokers down", &error))
    }

    /// Accepts connections again.
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
