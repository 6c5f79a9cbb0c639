//! Which segments a plan need not decode: those whose batches are written whole, whatever their records are.
//!
//! A plan that decodes reads every byte once more and costs more than the writing of the batches does, so what their headers say has to be enough. What a
//! target may refuse by its records has to be known before anything is written, though, and so has the size of what is written by record.

use std::collections::BTreeMap;

use kbk_format::batch::BatchCodec;
use kbk_format::{Segment, TimestampType};
use kbk_tools::Needs;

use super::mapping::PartitionMapping;
use super::options::{Purpose, RestoreOptions};
use super::target_cluster::ExistingTopic;
use super::{USUAL_MESSAGE_BYTES, codec, max_message_bytes};
use crate::kafka::ClientSettings;
use crate::records::ClientChoice;

/// What becomes of the batches of a topic, and what a plan has to know of their records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchRules {
    /// Nothing is written.
    pub(crate) only_compares: bool,
    /// Every record is written by itself, or may be refused for what only decoding it tells.
    pub(crate) needs_records: bool,
    /// The only codec that a batch may keep.
    pub(crate) codec: Option<BatchCodec>,
    /// The largest batch that the target takes; `None` where it is created to take all of them.
    pub(crate) most_bytes: Option<u64>,
}

impl BatchRules {
    /// Returns the rules of a restore into `existing`, if the target exists, with the `compression.type` that the target has or had in the backup.
    pub(crate) fn new(
        options: &RestoreOptions,
        existing: Option<&ExistingTopic>,
        compression_type: Option<&str>,
        now_ms: i64,
    ) -> BatchRules {
        let (kafka, client) = (&options.kafka, options.client);
        let rules = BatchRules::of_client(kafka, client, existing, compression_type);
        let is_spread = matches!(options.mapping, PartitionMapping::Repartitioned(_));
        BatchRules {
            only_compares: options.purpose == Purpose::Compare,
            needs_records: rules.needs_records
                || is_spread
                || !options.drop_headers.is_empty()
                || existing.is_some_and(|existing| refuses_by_record(existing, now_ms)),
            ..rules
        }
    }

    /// Returns the rules as far as they follow from the client, its settings and the target: those of a restore that an earlier run has checked.
    pub(crate) fn of_client(
        kafka: &ClientSettings,
        client: ClientChoice,
        existing: Option<&ExistingTopic>,
        compression_type: Option<&str>,
    ) -> BatchRules {
        let codec = codec::for_target(kafka, compression_type, false);
        BatchRules {
            only_compares: false,
            needs_records: client == ClientChoice::Librdkafka || kafka.bounds_batches(),
            codec: codec.is_asked.then_some(codec.codec),
            most_bytes: existing.map(|existing| {
                let limit = max_message_bytes(Some(existing), &BTreeMap::new());
                limit.unwrap_or(USUAL_MESSAGE_BYTES)
            }),
        }
    }

    /// Returns whether a segment that is not computed has to be decoded, of which a restore needs these blocks.
    pub(crate) fn need_records(&self, segment: &Segment, needs: &Needs) -> bool {
        if self.only_compares || needs.blocks == 0 {
            return false;
        }
        let batches = &needs.batches;
        let is_other = |codec| !batches.codecs.are_only(codec);
        let is_rebuilt = segment.header().timestamp_type == TimestampType::LogAppendTime
            || batches.has_gaps
            || self.codec.is_some_and(is_other);
        let largest = u64::from(batches.largest_bytes).max(needs.largest_records_block);
        let is_too_large = self.most_bytes.is_some_and(|most| largest > most);
        self.needs_records || is_rebuilt || is_too_large || needs.cut_blocks > 0
    }
}

/// Returns whether brokers refuse records of this topic for their keys or for smallest timestamps, which no header of a batch states.
fn refuses_by_record(existing: &ExistingTopic, now_ms: i64) -> bool {
    let is_compacted = existing.value("cleanup.policy");
    let is_compacted = is_compacted.is_some_and(|policies| policies.contains("compact"));
    let before = existing.value("message.timestamp.before.max.ms");
    let before = before.and_then(|limit| limit.parse::<i64>().ok());
    // A longer one refuses no timestamp since 1970.
    is_compacted || before.is_some_and(|limit| limit < now_ms)
}
