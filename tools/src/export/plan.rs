//! Which partitions are written, under which names.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use kbk_format::kafka_log::partition_folder;
use kbk_format::repo::{
    Id, LostRange, PartitionState, RepoError, Repository, Snapshot, TopicState,
};

use super::error::ExportError;
use super::output::{self, Replaced};
use super::partition::Written;
use super::report::ExportedPartition;
use super::{ExportFormat, ExportOptions};
use crate::read::{ReadPlan, Selection};
use crate::unread_range::UnreadRange;

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
    /// Its offsets, where the index does not say which segments have them.
    pub(super) unindexed: Option<UnreadRange>,
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
            not_decoded_records: 0,
            segments: written.segments,
            bytes: written.bytes,
            replaced: replaced.exists,
            not_replaced: false,
            removed: replaced.folders.into_iter().collect(),
        }
    }

    /// Returns the row of the partition where what exists under its name stays.
    pub(super) fn not_replaced(&self) -> ExportedPartition {
        ExportedPartition {
            not_replaced: true,
            ..self.exported(0, Written::default(), Replaced::default())
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

/// Returns what cannot be read because of an error of the index.
async fn unindexed(
    repository: &Repository,
    snapshot: &Snapshot,
    error: RepoError,
) -> Result<UnreadRange, RepoError> {
    let error = repository.explain(snapshot.sequence, error).await;
    let error = repository.store().judged(error).await;
    match error.records() {
        Some((_, offsets)) if error.is_of_one_object() => Ok(UnreadRange::new(
            offsets.base_offset..offsets.end_offset,
            &error,
        )),
        _ => Err(error),
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
    /// As [`ReadPlan::new`], but for damage: a partition whose index cannot be read, although others can, is exported without records.
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
        let planned = ReadPlan::new(repository, snapshot, id.clone(), state, selection.clone());
        let (read, unindexed) = match planned.await {
            Ok(read) => (read, None),
            Err(error) => {
                let unread = unindexed(repository, snapshot, error).await?;
                let read = ReadPlan::without_segments(repository, snapshot, id, selection);
                (read, Some(unread))
            }
        };
        self.partitions.push(PlannedExport {
            read,
            name,
            offsets: start..end,
            kafka_id: topic.kafka_id,
            from,
            unindexed,
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

    /// Returns the folders that an export removes, since it replaces partitions as a whole, by their names in the folder that is exported to:
    /// those of dates outside of the times of the selected records. There may be more, and none of a partition that turns out to have records
    /// that cannot be read.
    ///
    /// # Errors
    ///
    /// If what exists cannot be listed.
    pub fn removes(&self, options: &ExportOptions) -> Result<Vec<String>, ExportError> {
        let mut all = Vec::new();
        if options.overwrite {
            let read = self.partitions.iter().filter(|it| it.unindexed.is_none());
            for planned in read {
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
