//! The transport that a run was asked for, by a name of the client.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kbk_format::batch::RecordBatch;
use kbk_format::record::Record;
use kbk_format::repo::OffsetAndMetadata;

use super::{
    BatchCodec, Delivered, EpochEnd, KafkaError, Librdkafka, PartitionRange, Positions,
    RecordHandler, RecordSink, RecordSource, SinkOptions, SourceError, SourceOptions,
    TopicPartition, TransactionError, Transport, Wire,
};
use crate::kafka::wire::{WireSink, WireSource};
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

impl ChosenSource {
    /// Opens a source over this client, once.
    ///
    /// # Errors
    ///
    /// Those of [`ChosenTransport::new`] and [`Transport::open_source`].
    pub fn open(
        choice: ClientChoice,
        settings: &ClientSettings,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<ChosenSource, KafkaError> {
        ChosenTransport::new(choice, settings.clone())?.open_source(options, ranges)
    }
}

/// The sink of a [`ChosenTransport`].
pub enum ChosenSink {
    /// Over kbk's own client.
    Wire(Box<WireSink>),
    /// Over librdkafka.
    Librdkafka(Box<Producer>),
}

impl Transport for ChosenTransport {
    type Source = ChosenSource;
    type Sink = ChosenSink;

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

    fn open_sink(&self, options: SinkOptions) -> Result<ChosenSink, KafkaError> {
        Ok(match self {
            ChosenTransport::Wire(wire) => ChosenSink::Wire(Box::new(wire.open_sink(options)?)),
            ChosenTransport::Librdkafka(librdkafka) => {
                ChosenSink::Librdkafka(Box::new(librdkafka.open_sink(options)?))
            }
        })
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

    fn epoch_ends(
        &self,
        epochs: &[(TopicPartition, i32)],
    ) -> Result<BTreeMap<TopicPartition, EpochEnd>, KafkaError> {
        match self {
            ChosenTransport::Wire(wire) => wire.epoch_ends(epochs),
            ChosenTransport::Librdkafka(librdkafka) => librdkafka.epoch_ends(epochs),
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

/// Calls the sink that there is.
macro_rules! chosen {
    ($self:ident, $sink:ident => $call:expr) => {
        match $self {
            ChosenSink::Wire($sink) => $call,
            ChosenSink::Librdkafka($sink) => $call,
        }
    };
}

impl RecordSink for ChosenSink {
    fn set_targets(&mut self, targets: Vec<TopicPartition>) -> Result<(), KafkaError> {
        chosen!(self, sink => sink.set_targets(targets))
    }

    #[inline]
    fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        chosen!(self, sink => sink.send(target, record))
    }

    #[inline]
    fn send_as(
        &mut self,
        target: usize,
        record: &Record<'_>,
        codec: Option<BatchCodec>,
    ) -> Result<(), KafkaError> {
        chosen!(self, sink => RecordSink::send_as(&mut **sink, target, record, codec))
    }

    fn send_batch(
        &mut self,
        target: usize,
        batch: &RecordBatch<'_>,
        bytes: impl FnOnce() -> Bytes,
    ) -> Result<bool, KafkaError> {
        chosen!(self, sink => RecordSink::send_batch(&mut **sink, target, batch, bytes))
    }

    fn flush(&mut self) -> Result<(), KafkaError> {
        chosen!(self, sink => sink.flush())
    }

    fn take_delivered(&mut self, target: usize) -> Vec<Delivered> {
        chosen!(self, sink => sink.take_delivered(target))
    }

    fn transaction_timeout(&self) -> Duration {
        chosen!(self, sink => sink.transaction_timeout())
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        chosen!(self, sink => sink.begin())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), TransactionError> {
        chosen!(self, sink => sink.commit(positions))
    }

    fn try_commit(&mut self, positions: &Positions) -> Result<(), KafkaError> {
        chosen!(self, sink => sink.try_commit(positions))
    }

    fn abort(&mut self) -> Result<(), KafkaError> {
        chosen!(self, sink => sink.abort())
    }

    fn judge(&self, error: KafkaError) -> TransactionError {
        chosen!(self, sink => sink.judge(error))
    }
}
