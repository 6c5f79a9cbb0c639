//! Which partitions are written, under which names.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use kbk_format::kafka_log::partition_folder;
use kbk_format::repo::{Id, LostRange, PartitionState, Repository, Snapshot, TopicState};

use super::error::ExportError;
use super::output::{self, Replaced};
use super::partition::Written;
use super::report::ExportedPartition;
use super::{ExportFormat, ExportOptions};
use crate::read::{ReadPlan, Selection};

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

    /// Returns the row of the partition in the report.
    pub(super) fn exported(
        &self,
        records: u64,
        written: Written,
        replaced: Replaced,
    ) -> ExportedPartition {
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
            replaced: replaced.exists,
            removed: replaced.folders.into_iter().collect(),
        }
    }

    /// Returns what exists under its name, and the folders in it that no selected record is for by its timestamp.
    pub(super) fn replaces(&self, options: &ExportOptions) -> Result<Replaced, ExportError> {
        let mut replaced = Replaced::at(&options.out.join(&self.name))?;
        if let ExportFormat::Parquet(layout) = options.format {
            let times = self.times();
            replaced
                .folders
                .retain(|folder| !layout.folders.may_write(folder, times.as_ref()));
        }
        Ok(replaced)
    }

    /// Returns the times that selected records may have; `None` where there is no such record.
    fn times(&self) -> Option<RangeInclusive<i64>> {
        let segments = self.read.segments().iter();
        // Of what is not computed, the smallest timestamp may be any.
        let first = segments
            .clone()
            .map(|it| it.min_timestamp.unwrap_or(i64::MIN))
            .min()?;
        let last = segments.map(|it| it.max_timestamp).max()?;
        let selected = self.read.times();
        let times = first.max(*selected.start())..=last.min(*selected.end());
        (!times.is_empty()).then_some(times)
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
            incomplete: state.lacking().map(|it| it.detail.clone()),
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

    /// Returns the folders that an export removes for certain, since it replaces partitions as a whole, by their names in the folder that is
    /// exported to: those of dates outside of the times of the selected records. There may be more.
    ///
    /// # Errors
    ///
    /// If what exists cannot be listed.
    pub fn removes(&self, options: &ExportOptions) -> Result<Vec<String>, ExportError> {
        let mut all = Vec::new();
        if options.overwrite {
            for planned in &self.partitions {
                let folders = planned.replaces(options)?.folders.into_iter();
                all.extend(folders.map(|folder| format!("{}/{folder}", planned.name)));
            }
        }
        Ok(all)
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
