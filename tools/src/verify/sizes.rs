//! Compares what listings show with what a snapshot states: which of its objects are missing, and which have another size.
//!
//! No segment is read, so this is cheap enough for every backup and every `kbk status`; many topics of a bucket are listed at once. A partition's row states the number of its segments and
//! the sum of their sizes. Only where a listing shows less, or another sum, the rows of its segments are read, and compared one by one. What has the right
//! size and other bytes is found by a verification alone.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt, stream};
use kbk_format::PartitionNumber;
use kbk_format::repo::{
    Key, ListedObject, ListedSum, PartitionId, PartitionState, RepoError, Repository, SegmentEntry,
    Snapshot, TopicState,
};
use serde::Serialize;

use super::finding::{Finding, FindingKind};
use super::remedy::Remedy;

/// Tables are read where all of them together have at most this many bytes; of others, only the sizes are compared.
const READ_TABLES_BYTES: u64 = 8 << 20;

/// What listings show of a snapshot's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SizeCheck {
    /// Segments that were looked for: those of the selected topics.
    pub segments: u64,
    /// Whether the number and the bytes of each partition's segments were compared, and not each of them. Where they differ, each was.
    pub segments_by_partition: bool,
    /// Tables of the index that were looked for.
    pub tables: u64,
    /// Whether the tables were read, too; large ones are not.
    pub tables_read: bool,
    /// What is missing or has another size. JSON has the members of the findings of `kbk verify`.
    pub findings: Vec<Finding>,
}

/// Looks for the tables of the index and the segments of the topics that `selects` returns true for.
///
/// # Errors
///
/// If a folder cannot be listed. That an object is missing or damaged is a finding.
pub async fn check_sizes(
    repository: &Repository,
    snapshot: &Snapshot,
    selects: impl Fn(&TopicState) -> bool,
) -> Result<SizeCheck, RepoError> {
    let mut check = index(repository, snapshot).await?;
    let topics: Vec<&TopicState> = snapshot.topics.iter().filter(|it| selects(it)).collect();
    let states = topics.iter().flat_map(|topic| &topic.partitions);
    check.segments = states.map(|state| state.segments).sum();
    let parallel = repository.store().profile().parallel_requests;
    let with_segments: Vec<&TopicState> =
        topics.into_iter().filter(|it| has_segments(it)).collect();
    let sums = repository.listed_sums(snapshot, &with_segments).await?;
    check.segments_by_partition = sums.is_some();
    // Where the sums are known, only what they do not match is listed on its own.
    let to_list = with_segments.into_iter().filter(|topic| {
        let matches = |sums| has_sums(topic, sums);
        !sums.as_ref().is_some_and(matches)
    });
    let checks = to_list.map(|topic| topic_findings(repository, snapshot, topic));
    let mut found = stream::iter(checks).buffered(parallel.max(1));
    while let Some(findings) = found.next().await {
        for finding in findings? {
            check.add(finding);
        }
    }
    let remedy = Remedy {
        repository: repository.store().url(),
        origin: snapshot.origin.as_ref(),
    };
    for finding in &mut check.findings {
        finding.snapshot = Some(snapshot.sequence);
        *finding = finding.clone().mended_by(remedy);
        if let Some(origin) = &snapshot.origin {
            *finding = finding.clone().in_copy(origin);
        }
    }
    Ok(check)
}

fn has_segments(topic: &TopicState) -> bool {
    topic.partitions.iter().any(|state| state.segments > 0)
}

/// Returns whether all segments are there that the rows of a topic's partitions state.
fn has_sums(topic: &TopicState, sums: &HashMap<PartitionId, ListedSum>) -> bool {
    topic.partitions.iter().all(|state| {
        let listed = sums.get(&topic.partition_id(state.partition)).copied();
        is_stated(state, listed.unwrap_or_default())
    })
}

/// Returns whether these are the segments that a partition's row states.
fn is_stated(state: &PartitionState, listed: ListedSum) -> bool {
    let stated = ListedSum {
        segments: state.segments,
        bytes: state.stored_bytes,
    };
    listed == stated
}

impl SizeCheck {
    /// A table that cannot be read is one finding, however many partitions it is about.
    fn add(&mut self, finding: Finding) {
        let is_of_table = |finding: &Finding| {
            let key = finding.key.as_deref().and_then(Key::parse);
            matches!(key, Some(Key::Table { .. }))
        };
        let mut known = self.findings.iter();
        if !(is_of_table(&finding) && known.any(|other| other.key == finding.key)) {
            self.findings.push(finding);
        }
    }
}

