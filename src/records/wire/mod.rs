//! The transport over kbk's own client for reading, and librdkafka for writing.

use kbk_format::repo::OffsetAndMetadata;

use super::{
    KafkaError, Librdkafka, PartitionRange, RecordHandler, RecordSource, SinkOptions, SourceError,
    SourceOptions, TopicPartition, Transport,
};
use crate::kafka::wire::{WireSettings, WireSource};
use crate::kafka::{ClientSettings, Producer};

/// Reads with the wire client, and writes with librdkafka, under these settings.
#[derive(Clone, Debug)]
pub struct Wire {
    settings: ClientSettings,
    writing: Librdkafka,
}

impl Wire {
    /// Keeps the settings; connections are made when a source or a sink is opened.
    ///
    /// # Errors
    ///
    /// Where the wire client cannot honour one of them.
    pub fn new(settings: ClientSettings) -> Result<Wire, KafkaError> {
        WireSettings::new(&settings)?;
        Ok(Wire {
            writing: Librdkafka::new(settings.clone()),
            settings,
        })
    }
}

impl Transport for Wire {
    type Source = WireSource;
    type Sink = Producer;

    fn open_source(
        &self,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<WireSource, KafkaError> {
        WireSource::open(&self.settings, options, ranges)
    }

    fn open_sink(&self, options: SinkOptions) -> Result<Producer, KafkaError> {
        self.writing.open_sink(options)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
        self.writing.committed(group, partitions)
    }
}

impl RecordSource for WireSource {
    fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>> {
        WireSource::run(self, handler)
    }
}
