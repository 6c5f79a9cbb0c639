//! `kbk diff A B`: compares two snapshots, of one repository or of two.
//!
//! ```text
//! states    topics, configurations, coverage     no object is read
//! spans     coverage of both --> spans           rows of segments: the same objects, or the same digests
//! records   spans that differ --> records        read side by side, in constant memory
//! cluster   consumer groups, ACLs
//! ```
//!
//! Nothing is written. What cannot be read is a difference of its own, [`SnapshotDifference::NotCompared`], and everything else is still compared; only a
//! store that does not answer ends it. Equal digests are those that the snapshots state. That the objects are there, with the sizes that are stated,
//! is compared with listings; whether they hold what is stated is for `kbk verify` to say, unless every record is read ([`DiffOptions::full`]).
//!
//! | file | holds |
//! |---|---|
//! | `difference` | what can differ |
//! | `states` | topics and partitions, by what is stated of them |
//! | `spans` | the offsets that both cover, divided where segments of both end |
//! | `records` | the records of one partition |
//! | `cluster` | consumer groups and ACLs |
//! | `parts` | in which parts two records differ |

mod cluster;
mod difference;
mod parts;
mod records;
mod spans;
mod states;

use std::sync::{Mutex, PoisonError};

use kbk_format::PartitionNumber;
use kbk_format::repo::{Acls, Groups, RepoError, Repository, Snapshot, TopicState};
use serde::Serialize;
use tokio::runtime::Handle;

pub use self::difference::{
    Committed, PartitionOf, RecordDifference, Side, SnapshotDifference, TopicHistory,
};
pub use self::parts::differing_parts;
use self::records::{Found, RecordComparison};
use self::states::pair_topics;
use crate::share::FairShare;
use crate::verify::check_sizes;

/// Number of records that a difference shows of each range.
const SHOWN_RECORDS: usize = 10;

/// A snapshot, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct DiffSide<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The snapshot.
    pub snapshot: &'a Snapshot,
}

/// Selects topics of each side, and partitions of topics.
pub trait DiffSelection: Sync {
    /// Returns whether a topic of a side is compared.
    fn topic(&self, side: Side, topic: &TopicState) -> bool;

    /// Returns whether a partition of a selected topic is compared.
    fn partition(&self, topic: &TopicState, partition: PartitionNumber) -> bool;

    /// Returns whether everything is selected, so that groups and ACLs are compared, too.
    fn is_everything(&self) -> bool;
}

/// How two snapshots are compared.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions {
    /// Whether records are read although the digests that the snapshots state are the same.
    pub full: bool,
    /// Whether only records, and which offsets are covered, lost or missing, are compared: nothing that an import of logs cannot have.
    pub records_only: bool,
    /// Number of threads.
    pub threads: usize,
}

/// How two snapshots compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotDiff {
    /// Whether only records and their offsets were compared, and no configurations, groups or ACLs.
    pub records_only: bool,
    /// Number of topics that were compared.
    pub topics: u64,
    /// Number of partitions that were compared.
    pub partitions: u64,
    /// Records that both have, by what proved that they are the same.
    pub records: ComparedRecords,
    /// Number of consumer groups of both that were compared; null where they were not.
    pub groups: Option<u64>,
    /// Number of ACLs of both that were compared; null where they were not.
    pub acls: Option<u64>,
    /// The differences, and what could not be compared.
    pub differences: Vec<SnapshotDifference>,
}

/// Records that both have, by what proved that they are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ComparedRecords {
    /// In objects of which both snapshots state the same hash. They were not read.
    pub same_objects: u64,
    /// In other objects, of whose records both state the same digest. They were not read.
    pub same_digest: u64,
    /// Read and compared.
    pub read: u64,
}

impl ComparedRecords {
    fn add(&mut self, other: ComparedRecords) {
        self.same_objects += other.same_objects;
        self.same_digest += other.same_digest;
        self.read += other.read;
    }

    /// Returns their number.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.same_objects + self.same_digest + self.read
    }
}

