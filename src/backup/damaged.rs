//! What is wrong with what earlier backups stored, as far as that shows without reading it.
//!
//! A backup adds to a repository that lost something, since what it adds is worth having, and says so. It looks at the index and at the
//! histories that it continues: those that it stores anew need no old segment.

use std::collections::{BTreeSet, HashSet};

use kbk_format::repo::{RepoError, Repository, Snapshot, TopicState};
use kbk_tools::verify::{Finding, check_sizes};

use super::notice::BackupNotice;
use super::plan::{BackupPlan, PlannedTopic};

/// Reports objects that the newest snapshot names and listings show to be missing or damaged; `None` if there are none.
pub(super) async fn find(
    repository: &Repository,
    newest: Option<&Snapshot>,
    plan: &BackupPlan,
) -> Result<Option<BackupNotice>, RepoError> {
    let Some(newest) = newest else {
        return Ok(None);
    };
    let continued = plan.topics.iter().filter(|topic| is_continued(topic));
    let continued: HashSet<_> = continued
        .map(|topic| (&topic.name, topic.topic_id))
        .collect();
    let is_continued = |topic: &TopicState| continued.contains(&(&topic.name, topic.topic_id));
    let check = check_sizes(repository, newest, is_continued).await?;
    Ok(check.findings.first().map(|first| {
        let topics = check.findings.iter();
        let topics: BTreeSet<_> = topics.filter_map(|finding| finding.topic.clone()).collect();
        BackupNotice::DamagedObjects {
            objects: check.findings.len() as u64,
            topics: topics.into_iter().collect(),
            first: in_one_line(first),
        }
    }))
}

fn is_continued(topic: &PlannedTopic) -> bool {
    let mut partitions = topic.partitions.iter();
    partitions.any(|partition| partition.stored.is_some())
}

fn in_one_line(finding: &Finding) -> String {
    let key = finding.key.as_deref().unwrap_or_default();
    format!("{key}: {}, {}", finding.kind, finding.message)
}
