//! Which run of a restore writes: the one that took it over last.
//!
//! The brokers fence a producer when its transaction times out, and when another run takes over its transactional id, and do not say which of
//! the two happened. So a run that takes a restore over first commits who it is, and then initialises the transactional ids: whoever was fenced by
//! it finds its name. The first run of a restore says nothing.

use kbk_format::repo::{CommittedOffset, Id, RestoreManifest};
use kbk_tools::claims;

use crate::kafka::{Admin, CommittedTopic, GroupOffsets, KafkaError, TopicPartition};
use crate::records::Transport;
use crate::restore::error::RestoreError;

/// The prefix of the metadata that names a run (SPEC section 11.7).
const METADATA_PREFIX: &str = "kbk1:";

/// A run of a restore in transactions.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    id: Id,
    command: &'static str,
    /// Whether it has said who it is.
    announced: bool,
}

impl Run {
    /// The first run of a restore.
    pub(crate) fn first() -> Run {
        Run {
            id: Id::random(),
            command: "restore",
            announced: false,
        }
    }

    /// Says that a new run takes the restore over. To be done before it initialises the transactional ids.
    pub(crate) fn take_over(
        manifest: &RestoreManifest,
        command: &'static str,
        admin: &Admin,
    ) -> Result<Run, KafkaError> {
        let mut run = Run {
            command,
            ..Run::first()
        };
        let Some(at) = place(manifest) else {
            return Ok(run);
        };
        let committed = CommittedTopic {
            topic: at.topic,
            partitions: vec![CommittedOffset {
                partition: at.partition,
                offset: 0,
                leader_epoch: None,
                metadata: run.metadata(),
            }],
        };
        let said = admin.commit_offsets(&[GroupOffsets {
            group: manifest.run_group(),
            topics: vec![committed],
        }]);
        match said {
            Ok(()) => run.announced = true,
            // Nobody writes to a topic that is gone, and what follows says so.
            Err(KafkaError::UnknownTopic { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(run)
    }

    /// Fails if another run has taken the restore over since.
    pub(crate) fn check(
        &self,
        manifest: &RestoreManifest,
        transport: &impl Transport,
    ) -> Result<(), RestoreError> {
        let Some(at) = place(manifest) else {
            return Ok(());
        };
        let found = transport.committed(&manifest.run_group(), &[at])?;
        let found = found.into_iter().next().flatten();
        let Some(found) = found.map(|found| found.metadata) else {
            return Ok(());
        };
        let own = format!("{METADATA_PREFIX}{}", self.id);
        match found.split_once(' ') {
            Some((run, _)) if run == own => Ok(()),
            named => Err(RestoreError::TakenOver {
                restore: manifest.restore.clone(),
                holder: match named {
                    Some((run, who)) if run.starts_with(METADATA_PREFIX) => who.to_owned(),
                    _ => "another run".to_owned(),
                },
            }),
        }
    }

    fn metadata(&self) -> String {
        let who = claims::this_process_in_words(self.command);
        format!("{METADATA_PREFIX}{} {who}", self.id)
    }

    /// Returns whether its name must be deleted once the restore is finished.
    pub(crate) fn is_announced(&self) -> bool {
        self.announced
    }
}

/// Returns where a run says who it is: at the first target partition.
fn place(manifest: &RestoreManifest) -> Option<TopicPartition> {
    let topic = manifest.topics.first()?;
    let target = topic.targets.first()?;
    Some(TopicPartition::new(&*topic.target, target.partition))
}
