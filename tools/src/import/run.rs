//! The whole import: claims the topics, stores all partitions, commits.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{
    Change, ClaimedTopic, Digested, IMPORTED_REPLICATION, Id, Incomplete, IncompleteReason,
    PartitionChange, PartitionId, Repository, Snapshot, TopicChange, TopicName, WriteBase,
};
use tokio::runtime::Handle;

use super::error::ImportError;
use super::folder::{FoundLog, FoundLogs};
use super::partition::{self, Destination, Imported};
use super::report::{ImportFinding, ImportFindingKind, ImportReport};
use super::{ImportEvents, ImportOptions};
use crate::claims::{self, ClaimEvents, ClaimRequest, HeldClaim};
use crate::task::joined;

/// Topics that Kafka makes for itself.
pub(crate) const INTERNAL: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// Stores logs, and commits one snapshot that has them. `stop` ends the wait for another writer of the same topics.
///
/// # Errors
///
/// Why nothing was committed.
pub async fn import(
    repository: &Repository,
    found: FoundLogs,
    options: ImportOptions,
    stop: impl Future<Output = ()>,
    events: Arc<dyn ImportEvents>,
    claim_events: Arc<dyn ClaimEvents>,
) -> Result<ImportReport, ImportError> {
    let topics: BTreeSet<TopicName> = found.logs.iter().map(|log| log.topic.clone()).collect();
    let claimed = topics.into_iter().map(|topic| ClaimedTopic {
        topic,
        partitions: None,
    });
    let request = ClaimRequest {
        command: "import".to_owned(),
        writer: options.writer.clone(),
        topics: Some(claimed.collect()),
        can_select: true,
    };
    let held = claims::claim(repository, request, stop, claim_events).await?;
    let Some(held) = held else {
        return Ok(ImportReport {
            interrupted: true,
            ..ImportReport::default()
        });
    };
    let run = Run {
        repository,
        held: &held,
        options: Arc::new(options),
        events,
    };
    let imported = run.run(found).await;
    held.release().await;
    imported
}

/// Says what [`import`] finds before it reads a log: folders that are missing or cannot be read, and topics that the repository has. Nothing is
/// written.
///
/// # Errors
///
/// As [`import`].
pub async fn dry_run(
    repository: &Repository,
    found: FoundLogs,
    options: &ImportOptions,
) -> Result<ImportReport, ImportError> {
    let newest = repository.latest_to_change().await?;
    let newest = newest.as_deref();
    check_cluster(repository, &found, newest, options)?;
    let planned = plan(found.logs, newest)?;
    let replaced = replaced(&planned, newest);
    let mut findings = Vec::new();
    for (name, topic) in &planned {
        findings.extend(stored_beside(name, &replaced));
        findings.extend(without_id(name, topic));
        let found = topic.logs.iter().map(|log| log.partition).collect();
        let missing = topic.missing(&found).into_iter();
        findings.extend(missing.map(|number| topic.missing_partition(name, number).1));
    }
    Ok(ImportReport {
        findings,
        ..ImportReport::default()
    })
}

/// Fails where the folders are of another cluster than what is stored.
fn check_cluster(
    repository: &Repository,
    found: &FoundLogs,
    newest: Option<&Snapshot>,
    options: &ImportOptions,
) -> Result<(), ImportError> {
    let stored = newest.and_then(|newest| newest.cluster_id.clone());
    match (stored, found.cluster_id.clone()) {
        (Some(stored), Some(found)) if stored != found && !options.allow_cluster_change => {
            Err(ImportError::OtherCluster {
                what: format!("the newest snapshot of {}", repository.store().url()),
                stored,
                found,
            })
        }
        _ => Ok(()),
    }
}

struct Run<'a> {
    repository: &'a Repository,
    held: &'a HeldClaim,
    options: Arc<ImportOptions>,
    events: Arc<dyn ImportEvents>,
}

/// A topic, and the history that it is imported as.
struct PlannedTopic {
    topic_id: Id,
    kafka_id: Option<Id>,
    logs: Vec<FoundLog>,
    /// Those of which nothing can be read.
    unreadable: Vec<FoundLog>,
}

impl PlannedTopic {
    /// Returns the partitions up to the last one that was found, but for those of `found`.
    fn missing(&self, found: &BTreeSet<PartitionNumber>) -> Vec<PartitionNumber> {
        let unreadable = self.unreadable.iter().map(|log| log.partition);
        let last = unreadable.chain(found.iter().copied()).max();
        let last = last.unwrap_or_default();
        let numbers = PartitionNumber::all().take_while(|number| *number <= last);
        numbers.filter(|number| !found.contains(number)).collect()
    }

