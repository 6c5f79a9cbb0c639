//! The seam between kbk's engine and a Kafka client: where records come from, and where they go.
//!
//! ```text
//!   backup (feeder, pipeline)            restore (writer, producers)
//!            │ ranges                             │ records, positions
//!            ▼                                    ▼
//!      RecordSource ── RecordHandler        RecordSink ── Delivered
//!            ▲                                    ▲
//!            └──────────── Transport ─────────────┘
//!                opens both: [`Wire`], [`Librdkafka`]
//! ```
//!
//! Each transport implements [`Transport`], and runs under the same engine and the same tests. What one lacks, it leaves to the default
//! methods. Engines are generic over the transport instead of using trait
//! objects, so that a record costs no dynamic call.
//!
//! The values that cross the seam belong to [`kafka`](crate::kafka), which uses no other module of this crate. They are re-exported
//! here.

mod chosen;
mod librdkafka;
#[cfg(test)]
pub(crate) mod memory;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

pub use crate::kafka::{
    BatchCodec, Delivered, EpochEnd, KafkaError, OffsetCommit, PartitionRange, Positions,
    RecordHandler, SinkOptions, SourceError, SourceOptions, StopRequest, TopicPartition,
    TransactionError, WholeBatches, outlast,
};
pub use chosen::{ChosenSink, ChosenSource, ChosenTransport, ClientChoice};
pub use librdkafka::Librdkafka;
pub use sink::RecordSink;
pub use source::RecordSource;
pub use transport::Transport;
pub use wire::Wire;
