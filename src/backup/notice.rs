//! What a backup reports about the cluster or about itself, besides its counts.

use kbk_format::repo::TopicName;
use kbk_format::{OffsetSpan, PartitionNumber, counted};
use serde::Serialize;

use super::continuity::TruncatedEpoch;
use crate::human;

/// Something about the cluster or the run that the user should know.
///
/// Those that are [damage](BackupNotice::is_damage) make the exit code 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum BackupNotice {
    /// The log is not the one that was backed up: it was truncated, and may have grown again with other records. What it holds now
    /// is stored as a new history of the topic, beside the old one.
    Diverged {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionNumber,
        /// The first stored offset at which the log is known to differ.
        offset: i64,
        /// The exclusive end of the stored records.
        stored_end_offset: i64,
        /// The end of the log.
        high_watermark: i64,
        /// The leader epoch that proves it: the log has less of it than is stored. Null where the comparison of records does alone, or nothing
        /// is stored as batches, which state their epochs.
        truncated_epoch: Option<TruncatedEpoch>,
    },
    /// The last stored records are gone from the log, so nothing proves that what was appended continues them.
    Unproved {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionNumber,
        /// The exclusive end of the stored records, where this run continued.
        stored_end_offset: i64,
        /// Why there was nothing to compare.
        #[serde(flatten)]
        reason: Unproved,
    },
    /// A partition could not be read to its end.
    Unreadable {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionNumber,
        /// The exclusive end of what is stored of it.
        stored_end_offset: i64,
        /// The error.
        cause: String,
    },
    /// A topic was read again in full, and is stored as a new history beside the old one.
    Refreshed {
        /// The topic.
        topic: TopicName,
        /// Whether that was necessary: tombstones may have been written and removed since the last backup.
        tombstones_expired: bool,
    },
    /// A topic was deleted and created again while it was read. Nothing of it was stored by this run.
    RecreatedMeanwhile {
        /// The topic.
        topic: TopicName,
    },
    /// The cluster deleted records before they were read.
    Lost {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionNumber,
        /// The lost offsets.
        #[serde(flatten)]
        offsets: OffsetSpan,
    },
    /// Transactions stayed open: what follows them, committed records included, is left to the next run.
    OpenTransactions {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionNumber,
        /// The offset at which reading stopped.
        last_stable_offset: i64,
        /// The end of the log when the run started.
        high_watermark: i64,
    },
    /// A topic of the last snapshot was deleted and created again. The backup keeps both.
    Recreated {
        /// The topic.
        topic: TopicName,
    },
    /// A topic of the last snapshot no longer exists in the cluster. The backup keeps it.
    Deleted {
        /// The topic.
        topic: TopicName,
    },
    /// A damaged snapshot was passed over, as the user asked for.
    IgnoredSnapshot {
        /// The damaged one.
        snapshot: u64,
        /// The one that this backup continues; null if there is none.
        continued: Option<u64>,
    },
    /// A folder of the repository is gone, in which snapshots name objects.
    MissingFolder {
        /// Its name in the repository.
        folder: String,
    },
    /// Objects that the newest snapshot names are missing or damaged, as far as that shows without reading segments: of the index, and of the
    /// topics that this run continued. What it added is not affected.
    DamagedObjects {
        /// How many.
        objects: u64,
        /// The topics whose segments are among them.
        topics: Vec<String>,
        /// The first one, and what is wrong with it.
        first: String,
    },
    /// The repository was a copy, and this backup ends that: `kbk copy` cannot continue it.
    EndsCopy {
        /// The repository that it was a copy of.
        origin_repository: String,
    },
    /// Files that interrupted runs had left were removed from the repository.
    RemovedUnfinished {
        /// How many.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Partitions have no leader, so nobody can read them.
    NoLeader {
        /// The topic.
        topic: TopicName,
        /// Its partitions without a leader.
        partitions: Vec<PartitionNumber>,
    },
    /// This principal may not describe a topic that is selected by name, or is in the last snapshot.
    TopicHidden {
        /// The topic.
        topic: String,
        /// The cluster's error.
        cause: String,
    },
    /// The selection may cover more topics: brokers do not list those that a principal may not describe.
    TopicsHidden,
    /// The cluster did not report the configurations of topics.
    ConfigUnknown {
        /// The cluster's error, of the first of them.
        cause: String,
        /// Whether this principal lacks a permission; otherwise the cluster reports it to nobody.
        denied: bool,
        /// Topics that keep the configuration of the last snapshot.
        kept: Vec<String>,
        /// Topics without a configuration in this snapshot.
        missing: Vec<String>,
    },
    /// The cluster did not return its consumer groups: the snapshot keeps those of the last one.
    GroupsUnknown {
        /// The cluster's error.
        cause: String,
    },
    /// A broker did not list its consumer groups in time, or does not know yet which ones it coordinates. All others were saved; those of the
    /// last snapshot that were not listed are kept as they were.
    GroupsMissing {
        /// The groups that are kept.
        groups: Vec<String>,
        /// Why they, and perhaps others, are missing.
        cause: String,
    },
    /// This principal may not describe consumer groups that the cluster, or the last snapshot, lists.
    GroupsDenied {
        /// The cluster's error, of the first of them.
        cause: String,
        /// Groups that are kept as the last snapshot has them.
        kept: Vec<String>,
        /// Groups that are not in this snapshot.
        missing: Vec<String>,
    },
    /// Brokers do not report offsets committed of topics that this principal may not describe: those of the last snapshot are kept.
    OffsetsHidden {
        /// The topics.
        topics: Vec<TopicName>,
        /// The groups.
        groups: Vec<String>,
    },
    /// The cluster returned only the consumer groups that this principal may describe.
    GroupsHidden {
        /// How many of them there are.
        visible_groups: usize,
    },
    /// Groups that were not saved, because the Kafka client does not report all of their ids.
    GroupsUnreadable {
        /// Their ids, up to a NUL. One that is an id of its own is saved.
        groups: Vec<String>,
    },
    /// The cluster did not return its ACLs: the snapshot keeps those of the last one.
    AclsUnknown {
        /// The cluster's error.
        cause: String,
    },
    /// The cluster has ACLs that the Kafka client cannot represent. All others were saved.
    AclsLeftOut {
        /// How many.
        acls: usize,
    },
}

