//! The partitions or files that are searched, and how they are called.

use kbk_format::PartitionNumber;
use kbk_format::repo::{PartitionId, PartitionState};
use kbk_tools::grep::SearchSource;

use super::super::record_args::{FileOpener, Partitions, RecordArgs, stored};
use crate::cli::CliError;

/// What is searched, in the order of printing.
pub(super) struct Targets<'a> {
    targets: Vec<Target<'a>>,
    /// Files that cannot be opened: nothing of them can be searched.
    unopened: Vec<(String, String)>,
    stored: Vec<String>,
}

/// One partition or file.
pub(super) struct Target<'a> {
    /// A partition as an argument of a command, or the path of a file.
    pub(super) name: String,
    pub(super) topic: String,
    /// `None` of a file.
    pub(super) topic_id: Option<String>,
    pub(super) partition: PartitionNumber,
    source: SearchSource<'a>,
}

impl<'a> Targets<'a> {
    pub(super) fn of_partitions(partitions: &Partitions<'a>) -> Targets<'a> {
        let target = |(topic, state): &(&'a kbk_format::repo::TopicState, &'a PartitionState)| {
            let partition: PartitionId = topic.partition_id(state.partition);
            Target {
                name: partitions.name((topic, state)),
                topic: topic.name.to_string(),
                topic_id: Some(topic.topic_id.to_string()),
                partition: state.partition,
                source: SearchSource::Partition {
                    repository: partitions.repository,
                    snapshot: partitions.snapshot,
                    partition,
                    state,
                    offsets: partitions.offsets(state),
                },
            }
        };
        Targets {
            targets: partitions.selected.iter().map(target).collect(),
            unopened: Vec::new(),
            stored: partitions.stored(),
        }
    }

    /// Opens the files, past those that cannot be opened.
    pub(super) async fn of_files(args: &RecordArgs) -> Result<Targets<'a>, CliError> {
        let mut found = Targets {
            targets: Vec::new(),
            unopened: Vec::new(),
            stored: Vec::new(),
        };
        let offsets = args.offsets()?;
        let mut opener = FileOpener::default();
        for path in args.segment_files()? {
            let Some(file) = opener.open(path).await? else {
                continue;
            };
            let name = path.display().to_string();
            let segment = file.segment();
            let (header, covered) = (segment.header(), segment.coverage());
            let records = segment.statistics().record_count;
            found.stored.push(stored(&name, records, covered.clone()));
            found.targets.push(Target {
                name,
                topic: header.topic.clone(),
                topic_id: None,
                partition: header.partition,
                source: SearchSource::File {
                    offsets: offsets.resolve(covered.start, covered.end),
                    file,
                },
            });
        }
        found.unopened = opener.left_out();
        opener.end()?;
        Ok(found)
    }

    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn get(&self, number: usize) -> &Target<'a> {
        &self.targets[number]
    }

    /// Returns the topic and the partition of each.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (&str, PartitionNumber)> {
        let targets = self.targets.iter();
        targets.map(|target| (&*target.topic, target.partition))
    }

    pub(super) fn sources(&self) -> Vec<SearchSource<'a>> {
        let targets = self.targets.iter();
        targets.map(|target| target.source.clone()).collect()
    }

    /// Returns the files that cannot be opened, each with the reason.
    pub(super) fn unopened(&self) -> &[(String, String)] {
        &self.unopened
    }

    /// Says which offsets of each there are to select from.
    pub(super) fn stored(&self) -> &[String] {
        &self.stored
    }
}
