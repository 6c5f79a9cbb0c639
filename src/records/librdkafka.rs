//! The transport over librdkafka: [`Consumer`] as source, [`Producer`] as sink.

use std::time::Duration;

use kbk_format::record::Record;
use kbk_format::repo::OffsetAndMetadata;

use super::{
    Delivered, KafkaError, PartitionRange, Positions, RecordHandler, RecordSink, RecordSource,
    SinkOptions, SourceError, SourceOptions, TopicPartition, TransactionError, Transport,
};
use crate::kafka::{self, ClientSettings, Consumer, Producer};

/// Reads and writes with librdkafka, under these settings.
#[derive(Clone, Debug)]
pub struct Librdkafka {
    settings: ClientSettings,
}

impl Librdkafka {
    /// Keeps the settings; connections are made when a source or a sink is opened.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Librdkafka {
        Librdkafka { settings }
    }
}

impl Transport for Librdkafka {
    type Source = Consumer;
    type Sink = Producer;

    fn open_source(
        &self,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<Consumer, KafkaError> {
        Consumer::open(&self.settings, options, ranges)
    }

    fn open_sink(&self, options: SinkOptions) -> Result<Producer, KafkaError> {
        match options.transactional_id {
            Some(_) => Producer::open_transactional(&self.settings, options),
            None => Producer::open(&self.settings, options),
        }
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
        let mut found = kafka::committed(&self.settings, group, partitions)?;
        partitions.iter().map(|at| found.take(at)).collect()
    }
}

impl RecordSource for Consumer {
    fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>> {
        Consumer::run(self, handler)
    }
}

impl RecordSink for Producer {
    fn set_targets(&mut self, targets: Vec<TopicPartition>) -> Result<(), KafkaError> {
        Producer::set_targets(self, targets)
    }

    #[inline]
    fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        Producer::send(self, target, record)
    }

    fn flush(&mut self) -> Result<(), KafkaError> {
        Producer::flush(self)
    }

    fn take_delivered(&mut self, target: usize) -> Vec<Delivered> {
        Producer::take_delivered(self, target)
    }

    fn transaction_timeout(&self) -> Duration {
        Producer::transaction_timeout(self)
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        Producer::begin(self)
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), TransactionError> {
        Producer::commit(self, positions)
    }

    fn try_commit(&mut self, positions: &Positions) -> Result<(), KafkaError> {
        Producer::try_commit(self, positions)
    }

    fn abort(&mut self) -> Result<(), KafkaError> {
        Producer::abort(self)
    }

    fn judge(&self, error: KafkaError) -> TransactionError {
        Producer::judge(self, error)
    }
}