/// Why the last stored records could not be compared with the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Unproved {
    /// The log starts after them.
    Retention,
    /// None of the latest stored records is left.
    Compaction,
    /// All stored records were lost when damaged segments were recovered.
    Damaged,
    /// The stored copy is missing or damaged.
    StoredCopy {
        /// The error.
        cause: String,
    },
}

impl std::fmt::Display for Unproved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unproved::Retention => f.write_str("the log starts after the last of them"),
            Unproved::Compaction => f.write_str("the last ones were compacted away"),
            Unproved::Damaged => f.write_str("all of them were lost to damage"),
            Unproved::StoredCopy { cause } => {
                write!(
                    f,
                    "the last ones cannot be read: {cause}; `kbk verify` names what is damaged"
                )
            }
        }
    }
}

impl BackupNotice {
    /// Returns whether it says that what earlier backups stored is missing or damaged.
    #[must_use]
    pub fn is_about_stored_objects(&self) -> bool {
        matches!(
            self,
            BackupNotice::DamagedObjects { .. } | BackupNotice::MissingFolder { .. }
        )
    }

    /// Returns whether it is about partitions that lack records, which the statement of a partial snapshot counts.
    #[must_use]
    pub fn is_about_incomplete_partitions(&self) -> bool {
        matches!(
            self,
            BackupNotice::Unreadable { .. }
                | BackupNotice::NoLeader { .. }
                | BackupNotice::OpenTransactions { .. }
                | BackupNotice::RecreatedMeanwhile { .. }
        )
    }

    /// Returns whether something is missing from the backup that a restore needs.
    #[must_use]
    pub fn is_damage(&self, accept_open_transactions: bool) -> bool {
        match self {
            BackupNotice::Diverged { .. }
            | BackupNotice::Unreadable { .. }
            | BackupNotice::RecreatedMeanwhile { .. }
            | BackupNotice::NoLeader { .. }
            | BackupNotice::TopicHidden { .. }
            | BackupNotice::Lost { .. }
            | BackupNotice::IgnoredSnapshot { .. }
            | BackupNotice::MissingFolder { .. }
            | BackupNotice::DamagedObjects { .. }
            | BackupNotice::GroupsUnreadable { .. }
            | BackupNotice::GroupsMissing { .. } => true,
            BackupNotice::Unproved { reason, .. } => {
                matches!(reason, Unproved::StoredCopy { .. })
            }
            BackupNotice::OpenTransactions { .. } => !accept_open_transactions,
            // A restore would create these topics with the target's defaults.
            BackupNotice::ConfigUnknown {
                denied, missing, ..
            } => *denied && !missing.is_empty(),
            BackupNotice::GroupsDenied { missing, .. } => !missing.is_empty(),
            BackupNotice::Recreated { .. }
            | BackupNotice::Deleted { .. }
            | BackupNotice::EndsCopy { .. }
            | BackupNotice::RemovedUnfinished { .. }
            | BackupNotice::Refreshed { .. }
            | BackupNotice::TopicsHidden
            | BackupNotice::GroupsUnknown { .. }
            | BackupNotice::OffsetsHidden { .. }
            | BackupNotice::GroupsHidden { .. }
            | BackupNotice::AclsUnknown { .. }
            | BackupNotice::AclsLeftOut { .. } => false,
        }
    }
}

