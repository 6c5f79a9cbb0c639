//! Produces with everything that a producer supports: codecs, transactions, and hostile records.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::broker::Broker;
use super::raw;
use super::record::Message;
use super::wait::PATIENCE;

/// Every compression codec of Kafka, by its name in `compression.codec`.
pub(crate) const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// An idempotent producer that fails the test if a record is not delivered.
pub(crate) struct Producer {
    inner: BaseProducer<Failures>,
}

impl Producer {
    /// Creates a producer without transactions.
    pub(crate) fn new(broker: &Broker, codec: &str) -> Self {
        Self::from_config(&config(broker, codec))
    }

    /// Creates a transactional producer.
    pub(crate) fn transactional(broker: &Broker, codec: &str, id: &str) -> Self {
        let producer = Self::from_config(config(broker, codec).set("transactional.id", id));
        producer
            .inner
            .init_transactions(PATIENCE)
            .expect("the transaction coordinator answers");
        producer
    }

    fn from_config(config: &ClientConfig) -> Self {
        let inner = config
            .create_with_context(Failures::default())
            .expect("a producer");
        Self { inner }
    }

    /// Queues a record, waiting for space in the queue. A timestamp of 0 cannot be sent: see [`raw::produce`].
    pub(crate) fn send(&self, topic: &str, partition: i32, message: &Message) {
        loop {
            match raw::produce(&self.inner, topic, partition, message) {
                Ok(()) => return,
                Err(RDKafkaErrorCode::QueueFull) => self.inner.poll(Duration::from_millis(20)),
                Err(code) => panic!("cannot queue a record for {topic}/{partition}: {code}"),
            }
        }
    }

    /// Waits until the broker has acknowledged every record.
    pub(crate) fn flush(&self) {
        self.inner.flush(PATIENCE).expect("the broker acknowledges");
        self.inner.context().check();
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) {
        self.inner.begin_transaction().expect("begins");
    }

    /// Commits the transaction.
    pub(crate) fn commit(&self) {
        self.flush();
        self.inner.commit_transaction(PATIENCE).expect("commits");
    }

    /// Aborts the transaction; its records stay in the partition's log.
    pub(crate) fn abort(&self) {
        self.flush();
        self.inner.abort_transaction(PATIENCE).expect("aborts");
    }
}

/// Produces all messages to one partition and waits until they are acknowledged.
pub(crate) fn produce<'a>(
    broker: &Broker,
    codec: &str,
    (topic, partition): (&str, i32),
    messages: impl IntoIterator<Item = &'a Message>,
) {
    let producer = Producer::new(broker, codec);
    for message in messages {
        producer.send(topic, partition, message);
    }
    producer.flush();
}

/// Produces many messages round-robin to the topic's partitions: a million in seconds.
pub(crate) fn produce_bulk(
    broker: &Broker,
    codec: &str,
    (topic, partitions): (&str, i32),
    messages: impl IntoIterator<Item = Message>,
) {
    let producer = Producer::new(broker, codec);
    for (message, partition) in messages.into_iter().zip((0..partitions).cycle()) {
        producer.send(topic, partition, &message);
    }
    producer.flush();
}

fn config(broker: &Broker, codec: &str) -> ClientConfig {
    let mut config = broker.client();
    config
        .set("compression.codec", codec)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("batch.size", "262144")
        .set("queue.buffering.max.kbytes", "131072")
        // Only the topic's limit is to apply.
        .set("message.max.bytes", "67108864");
    config
}

/// Records the first delivery failure.
#[derive(Default)]
struct Failures(Mutex<Option<KafkaError>>);

impl Failures {
    fn check(&self) {
        let first = self.0.lock().expect("no panic while held").take();
        assert!(
            first.is_none(),
            "a record was not delivered: {}",
            first.expect("just seen")
        );
    }
}

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut first = self.0.lock().expect("no panic while held");
            first.get_or_insert_with(|| error.clone());
        }
    }
}
