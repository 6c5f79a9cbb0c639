//! The transport over kbk's own client.

mod sink;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kbk_format::repo::OffsetAndMetadata;

use super::{
    EpochEnd, KafkaError, PartitionRange, RecordHandler, RecordSource, SinkOptions, SourceError,
    SourceOptions, TopicPartition, Transport,
};
use crate::kafka::ClientSettings;
use crate::kafka::wire::{self, CommittedOffsets, WireSettings, WireSink, WireSource};

/// Reads and writes with the wire client, under these settings.
#[derive(Clone, Debug)]
pub struct Wire {
    settings: ClientSettings,
    /// Made with the first question, and shared by all who ask: a client takes longer to connect than to answer.
    committed: Arc<Mutex<Option<CommittedOffsets>>>,
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
            settings,
            committed: Arc::default(),
        })
    }
}

impl Transport for Wire {
    type Source = WireSource;
    type Sink = WireSink;

    fn open_source(
        &self,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<WireSource, KafkaError> {
        WireSource::open(&self.settings, options, ranges)
    }

    fn open_sink(&self, options: SinkOptions) -> Result<WireSink, KafkaError> {
        WireSink::open(&self.settings, options)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
        let mut committed = self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let client = match &mut *committed {
            Some(client) => client,
            none => none.insert(CommittedOffsets::new(self.settings.clone())?),
        };
        client.of(group, partitions)
    }

    fn epoch_ends(
        &self,
        epochs: &[(TopicPartition, i32)],
    ) -> Result<BTreeMap<TopicPartition, EpochEnd>, KafkaError> {
        wire::epoch_ends(&self.settings, epochs)
    }
}

impl RecordSource for WireSource {
    fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>> {
        WireSource::run(self, handler)
    }
}
