//! Which partitions are written, under which names.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use kbk_format::kafka_log::partition_folder;
use kbk_format::repo::{
    Id, LostRange, PartitionState, RepoError, Repository, Snapshot, TopicState,
};
use tokio::runtime::Handle;

use super::error::ExportError;
use super::output;
use super::partition::Written;
use super::report::ExportedPartition;
use super::{ExportFormat, ExportOptions};
use crate::read::{Needs, ReadPlan, Selection};

/// One partition to write.
#[derive(Clone, Debug)]
pub struct PlannedExport {
    /// What is read of it.
    pub(super) read: ReadPlan,
    /// Its file or folder.
    pub(super) name: String,
    /// The offsets that the file covers.
    pub(super) offsets: Range<i64>,
    /// Kafka's id of the topic.
    pub(super) kafka_id: Option<Id>,
    pub(super) from: ExportedFrom,
}

/// Where records are exported from.
#[derive(Clone, Debug)]
pub(super) struct ExportedFrom {
    /// The repository's id.
    pub(super) repository: Id,
    pub(super) snapshot: u64,
    /// Why the snapshot itself lacks records of the partition, if it does.
    pub(super) incomplete: Option<String>,
    /// Offsets that were deleted from the source before they were read, and those that a recovery lost to damage.
    pub(super) lost: Vec<LostRange>,
}

impl PlannedExport {
    /// Returns the name of its file or folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts the selected records.
    pub(super) async fn count(&mut self) -> Result<u64, RepoError> {
        let of_segments = self.read.clone();
        let mut needs = Needs::default();
        let opened = self.read.open_all(|segment| {
            needs = needs + of_segments.needs(segment);
        });
        if let Err(error) = opened.await {
            return Err(self.read.explain(error).await);
        }
        let cut = match needs.cut_blocks {
            0 => 0,
            _ => self.read.clone().count_cut(&Handle::current()).await?,
        };
        Ok(needs.whole_records + cut)
    }

    /// Returns the row of the partition in the report.
    pub(super) fn exported(&self, records: u64, written: Written) -> ExportedPartition {
        let id = self.read.partition_id();
        ExportedPartition {
            topic: id.topic.to_string(),
            topic_id: id.topic_id.to_string(),
            partition: id.partition,
            name: self.name.clone(),
            base_offset: self.offsets.start,
            end_offset: self.offsets.end,
            records,
            segments: written.segments,
            bytes: written.bytes,
        }
    }
}

/// All partitions to write, in order.
#[derive(Clone, Debug, Default)]
pub struct ExportPlan {
    /// The partitions.
    pub partitions: Vec<PlannedExport>,
}

impl ExportPlan {
    /// Adds what `selection` selects of a partition.
    ///
    /// # Errors
    ///
    /// As [`ReadPlan::new`].
    pub async fn add(
        &mut self,
        repository: &Repository,
        snapshot: &Snapshot,
        (topic, state): (&TopicState, &PartitionState),
        selection: Selection,
        format: &ExportFormat,
    ) -> Result<(), ExportError> {
        let id = topic.partition_id(state.partition);
        let start = selection
            .offsets
            .start
            .clamp(state.base_offset, state.end_offset);
        let end = selection.offsets.end.clamp(start, state.end_offset);
        let folder = partition_folder(&topic.name, state.partition);
        let name = match format {
            ExportFormat::KafkaLog { .. } => folder,
            ExportFormat::JsonLines => format!("{folder}.jsonl"),
            ExportFormat::Parquet(layout) => layout.folders.folder(&topic.name, state.partition),
        };
        let from = ExportedFrom {
            repository: repository.identity().repository_id,
            snapshot: snapshot.sequence,
            incomplete: state.incomplete.as_ref().map(|it| it.detail.clone()),
            lost: state.lost.clone(),
        };
        let read = ReadPlan::new(repository, snapshot, id, state, selection).await?;
        self.partitions.push(PlannedExport {
            read,
            name,
            offsets: start..end,
            kafka_id: topic.kafka_id,
            from,
        });
        Ok(())
    }

    /// Returns the stored bytes of the segments that are read.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let segments = self.partitions.iter();
        let segments = segments.flat_map(|partition| partition.read.segments());
        segments.map(|segment| segment.size).sum()
    }

    /// Fails where a name is taken, by another partition or by what exists.
    pub(super) fn check(&self, options: &ExportOptions) -> Result<(), ExportError> {
        let mut names = BTreeSet::new();
        for PlannedExport { name, .. } in &self.partitions {
            if !names.insert(name) {
                return Err(ExportError::SameName { name: name.clone() });
            }
            self.check_name(&options.out, name, options.overwrite)?;
        }
        Ok(())
    }

    fn check_name(&self, out: &Path, name: &str, overwrite: bool) -> Result<(), ExportError> {
        let path = out.join(name);
        match output::exists(&path)? && !overwrite {
            true => Err(ExportError::Exists { path }),
            false => Ok(()),
        }
    }
}
