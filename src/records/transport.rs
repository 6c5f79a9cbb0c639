//! A way to reach a cluster's records: opens sources and sinks.

use std::collections::BTreeMap;

use kbk_format::repo::OffsetAndMetadata;

use super::{
    EpochEnd, KafkaError, PartitionRange, RecordSink, RecordSource, SinkOptions, SourceOptions,
    TopicPartition,
};

/// Opens sources and sinks. Shared by the threads of a run, which open one each.
pub trait Transport: Sync {
    /// What it reads with.
    type Source: RecordSource;
    /// What it writes with.
    type Sink: RecordSink;

    /// Opens a source for `ranges`, no two of which may belong to one partition. The slots of its handler are their indices.
    fn open_source(
        &self,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<Self::Source, KafkaError>;

    /// Opens a sink, without targets yet.
    ///
    /// With a transactional id, this completes or aborts the transaction that an earlier sink left open under it, and fences that
    /// sink: once this returns, nothing else writes under the id.
    fn open_sink(&self, options: SinkOptions) -> Result<Self::Sink, KafkaError>;

    /// Returns what a group has committed for each of these partitions, in their order, once no open transaction can change it any more.
    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError>;

    /// Looks up where a leader epoch of each partition ends in its log, where the leader knows and the client can ask.
    fn epoch_ends(
        &self,
        _epochs: &[(TopicPartition, i32)],
    ) -> Result<BTreeMap<TopicPartition, EpochEnd>, KafkaError> {
        Ok(BTreeMap::new())
    }
}