/// Looks for the tables, groups and ACLs that a snapshot names.
async fn index(repository: &Repository, snapshot: &Snapshot) -> Result<SizeCheck, RepoError> {
    let listed = repository.index_objects().await?.into_iter();
    let listed: HashMap<Key, u64> = listed.map(|object| (object.key, object.bytes)).collect();
    let (tables, unread) = repository.tables(snapshot).await?;
    let (missing, damaged) = (FindingKind::MissingTable, FindingKind::DamagedTable);
    let groups = snapshot.groups.as_ref().map(|groups| groups.object);
    let acls = snapshot.acls.as_ref().map(|acls| acls.object);
    let answers = [groups, acls].into_iter().flatten();
    let answers = answers.map(|object| {
        let sha256 = object.sha256;
        (Key::Cluster { sha256 }, object.size)
    });
    let named = tables.iter().map(|table| (table.key(), table.size));
    let mut check = SizeCheck {
        tables: tables.len() as u64,
        tables_read: tables.iter().map(|table| table.size).sum::<u64>() <= READ_TABLES_BYTES,
        ..SizeCheck::default()
    };
    for error in unread {
        check.add(Finding::of_error(&error, damaged, missing));
    }
    for (key, size) in named.chain(answers) {
        let found = listed.get(&key).copied();
        check
            .findings
            .extend(difference(&key, size, found, missing));
    }
    if !check.tables_read {
        return Ok(check);
    }
    for table in &tables {
        match repository.table_segments(table).await {
            Ok(_) => {}
            Err(error) if repository.store().is_about_one_object(&error).await => {
                check.add(Finding::of_error(&error, damaged, missing));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(check)
}

/// Compares the listing of a topic's segments with its partitions.
async fn topic_findings(
    repository: &Repository,
    snapshot: &Snapshot,
    topic: &TopicState,
) -> Result<Vec<Finding>, RepoError> {
    let mut listed: BTreeMap<PartitionNumber, Vec<ListedObject>> = BTreeMap::new();
    for object in repository
        .topic_segments(&topic.name, topic.topic_id)
        .await?
    {
        if let Key::Segment { partition, .. } = &object.key {
            listed.entry(partition.partition).or_default().push(object);
        }
    }
    let mut findings = Vec::new();
    for state in &topic.partitions {
        let listed = listed.remove(&state.partition).unwrap_or_default();
        if has_all(state, &listed) {
            continue;
        }
        let partition = topic.partition_id(state.partition);
        match repository.segments(snapshot, &partition, state).await {
            Ok(entries) => findings.extend(differences(&partition, &entries, &listed)),
            Err(error) if repository.store().is_about_one_object(&error).await => {
                let (damaged, missing) = (FindingKind::DamagedTable, FindingKind::MissingTable);
                let finding = Finding::of_error(&error, damaged, missing).partition(&partition);
                findings.push(finding.offsets(state.base_offset, state.end_offset));
            }
            Err(error) => return Err(error),
        }
    }
    if !topic.deleted {
        let repaired = findings.into_iter();
        let repaired = repaired.map(|it| match topic.is_imported() {
            true => it.of_imported_topic(),
            false => it.repaired_by_refresh(&topic.name),
        });
        findings = repaired.collect();
    }
    for finding in &mut findings {
        finding.is_former_history = topic.deleted;
    }
    Ok(findings)
}

/// Returns whether the segments that are there add up to what a partition's row states. Those after its end are of an interrupted run.
fn has_all(state: &PartitionState, listed: &[ListedObject]) -> bool {
    let mut sum = ListedSum::default();
    for object in listed {
        if let Key::Segment { base_offset, .. } = object.key
            && base_offset < state.end_offset
        {
            sum.add(object.bytes);
        }
    }
    is_stated(state, sum)
}

fn differences(
    partition: &PartitionId,
    entries: &[SegmentEntry],
    listed: &[ListedObject],
) -> Vec<Finding> {
    let listed = listed.iter();
    let listed: HashMap<String, u64> = listed
        .map(|object| (object.key.to_string(), object.bytes))
        .collect();
    let missing = FindingKind::MissingSegment;
    let findings = entries.iter().filter_map(|entry| {
        let found = listed.get(&entry.key).copied();
        let finding = difference(&entry.key, entry.size, found, missing)?;
        Some(finding.segment(entry).partition(partition))
    });
    findings.collect()
}

/// Compares the size of an object with the one that is stated; `found` is `None` where it does not exist.
pub(super) fn difference(
    key: &impl ToString,
    expected: u64,
    found: Option<u64>,
    missing: FindingKind,
) -> Option<Finding> {
    let finding = match found {
        Some(found) if found == expected => return None,
        Some(found) => {
            let message = format!("it has {found} bytes, and the index states {expected}");
            Finding::new(FindingKind::WrongSize, message)
        }
        None => Finding::new(missing, "the snapshot names it, but it does not exist"),
    };
    Some(finding.key(&key.to_string()))
}