impl SnapshotDiff {
    /// Returns whether everything was compared, and nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares two snapshots. Blocks, with the requests to stores on `runtime`.
///
/// # Errors
///
/// The error of a store. What is damaged or gone is a difference.
pub fn diff(
    a: DiffSide<'_>,
    b: DiffSide<'_>,
    selection: &dyn DiffSelection,
    options: DiffOptions,
    runtime: &Handle,
) -> Result<SnapshotDiff, RepoError> {
    let mut result = SnapshotDiff {
        records_only: options.records_only,
        ..SnapshotDiff::default()
    };
    let [cluster_a, cluster_b] = [a, b].map(|side| side.snapshot.cluster_id.clone());
    if let (Some(a), Some(b)) = (cluster_a, cluster_b)
        && a != b
    {
        let clusters = SnapshotDifference::Cluster { a, b };
        result.differences.push(clusters);
    }
    for (name, side) in [(Side::A, a), (Side::B, b)] {
        let selects = |topic: &TopicState| selection.topic(name, topic);
        let listed = check_sizes(side.repository, side.snapshot, selects);
        for finding in runtime.block_on(listed)?.findings {
            result.differences.push(SnapshotDifference::Object {
                side: name,
                key: finding.key,
                error: finding.message,
            });
        }
    }
    let [topics_a, topics_b] = [(Side::A, a), (Side::B, b)].map(|(name, side)| {
        let topics = side.snapshot.topics.iter();
        topics.filter(move |topic| selection.topic(name, topic))
    });
    let (topics, mut pairs) = pair_topics(
        topics_a,
        topics_b,
        options.records_only,
        &mut result.differences,
    );
    pairs.retain(|pair| selection.partition(pair.topic, pair.a.partition));
    result.topics = topics;
    result.partitions = pairs.len() as u64;
    let comparisons = pairs.into_iter().map(|pair| RecordComparison {
        pair,
        a,
        b,
        full: options.full,
        runtime,
    });
    for found in compare_all(comparisons.collect(), options.threads)? {
        result.records.add(found.records);
        result.differences.extend(found.differences);
    }
    if selection.is_everything() && !options.records_only {
        groups(a, b, &mut result, runtime)?;
        acls(a, b, &mut result, runtime)?;
    }
    Ok(result)
}

/// Compares partitions on several threads, and returns what was found of each in their order.
fn compare_all(
    comparisons: Vec<RecordComparison<'_>>,
    threads: usize,
) -> Result<Vec<Found>, RepoError> {
    let all: Mutex<Vec<(usize, Found)>> = Mutex::new(Vec::new());
    let share = FairShare::new(comparisons.into_iter().enumerate().collect(), threads, 1);
    share.run(|group| {
        for (number, comparison) in group {
            let mut differences = Vec::new();
            comparison.pair.coverage(&mut differences);
            let mut found = comparison.run()?;
            found.differences.splice(0..0, differences);
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((number, found));
        }
        Ok(())
    })?;
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_unstable_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, found)| found).collect())
}

/// What a side has saved of its cluster, or what it says of it.
enum Saved<T> {
    Something(T),
    Nothing,
    Unreadable(String),
}

impl<T> Saved<T> {
    async fn of(
        side: DiffSide<'_>,
        read: impl Future<Output = Result<Option<T>, RepoError>>,
    ) -> Result<Saved<T>, RepoError> {
        match read.await {
            Ok(Some(saved)) => Ok(Saved::Something(saved)),
            Ok(None) => Ok(Saved::Nothing),
            Err(error) => {
                let error = side.repository.store().judged(error).await;
                match error.is_of_one_object() {
                    true => Ok(Saved::Unreadable(error.to_string())),
                    false => Err(error),
                }
            }
        }
    }
}

/// Returns what both have saved; otherwise adds why that cannot be compared, unless neither has any.
fn both<T>(
    what: &'static str,
    a: Saved<T>,
    b: Saved<T>,
    differences: &mut Vec<SnapshotDifference>,
) -> Option<(T, T)> {
    let unreadable = |side, error| SnapshotDifference::NotCompared {
        side,
        what: what.to_owned(),
        offsets: None,
        error,
    };
    match (a, b) {
        (Saved::Something(a), Saved::Something(b)) => return Some((a, b)),
        (Saved::Unreadable(error), _) => differences.push(unreadable(Side::A, error)),
        (_, Saved::Unreadable(error)) => differences.push(unreadable(Side::B, error)),
        (Saved::Nothing, Saved::Nothing) => {}
        (Saved::Something(_), Saved::Nothing) => {
            let side = Side::A;
            differences.push(SnapshotDifference::SavedOnlyIn { side, what });
        }
        (Saved::Nothing, Saved::Something(_)) => {
            let side = Side::B;
            differences.push(SnapshotDifference::SavedOnlyIn { side, what });
        }
    }
    None
}

fn groups(
    a: DiffSide<'_>,
    b: DiffSide<'_>,
    result: &mut SnapshotDiff,
    runtime: &Handle,
) -> Result<(), RepoError> {
    let read = |side: DiffSide<'_>| -> Result<Saved<Groups>, RepoError> {
        runtime.block_on(Saved::of(side, side.repository.groups(side.snapshot)))
    };
    let (a, b) = (read(a)?, read(b)?);
    if let Some((a, b)) = both("consumer groups", a, b, &mut result.differences) {
        result.groups = Some(a.groups.len().max(b.groups.len()) as u64);
        cluster::groups(&a.groups, &b.groups, &mut result.differences);
    }
    Ok(())
}

fn acls(
    a: DiffSide<'_>,
    b: DiffSide<'_>,
    result: &mut SnapshotDiff,
    runtime: &Handle,
) -> Result<(), RepoError> {
    let read = |side: DiffSide<'_>| -> Result<Saved<Acls>, RepoError> {
        runtime.block_on(Saved::of(side, side.repository.acls(side.snapshot)))
    };
    let (a, b) = (read(a)?, read(b)?);
    if let Some((a, b)) = both("ACLs", a, b, &mut result.differences) {
        result.acls = Some(a.acls.len().max(b.acls.len()) as u64);
        cluster::acls(&a.acls, &b.acls, &mut result.differences);
    }
    Ok(())
}
