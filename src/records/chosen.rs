//! The transport that a run was asked for, by a name of the client.

use std::fmt;

use kbk_format::repo::OffsetAndMetadata;

use super::{
    KafkaError, Librdkafka, PartitionRange, RecordHandler, RecordSource, SinkOptions, SourceError,
    SourceOptions, TopicPartition, Transport, Wire,
};
use crate::kafka::wire::WireSource;
use crate::kafka::{ClientSettings, Consumer, Producer};

/// Which client records go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientChoice {
    /// kbk's own, which sees record batches.
    #[default]
    Wire,
    /// librdkafka.
    Librdkafka,
}

impl ClientChoice {
    /// All there are.
    pub const ALL: [ClientChoice; 2] = [ClientChoice::Wire, ClientChoice::Librdkafka];

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClientChoice::Wire => "wire",
            ClientChoice::Librdkafka => "librdkafka",
        }
    }
}

impl fmt::Display for ClientChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The transport over the client that was chosen.
#[derive(Clone, Debug)]
pub enum ChosenTransport {
    /// Over kbk's own client.
    Wire(Wire),
    /// Over librdkafka.
    Librdkafka(Librdkafka),
}

impl ChosenTransport {
    /// Keeps the settings; connections are made when a source or a sink is opened.
    ///
    /// # Errors
    ///
    /// Where the client cannot honour one of them.
    pub fn new(
        choice: ClientChoice,
        settings: ClientSettings,
    ) -> Result<ChosenTransport, KafkaError> {
        Ok(match choice {
            ClientChoice::Wire => ChosenTransport::Wire(Wire::new(settings)?),
            ClientChoice::Librdkafka => ChosenTransport::Librdkafka(Librdkafka::new(settings)),
        })
    }
}

/// The source of a [`ChosenTransport`].
pub enum ChosenSource {
    /// Over kbk's own client.
    Wire(Box<WireSource>),
    /// Over librdkafka.
    Librdkafka(Box<Consumer>),
}

impl Transport for ChosenTransport {
    type Source = ChosenSource;
    type Sink = Producer;

    fn open_source(
        &self,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<ChosenSource, KafkaError> {
        Ok(match self {
            ChosenTransport::Wire(wire) => {
                ChosenSource::Wire(Box::new(wire.open_source(options, ranges)?))
            }
            ChosenTransport::Librdkafka(librdkafka) => {
                ChosenSource::Librdkafka(Box::new(librdkafka.open_source(options, ranges)?))
            }
        })
    }

    fn open_sink(&self, options: SinkOptions) -> Result<Producer, KafkaError> {
        match self {
            ChosenTransport::Wire(wire) => wire.open_sink(options),
            ChosenTransport::Librdkafka(librdkafka) => librdkafka.open_sink(options),
        }
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
        match self {
            ChosenTransport::Wire(wire) => wire.committed(group, partitions),
            ChosenTransport::Librdkafka(librdkafka) => librdkafka.committed(group, partitions),
        }
    }
}

impl RecordSource for ChosenSource {
    fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>> {
        match self {
            ChosenSource::Wire(wire) => wire.run(handler),
            ChosenSource::Librdkafka(consumer) => consumer.run(handler),
        }
    }
}
