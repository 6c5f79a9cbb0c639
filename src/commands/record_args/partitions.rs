//! The partitions of a snapshot that are selected, and what is to be said of them before their records are printed.

use std::ops::Range;

use kbk_format::OffsetSpan;
use kbk_format::repo::{Digested, PartitionState, Repository, Snapshot, TopicState};
use kbk_tools::list::Completeness;

use super::{RecordArgs, stored};
use crate::cli::{CliError, Context, OffsetRangeArg};
use crate::commands;
use crate::human;
use crate::select::TopicRef;

/// The selected partitions of a snapshot.
pub(crate) struct Partitions<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) snapshot: &'a Snapshot,
    /// Ordered by topic and number.
    pub(crate) selected: Vec<(&'a TopicState, &'a PartitionState)>,
    offsets: OffsetRangeArg,
}

/// Opens the repository, and reads the snapshot.
pub(crate) async fn open(
    args: &RecordArgs,
    context: &Context,
) -> Result<(Repository, Digested<Snapshot>), CliError> {
    let repository = commands::repository(context).await?;
    let snapshot = commands::snapshot(&repository, args.snapshot).await?;
    Ok((repository, snapshot))
}

impl<'a> Partitions<'a> {
    /// Selects partitions, and warns of what they lack of what is selected.
    pub(crate) fn select(
        args: &RecordArgs,
        repository: &'a Repository,
        snapshot: &'a Snapshot,
    ) -> Result<Partitions<'a>, CliError> {
        let wanted = commands::topic_partitions(&args.topics()?, &args.partition)?;
        let partitions = Partitions {
            repository,
            snapshot,
            selected: commands::each_partition(commands::partitions(&wanted, snapshot)?),
            offsets: args.offsets()?,
        };
        if let Some(partial) = partitions.missing(&partitions.selected).statement() {
            tracing::warn!("{partial}");
        }
        let expired = partitions.expired();
        if !expired.is_empty() {
            tracing::warn!("expired, and not printed: {}", human::some_of(&expired));
        }
        Ok(partitions)
    }

    /// Returns the name of a partition, as an argument of a command.
    pub(crate) fn name(&self, (topic, state): (&TopicState, &PartitionState)) -> String {
        format!("{}/{}", TopicRef::of(self.snapshot, topic), state.partition)
    }

    /// Returns the selected offsets of a partition.
    pub(crate) fn offsets(&self, state: &PartitionState) -> Range<i64> {
        self.offsets.resolve(state.base_offset, state.end_offset)
    }

    /// Returns what these partitions lack of what is selected.
    pub(crate) fn missing(&self, partitions: &[(&TopicState, &PartitionState)]) -> Completeness {
        let lacking = partitions.iter().copied().filter(|(_, state)| {
            let (base, end) = (state.base_offset, state.end_offset);
            let reaches_end = self.offsets.reaches_end(base, end);
            state.is_judged_by(self.offsets(state), reaches_end)
        });
        Completeness::of_partitions(self.snapshot.sequence, lacking)
    }

    /// Returns which offsets have expired that were asked for by number.
    fn expired(&self) -> Vec<String> {
        let Some(first) = self.offsets.first_number() else {
            return Vec::new();
        };
        let expired = self.selected.iter().filter_map(|(topic, state)| {
            let expired = state.expired_offsets()?;
            let asked = self.offsets(state);
            let offsets = first.max(expired.base_offset)..asked.end.min(expired.end_offset);
            let (name, number) = (&topic.name, state.partition);
            let offsets = (!offsets.is_empty()).then(|| OffsetSpan::from(offsets))?;
            Some(format!("{name}/{number} {offsets}"))
        });
        expired.collect()
    }

    /// Says which offsets of each there are to select from.
    pub(crate) fn stored(&self) -> Vec<String> {
        let stored = self.selected.iter().map(|(topic, state)| {
            let name = format!("{}/{}", topic.name, state.partition);
            let stored = stored(&name, state.records, state.base_offset..state.end_offset);
            match state.expired_offsets() {
                // Those that were asked for by number are named before.
                Some(expired) if self.offsets.first_number().is_none() => {
                    format!("{stored}; the {expired} have expired")
                }
                _ => stored,
            }
        });
        stored.collect()
    }
}
