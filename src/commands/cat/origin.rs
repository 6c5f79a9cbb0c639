//! Where records that are printed come from: a partition, or a segment file.

use std::ops::Range;

use kbk_format::PartitionNumber;
use kbk_format::repo::{PartitionState, RepoError, TopicState};
use kbk_tools::{Order, PartitionReader, ReadOptions, ReadPlan, SegmentFile, Selection};
use tokio::runtime::Handle;

use super::super::record_args::Partitions;

/// A partition or a file, and what is selected of it.
pub(super) struct Origin<'a> {
    /// The partition as an argument of a command, or the path of the file.
    name: String,
    source: Source<'a>,
    selection: Selection,
}

enum Source<'a> {
    Partition(&'a Partitions<'a>, (&'a TopicState, &'a PartitionState)),
    File(SegmentFile),
}

impl<'a> Origin<'a> {
    /// A partition, of which `selection` says what is selected but for offsets.
    pub(super) fn of_partition(
        partitions: &'a Partitions<'a>,
        number: usize,
        selection: &Selection,
    ) -> Origin<'a> {
        let (topic, state) = partitions.selected[number];
        Origin {
            name: partitions.name((topic, state)),
            source: Source::Partition(partitions, (topic, state)),
            selection: Selection {
                offsets: partitions.offsets(state),
                ..selection.clone()
            },
        }
    }

    pub(super) fn of_file(file: SegmentFile, selection: Selection) -> Origin<'a> {
        Origin {
            name: file.path().display().to_string(),
            source: Source::File(file),
            selection,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn partition(&self) -> (&str, PartitionNumber) {
        match &self.source {
            Source::Partition(_, (topic, state)) => (&topic.name, state.partition),
            Source::File(file) => {
                let header = file.segment().header();
                (&header.topic, header.partition)
            }
        }
    }

    /// Begins to read.
    pub(super) async fn read(&self, options: ReadOptions) -> Result<PartitionReader, RepoError> {
        let (selection, runtime) = (self.selection.clone(), Handle::current());
        match &self.source {
            Source::Partition(partitions, (topic, state)) => {
                let place = topic.partition_id(state.partition);
                let (repository, snapshot) = (partitions.repository, partitions.snapshot);
                let plan = ReadPlan::new(repository, snapshot, place, state, selection).await;
                match plan {
                    Ok(plan) => Ok(plan.read_with(options, &runtime)),
                    Err(error) => Err(repository.explain(snapshot.sequence, error).await),
                }
            }
            Source::File(file) => {
                let file = file.clone();
                Ok(PartitionReader::of_file(file, selection, options, &runtime))
            }
        }
    }

    /// Finds out whether an error of reading is about one object.
    pub(super) async fn judged(&self, error: RepoError) -> RepoError {
        match &self.source {
            Source::Partition(partitions, _) => partitions.repository.store().judged(error).await,
            Source::File(file) => file.judged(error),
        }
    }

    /// Leaves out what cannot be read because of an error, so that [`read`](Self::read) begins after it, and returns these offsets. `None` where
    /// the error is about more than one object, or does not say which records it is about.
    pub(super) fn pass(&mut self, error: &RepoError, order: Order) -> Option<Range<i64>> {
        let (_, unread) = error.records().filter(|_| error.is_of_one_object())?;
        let selected = &mut self.selection.offsets;
        let start = unread.base_offset.max(selected.start);
        let end = unread.end_offset.min(selected.end);
        match order {
            Order::Ascending => selected.start = unread.end_offset,
            Order::Descending => selected.end = unread.base_offset,
        }
        // Otherwise the same error would come again.
        (start < end).then_some(start..end)
    }
}
