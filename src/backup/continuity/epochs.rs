//! Asks the leaders whether they still have the last stored leader epoch as far as it is stored.
//!
//! At an offset of the same epoch, all replicas of a log have the same record. So an epoch that ends below what is stored of it is a proof
//! that the log was truncated, even where the last record happens to be the same again. The opposite proves nothing: a cluster that was
//! restored from an image of its disks counts the same epochs once more, for other records. That is why records are compared in any case.
//!
//! The epoch of the last batch is stored where batches are, and nowhere else.

use serde::Serialize;

use super::stored::StoredEpoch;
use super::{ContinuityError, PlanIndex, Prover, at};
use crate::backup::plan::BackupPlan;
use crate::records::{TopicPartition, Transport};

/// A leader epoch that ends below what is stored of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TruncatedEpoch {
    /// The leader epoch of the last stored batch.
    pub leader_epoch: i32,
    /// The exclusive end that the log has of this epoch.
    pub end_offset: i64,
    /// The exclusive end that is stored of it.
    pub stored_end_offset: i64,
}

impl<T: Transport> Prover<'_, T> {
    /// Returns which of these epochs, those of the last stored batches, end below what is stored of them, in their order.
    ///
    /// An answer about a topic that has another id than the one that is stored, or none, says nothing: epochs begin at 0 in each.
    pub(super) fn truncated_epochs(
        &self,
        plan: &BackupPlan,
        stored: &[(PlanIndex, Option<StoredEpoch>)],
    ) -> Result<Vec<Option<TruncatedEpoch>>, ContinuityError> {
        let name = |place: PlanIndex| {
            let (topic, partition) = at(plan, place);
            TopicPartition::new(&*topic.name, partition.partition)
        };
        let asked = stored.iter().filter_map(|(place, epoch)| {
            at(plan, *place).0.kafka_id?;
            Some((name(*place), epoch.as_ref()?.leader_epoch))
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            return Ok(vec![None; stored.len()]);
        }
        let ends = self.transport.epoch_ends(&asked)?;
        let truncated = stored.iter().map(|(place, epoch)| {
            let (epoch, end) = (epoch.as_ref()?, ends.get(&name(*place))?);
            let topic_id = at(plan, *place).0.kafka_id.map(|id| id.0);
            let is_same = topic_id.is_some() && end.topic_id == topic_id;
            (is_same && end.end_offset < epoch.end_offset).then_some(TruncatedEpoch {
                leader_epoch: epoch.leader_epoch,
                end_offset: end.end_offset,
                stored_end_offset: epoch.end_offset,
            })
        });
        Ok(truncated.collect())
    }
}