impl std::fmt::Display for BackupNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BackupNotice::Diverged {
                topic,
                partition,
                offset,
                stored_end_offset,
                high_watermark,
                truncated_epoch,
            } => {
                write!(
                    f,
                    "{topic}/{partition}: the log is not the one that was backed up: at offset {offset} it differs from the stored \
                     records, which end at offset {stored_end_offset} (it now ends at {high_watermark})"
                )?;
                if let Some(TruncatedEpoch {
                    leader_epoch,
                    end_offset,
                    stored_end_offset,
                }) = truncated_epoch
                {
                    write!(
                        f,
                        ", and its leader epoch {leader_epoch} ends at offset {end_offset}, where the stored one ends at {stored_end_offset}"
                    )?;
                }
                f.write_str(
                    ": it was truncated, as by an unclean leader election or a restored disk; all that the topic has now is stored as a new \
                     history, and the old one is kept beside it, and listed as replaced",
                )
            }
            BackupNotice::Unproved {
                topic,
                partition,
                stored_end_offset,
                reason,
            } => write!(
                f,
                "{topic}/{partition}: nothing proves that the log continues the stored records, which end at offset \
                 {stored_end_offset}: {reason}"
            ),
            BackupNotice::Unreadable {
                topic,
                partition,
                stored_end_offset,
                cause,
            } => write!(
                f,
                "{topic}/{partition} is stored up to offset {stored_end_offset} only: {cause}"
            ),
            BackupNotice::Refreshed {
                topic,
                tombstones_expired: true,
            } => write!(
                f,
                "{topic} was read again in full, and is stored beside what was stored before: it is compacted, and was last backed up \
                 longer ago than delete.retention.ms, so tombstones may have come and gone; more frequent backups avoid this"
            ),
            BackupNotice::Refreshed {
                topic,
                tombstones_expired: false,
            } => write!(
                f,
                "{topic} was read again in full, and is stored beside what was stored before"
            ),
            BackupNotice::RecreatedMeanwhile { topic } => write!(
                f,
                "{topic} was deleted and created again while it was read, and nothing of it was stored by this run; run the backup \
                 again to store the new topic"
            ),
            BackupNotice::Lost {
                topic,
                partition,
                offsets,
            } => write!(
                f,
                "{topic}/{partition}: {offsets} were deleted by the cluster before they were backed up; \
                 back up more often, or raise the topic's retention"
            ),
            BackupNotice::OpenTransactions {
                topic,
                partition,
                last_stable_offset,
                high_watermark,
            } => write!(
                f,
                "{topic}/{partition}: a transaction was open at offset {last_stable_offset}; {} are left to the next run \
                 (`kafka-transactions find-hanging` shows transactions that never end)",
                OffsetSpan::from(*last_stable_offset..*high_watermark)
            ),
            BackupNotice::Recreated { topic } => write!(
                f,
                "{topic} was deleted and created again since the last snapshot; the backup keeps both"
            ),
            BackupNotice::Deleted { topic } => {
                write!(
                    f,
                    "{topic} no longer exists in the cluster; the backup keeps it"
                )
            }
            BackupNotice::IgnoredSnapshot {
                snapshot,
                continued,
            } => {
                let base = match continued {
                    Some(base) => format!("snapshot {base}"),
                    None => "an empty repository".to_owned(),
                };
                write!(
                    f,
                    "snapshot {snapshot} is damaged or missing and was ignored: this backup continues {base}, with the segments that are intact of what \
                     snapshot {snapshot} added. What it added of topics that the cluster no longer has is not in this snapshot; nothing was removed"
                )
            }
            BackupNotice::MissingFolder { folder } => write!(
                f,
                "{folder} is gone from the repository, and snapshots name objects in it: restore the folder from a copy; \
                 `kbk verify` names what is missing"
            ),
            BackupNotice::DamagedObjects {
                objects,
                topics,
                first,
            } => {
                write!(
                    f,
                    "{} that earlier backups stored {} missing or damaged",
                    human::counted(*objects, "object"),
                    if *objects == 1 { "is" } else { "are" },
                )?;
                if !topics.is_empty() {
                    write!(f, ", of {}", human::some_of(topics))?;
                }
                write!(
                    f,
                    ": {first}; `kbk verify` names all and what each needs, and `kbk backup --refresh --topic TOPIC` stores again what the \
                     cluster still has of a topic"
                )
            }
            BackupNotice::EndsCopy { origin_repository } => write!(
                f,
                "this repository was a copy of repository {origin_repository}, and continues on its own with this backup: `kbk copy` cannot \
                 add to it any more"
            ),
            BackupNotice::RemovedUnfinished { files, bytes } => write!(
                f,
                "removed {} ({}) that interrupted runs had left unfinished in the repository",
                human::counted(*files, "file"),
                human::bytes(*bytes)
            ),
            BackupNotice::NoLeader { topic, partitions } => write!(
                f,
                "{topic}: {} not read, and {}, without a leader: start the brokers that hold {}, then back up again",
                were(partitions),
                match partitions.len() {
                    1 => "is incomplete in this snapshot",
                    _ => "are incomplete in this snapshot",
                },
                match partitions.len() {
                    1 => "it",
                    _ => "them",
                }
            ),
            BackupNotice::TopicHidden { topic, cause } => write!(
                f,
                "{topic} was not backed up, and may have new records: {cause}; what earlier backups have of it is kept"
            ),
            BackupNotice::TopicsHidden => f.write_str(
                "brokers do not list topics that this principal may not describe, nor the offsets that groups have committed of them: if \
                 there are any, they are not in this backup; it lists all topics with DESCRIBE on every TOPIC (kafka-acls --operation \
                 Describe --topic '*')",
            ),
            BackupNotice::ConfigUnknown {
                cause,
                kept,
                missing,
                ..
            } => {
                write!(f, "{cause}")?;
                if !kept.is_empty() {
                    let topics = human::some_of(kept);
                    write!(f, "; kept as the last snapshot has it: the configuration of {topics}")?;
                }
                if !missing.is_empty() {
                    let topics = human::some_of(missing);
                    write!(
                        f,
                        "; not in this snapshot: the configuration of {topics}, which a restore would create with the cluster's defaults"
                    )?;
                }
                Ok(())
            }
            BackupNotice::GroupsUnknown { cause } => write!(
                f,
                "consumer groups were not saved, those of the last snapshot, if any, are kept: {cause} (--no-groups skips them)"
            ),
            BackupNotice::GroupsMissing { groups, cause } => {
                write!(f, "consumer groups are missing: {cause}; {}", kept(groups))
            }
            BackupNotice::GroupsDenied {
                cause,
                kept,
                missing,
            } => {
                write!(f, "{cause}")?;
                if !kept.is_empty() {
                    let groups = named(kept);
                    write!(f, "; kept as the last snapshot has them: {groups}")?;
                }
                if !missing.is_empty() {
                    let groups = named(missing);
                    write!(f, "; not in this snapshot: {groups}")?;
                }
                Ok(())
            }
            BackupNotice::OffsetsHidden { topics, groups } => write!(
                f,
                "brokers do not report offsets committed of topics that this principal may not describe ({}): those of {} are kept as the \
                 last snapshot has them",
                human::some_of(topics),
                named(groups)
            ),
            BackupNotice::GroupsHidden { visible_groups: groups } => write!(
                f,
                "saved only the {} that this principal may describe: \
                 brokers list all groups to a principal with DESCRIBE on CLUSTER kafka-cluster",
                counted(*groups, "consumer group")
            ),
            BackupNotice::GroupsUnreadable { groups } => {
                let names = groups.iter().map(|group| format!("{group:?}"));
                write!(
                    f,
                    "not saved: groups whose ids have a NUL character, which the Kafka client cannot represent; up to it they are {}",
                    names.collect::<Vec<_>>().join(", ")
                )
            }
            BackupNotice::AclsUnknown { cause } => write!(
                f,
                "ACLs were not saved, those of the last snapshot, if any, are kept: {cause} (--no-acls skips them)"
            ),
            BackupNotice::AclsLeftOut { acls } => write!(
                f,
                "not saved: {} that the Kafka client cannot represent (on delegation tokens or users, or with an operation newer \
                 than the client)",
                human::counted(*acls as u64, "ACL")
            ),
        }
    }
}

/// Says which groups are kept from the last snapshot.
fn kept(groups: &[String]) -> String {
    match groups {
        [] => "which ones is not known, and the last snapshot has no others".to_owned(),
        groups => format!("kept as the last snapshot has them: {}", named(groups)),
    }
}

/// Lists groups, which may have any name.
fn named(groups: &[String]) -> String {
    let names: Vec<String> = groups.iter().map(|name| human::group_id(name)).collect();
    human::some_of(&names)
}

/// Names the partitions, and that they were.
fn were(partitions: &[PartitionNumber]) -> String {
    match partitions {
        [one] => format!("partition {one} was"),
        several => format!("partitions {} were", human::some_of(several)),
    }
}
