//! What the targets of a plan should hold where every source partition goes to a partition of its own.

use tokio::runtime::Handle;

use crate::compare::{self, CompareError, ExpectedPartition, PartitionComparison};
use crate::kafka::{ClientSettings, TopicPartition};
use crate::restore::plan::restore_plan::{RestorePlan, TopicPlan};
use crate::run::Cancel;

/// Where a comparison of a target begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Where the target ended before the restore.
    Restored,
    /// At the start of the log.
    Log,
}

/// Returns what the targets of a plan should hold, empty partitions included. Repartitioned topics have none.
pub(crate) fn expected(plan: &RestorePlan, start: Start) -> Vec<ExpectedPartition> {
    let topics = plan.topics();
    topics.flat_map(|topic| expected_of(topic, start)).collect()
}

fn expected_of(topic: TopicPlan<'_>, start: Start) -> impl Iterator<Item = ExpectedPartition> {
    topic.partitions().filter_map(move |partition| {
        let number = partition.restored.target_partition?;
        let from = match start {
            Start::Restored => topic.restored.target(number).map(|target| target.offset),
            Start::Log => None,
        };
        Some(ExpectedPartition {
            partition: TopicPartition::new(topic.target(), number),
            from,
            read: partition.reading.read.clone(),
        })
    })
}

/// Compares everything that the targets of a plan hold with what the plan would write. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// If a target, or a partition of it, does not exist; if the cluster or the repository cannot be read.
pub fn compare_live(
    plan: &RestorePlan,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<PartitionComparison>, CompareError> {
    compare::compare(expected(plan, Start::Log), kafka, cancel, runtime)
}