    /// Returns the state of one of them, whose folder was not given, or has nothing that can be read.
    fn missing_partition(
        &self,
        topic: &TopicName,
        partition: PartitionNumber,
    ) -> (PartitionChange, ImportFinding) {
        let mut unreadable = self.unreadable.iter();
        let unreadable = unreadable.find(|log| log.partition == partition);
        let problem = unreadable.and_then(|log| log.problem.as_deref());
        let detail = problem.unwrap_or("its folder is in none of those that were given");
        let change = PartitionChange {
            partition,
            log_start_offset: -1,
            high_watermark: -1,
            last_stable_offset: -1,
            incomplete: Some(Incomplete {
                reason: IncompleteReason::Unreadable,
                detail: detail.to_owned(),
            }),
            segments: Vec::new(),
            lost: Vec::new(),
        };
        let kind = match unreadable.is_some_and(|log| log.has_swap) {
            true => ImportFindingKind::UnfinishedCompaction,
            false => ImportFindingKind::MissingPartition,
        };
        let finding = ImportFinding::new(kind, topic, Some(partition), detail.to_owned());
        (change, finding)
    }
}

impl Run<'_> {
    async fn run(&self, found: FoundLogs) -> Result<ImportReport, ImportError> {
        let started_at = Timestamp::now();
        let base = self.repository.latest_to_change().await?;
        check_cluster(self.repository, &found, base.as_deref(), &self.options)?;
        let read_after = base.as_ref().map_or(0, |base| base.sequence);
        let stored_id = base.as_ref().and_then(|base| base.cluster_id.clone());
        let cluster_id = found.cluster_id.or(stored_id);
        let planned = plan(found.logs, base.as_deref())?;
        let ids = planned.iter().flat_map(|(name, topic)| {
            topic.logs.iter().map(|log| PartitionId {
                topic: name.clone(),
                topic_id: topic.topic_id,
                partition: log.partition,
            })
        });
        let write_base = WriteBase::new(base.as_deref(), 0, ids);
        self.held.will_commit(write_base).await;
        let importing = self.import_all(&planned, cluster_id.clone());
        let Some(imported) = self.held.unless_lost(importing).await?? else {
            return Ok(ImportReport {
                interrupted: true,
                ..ImportReport::default()
            });
        };
        let mut report = ImportReport::default();
        let topics = changes(&planned, imported, base.as_deref(), &mut report);
        let change = Change {
            gone: replaced(&planned, base.as_deref()),
            base,
            ignored: BTreeSet::new(),
            read_after,
            nonce: Id::random(),
            started_at,
            created_at: Timestamp::now(),
            writer: self.options.writer.clone(),
            cluster_id,
            topics,
            unseen: Vec::new(),
            groups: None,
            acls: None,
        };
        let snapshot = self.commit(&change).await?;
        report.snapshot = Some(snapshot.sequence);
        Ok(report)
    }

    /// Imports every log, in the order of the plan; `None` if a signal ended it.
    async fn import_all(
        &self,
        planned: &BTreeMap<TopicName, PlannedTopic>,
        cluster_id: Option<String>,
    ) -> Result<Option<Vec<Imported>>, ImportError> {
        let destination = Destination {
            store: self.repository.store().clone(),
            cluster_id,
            runtime: Handle::current(),
            options: Arc::clone(&self.options),
            events: Arc::clone(&self.events),
        };
        let logs = planned.values().flat_map(|topic| {
            let logs = topic.logs.iter().cloned();
            logs.map(|log| (log, topic.topic_id))
        });
        let logs: Vec<(FoundLog, Id)> = logs.collect();
        let begin = |(log, topic_id): (FoundLog, Id)| {
            let destination = destination.clone();
            async move {
                let folder = log.folder.clone();
                let task = tokio::task::spawn_blocking(move || {
                    partition::import(&log, topic_id, &destination)
                });
                joined(task.await).map_err(|cancelled| {
                    ImportError::io("read", &folder)(std::io::Error::other(cancelled))
                })?
            }
        };
        let mut imports = stream::iter(logs)
            .map(begin)
            .buffered(self.options.threads.max(1));
        let mut all = Vec::new();
        while let Some(imported) = imports.next().await {
            match imported? {
                Some(imported) => all.push(imported),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }

    async fn commit(&self, change: &Change) -> Result<Digested<Snapshot>, ImportError> {
        self.held.check().await?;
        match self.repository.commit(change).await {
            Ok(snapshot) => Ok(snapshot),
            Err(error) => Err(match self.held.explain(error).await {
                Ok(lost) => lost.into(),
                Err(error) => error.into(),
            }),
        }
    }
}

/// Decides which history each topic is imported as: that of Kafka's id, unless the repository has it.
fn plan(
    logs: Vec<FoundLog>,
    newest: Option<&Snapshot>,
) -> Result<BTreeMap<TopicName, PlannedTopic>, ImportError> {
    let mut topics: BTreeMap<TopicName, PlannedTopic> = BTreeMap::new();
    for log in logs {
        let topic = topics.entry(log.topic.clone()).or_insert(PlannedTopic {
            topic_id: Id::ZERO,
            kafka_id: None,
            logs: Vec::new(),
            unreadable: Vec::new(),
        });
        if log.problem.is_some() {
            topic.unreadable.push(log);
            continue;
        }
        if let Some(found) = log.topic_id {
            let stated = topic.logs.iter().find(|other| other.topic_id.is_some());
            match stated {
                Some(first) if first.topic_id != log.topic_id => {
                    return Err(ImportError::TopicIds {
                        topic: log.topic.to_string(),
                        first: first.folder.clone(),
                        second: log.folder,
                    });
                }
                _ => topic.kafka_id = Some(found),
            }
        }
        topic.logs.push(log);
    }
    for (name, topic) in &mut topics {
        if topic.logs.is_empty() {
            topic.kafka_id = topic.unreadable.iter().find_map(|log| log.topic_id);
        }
        let id = topic.kafka_id.unwrap_or(Id::ZERO);
        let mut stored = newest.into_iter().flat_map(|newest| &newest.topics);
        let is_stored = stored.any(|stored| stored.name == *name && stored.topic_id == id);
        topic.topic_id = match is_stored {
            true => Id::random(),
            false => id,
        };
    }
    Ok(topics)
}

/// Returns the histories of the repository that are not the topics' newest any more.
fn replaced(
    planned: &BTreeMap<TopicName, PlannedTopic>,
    newest: Option<&Snapshot>,
) -> Vec<(TopicName, Id)> {
    let stored = newest.into_iter().flat_map(|newest| &newest.topics);
    stored
        .filter(|topic| !topic.deleted && planned.contains_key(&topic.name))
        .map(|topic| (topic.name.clone(), topic.topic_id))
        .collect()
}

/// Returns what changes, topic by topic. Every partition up to the last one that was found has a state.
fn changes(
    planned: &BTreeMap<TopicName, PlannedTopic>,
    imported: Vec<Imported>,
    newest: Option<&Snapshot>,
    report: &mut ImportReport,
) -> Vec<TopicChange> {
    let mut imported = imported.into_iter();
    let replaced = replaced(planned, newest);
    let mut changes = Vec::new();
    for (name, topic) in planned {
        report.findings.extend(stored_beside(name, &replaced));
        report.findings.extend(without_id(name, topic));
        let mut partitions: BTreeMap<PartitionNumber, PartitionChange> = BTreeMap::new();
        for Imported {
            row,
            change,
            findings,
        } in imported.by_ref().take(topic.logs.len())
        {
            report.records += row.records;
            report.segments += change.segments.len() as u64;
            let sizes = change.segments.iter().map(|segment| segment.size);
            report.stored_bytes += sizes.sum::<u64>();
            report.partitions.push(row);
            report.findings.extend(findings);
            partitions.insert(change.partition, change);
        }
        let found = partitions.keys().copied().collect();
        for number in topic.missing(&found) {
            let (missing, finding) = topic.missing_partition(name, number);
            report.findings.push(finding);
            partitions.insert(number, missing);
        }
        changes.push(TopicChange {
            name: name.clone(),
            topic_id: topic.topic_id,
            kafka_id: topic.kafka_id,
            internal: INTERNAL.contains(&&**name),
            replication_factor: IMPORTED_REPLICATION,
            config: None,
            partitions: partitions.into_values().collect(),
        });
    }
    changes
}

/// Says that the repository has a topic, if it is one of those that give way.
fn stored_beside(name: &TopicName, replaced: &[(TopicName, Id)]) -> Option<ImportFinding> {
    let is_stored = replaced.iter().any(|(stored, _)| stored == name);
    let message = "the repository has this topic: an import is stored beside it, and what was stored before is kept as a replaced history";
    let kind = ImportFindingKind::StoredBeside;
    is_stored.then(|| ImportFinding::new(kind, name, None, message.to_owned()))
}

/// Says which folders of a topic do not state its id, where others do.
fn without_id(name: &TopicName, topic: &PlannedTopic) -> Vec<ImportFinding> {
    let unnamed = topic.logs.iter().filter(|log| log.topic_id.is_none());
    let unnamed = unnamed.filter(|_| topic.kafka_id.is_some()).map(|log| {
        let message = format!(
            "{} has no partition.metadata that states the topic's id, and other folders of the topic do: nothing but the name proves that it is of the same \
             topic, as which it is stored",
            log.folder.display()
        );
        ImportFinding::new(ImportFindingKind::NoTopicId, name, Some(log.partition), message)
    });
    unnamed.collect()
}
