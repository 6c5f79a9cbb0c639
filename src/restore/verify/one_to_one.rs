//! What the targets of a restore should hold where every source partition goes to a partition of its own.

use crate::compare::{ExpectedPartition, Pairing};
use crate::kafka::TopicPartition;
use crate::restore::plan::restore_plan::RestorePlan;
use crate::select::DropHeaders;

/// Returns what the targets should hold from where they ended before the restore, empty partitions included. Repartitioned topics have none.
pub(crate) fn expected(plan: &RestorePlan) -> Vec<ExpectedPartition> {
    let drop_headers = DropHeaders::new(plan.manifest.drop_headers.iter().cloned());
    let partitions = plan
        .topics()
        .flat_map(|topic| topic.partitions().map(move |partition| (topic, partition)));
    partitions
        .filter_map(|(topic, partition)| {
            let target = topic
                .restored
                .target(partition.restored.target_partition?)?;
            Some(ExpectedPartition {
                partition: TopicPartition::new(topic.target(), target.partition),
                read: partition.reading.read.clone(),
                drop_headers: drop_headers.clone(),
                pairing: Pairing::Restored {
                    from: target.offset,
                },
            })
        })
        .collect()
}
