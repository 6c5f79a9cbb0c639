//! Manifests: the JSON of a snapshot, which names everything that is in it (SPEC section 11.5).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::acls::AclsRef;
use super::groups::GroupsRef;
use super::id::{Digest, Id};
use super::index::Run;
use super::members;
use super::order::check_order;
use super::origin::Origin;
use super::ranges;
use super::sealed::{Document, seal};
use super::states::TopicState;
use crate::layout::limits;

/// What a snapshot states by itself. A few KB, whatever the repository holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The repository it belongs to.
    pub repository_id: Id,
    /// From 1, incremented by each commit.
    pub sequence: u64,
    /// The snapshot that this one is based on.
    pub parent: Option<ParentRef>,
    /// Random: lets the writer recognise its own commit.
    pub nonce: Id,
    /// When its backup read the offsets.
    pub started_at: Timestamp,
    /// When its backup created a snapshot.
    pub created_at: Timestamp,
    /// What committed the snapshot, where no backup did: it holds what the last backup's snapshot holds.
    pub maintenance: Option<Maintenance>,
    /// The snapshot of another repository that it is a copy of.
    pub origin: Option<Origin>,
    /// Sequence of the snapshot that follows; `None` where it is one above its own.
    pub next: Option<u64>,
    /// Program and version.
    pub writer: String,
    /// Kafka's id of the cluster, where it gave one.
    pub cluster_id: Option<String>,
    /// What its topics add up to.
    pub totals: Totals,
    /// When topics that the same backups found were last seen.
    pub sightings: Vec<Sighting>,
    /// Where its rows are, the newest first.
    pub runs: Vec<Run>,
    /// The cluster's consumer groups; `None` until a backup has read them.
    pub groups: Option<GroupsRef>,
    /// The cluster's ACLs; `None` until a backup has read them.
    pub acls: Option<AclsRef>,
    /// The sequences of snapshots that were forgotten: ranges, both ends included.
    pub forgotten: Vec<(u64, u64)>,
    /// The prune that is in progress.
    pub pruning: Option<Pruning>,
    /// Sequence of the snapshot that began the last prune; 0 where there was none.
    pub pruned: u64,
}

/// Why a snapshot was committed that no backup made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// The command, such as `forget`, for people.
    pub command: String,
    /// What it was asked to do, for people.
    pub detail: String,
    /// When it created the snapshot.
    pub at: Timestamp,
    /// Sequence of the snapshot of the last backup, 0 where there was none; it may have been forgotten.
    pub backup: u64,
}

/// The name and digest of a snapshot's parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRef {
    /// Its number.
    pub sequence: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Sums over all topics, deleted ones too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Number of histories of topics.
    pub topics: u64,
    /// Number of partitions.
    pub partitions: u64,
    /// Number of segments.
    pub segments: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes of the segments.
    pub stored_bytes: u64,
    /// Bytes of the records before compression.
    pub raw_bytes: u64,
    /// Smallest timestamp in milliseconds; `None` without records.
    pub min_timestamp: Option<i64>,
    /// Largest timestamp in milliseconds; `None` without records.
    pub max_timestamp: Option<i64>,
    /// The number of partitions that lack records, by reason. Those of deleted topics count only where a later copy can complete them.
    #[serde(deserialize_with = "members::unique")]
    pub incomplete: BTreeMap<String, u64>,
}

/// A set of topics that the same backups found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Names it in the rows of its topics.
    pub id: u64,
    /// Sequence of the last snapshot whose backup found them.
    pub last_seen: u64,
    /// When that backup read the offsets.
    pub started_at: Timestamp,
}

/// A prune that has begun and may not have deleted everything yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruning {
    /// The snapshot that began it.
    pub sequence: u64,
    /// The number of objects that it deletes.
    pub objects: u64,
    /// SHA-256 of the list of them.
    pub sha256: Digest,
    /// Its length.
    pub size: u64,
    /// Its length once decompressed.
    pub raw_size: u64,
}

impl Document for Manifest {
    const FORMAT: &'static str = "kbk-snapshot";
}

impl Totals {
    /// Adds up the states of all topics of a snapshot with this origin.
    #[must_use]
    pub fn of(topics: &[TopicState], origin: Option<&Origin>) -> Totals {
        let mut totals = Totals {
            topics: topics.len() as u64,
            ..Totals::default()
        };
        let mut is_min_known = true;
        for topic in topics {
            for state in &topic.partitions {
                totals.partitions += 1;
                totals.segments = totals.segments.saturating_add(state.segments);
                totals.records = totals.records.saturating_add(state.records);
                totals.stored_bytes = totals.stored_bytes.saturating_add(state.stored_bytes);
                totals.raw_bytes = totals.raw_bytes.saturating_add(state.raw_bytes);
                if state.records > 0 {
                    is_min_known &= state.min_timestamp.is_some();
                    let min = totals.min_timestamp.into_iter();
                    totals.min_timestamp = min.chain(state.min_timestamp).min();
                    totals.max_timestamp = totals.max_timestamp.max(state.max_timestamp);
                }
                let incomplete = state.incomplete.as_ref();
                if let Some(incomplete) = incomplete.filter(|it| it.counts(topic, origin)) {
                    let reason = incomplete.reason.word().to_owned();
                    *totals.incomplete.entry(reason).or_default() += 1;
                }
            }
        }
        totals.min_timestamp = totals.min_timestamp.filter(|_| is_min_known);
        totals
    }

    /// Returns the number of partitions that lack records.
    #[must_use]
    pub fn incomplete_partitions(&self) -> u64 {
        self.incomplete
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Manifest {
    /// Returns whether no record is missing that the source had when it was last backed up. Topics that the source has deleted do
    /// not count, unless a later copy can complete them: no later backup can.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.totals.incomplete.is_empty()
    }

    /// Returns the sequence of the snapshot of the last backup: its own, unless something else committed it. That of a copy is in the
    /// repository that was backed up, as `last_seen` and all that its rows state. 0 where there has been no backup.
    #[must_use]
    pub fn backup(&self) -> u64 {
        let copied = self.origin.as_ref();
        let copied = copied.map_or(self.sequence, |origin| origin.backup);
        let maintenance = self.maintenance.as_ref();
        maintenance.map_or(copied, |maintenance| maintenance.backup)
    }

    /// Returns whether it holds a backup, or a copy of one. What was committed before the first one holds nothing: the reservation of a copy.
    #[must_use]
    pub fn has_backup(&self) -> bool {
        self.backup() > 0
    }

    /// Identifies what the snapshot holds, and the times of its backup: snapshots with the same content have the same rows, from the same tables,
    /// the same groups and the same ACLs. What `forget` and `prune` commit has the content of the snapshot before it.
    #[must_use]
    pub fn content(&self) -> Digest {
        let held = Manifest {
            sequence: 0,
            parent: None,
            nonce: Id::ZERO,
            maintenance: None,
            origin: None,
            next: None,
            writer: String::new(),
            forgotten: Vec::new(),
            pruning: None,
            pruned: 0,
            ..self.clone()
        };
        seal(&held).1
    }

    /// Returns the sequence of the snapshot that follows this one.
    #[must_use]
    pub fn following(&self) -> u64 {
        self.next.unwrap_or_else(|| self.sequence.saturating_add(1))
    }

    /// Returns what the snapshot that follows this one states as forgotten: besides what was, the numbers between the two. Whoever commits
    /// under one of them later, since it could not read that the number of the next was reserved, finds out.
    #[must_use]
    pub(super) fn forgotten_by_next(&self) -> Vec<(u64, u64)> {
        ranges::with_between(&self.forgotten, self.sequence, self.following())
    }

    /// Returns whether this snapshot says that the one of `sequence` was forgotten.
    #[must_use]
    pub fn has_forgotten(&self, sequence: u64) -> bool {
        ranges::contain(&self.forgotten, sequence)
    }

    /// Checks the rules of SPEC section 11.5; the error names the one that is violated.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(parent) = &self.parent
            && parent.sequence >= self.sequence
        {
            return Err(format!("its parent is snapshot {}", parent.sequence));
        }
        if let Some(Maintenance { backup, .. }) = &self.maintenance {
            let without = *backup == 0 && self.totals.topics > 0;
            if *backup >= self.sequence || without {
                return Err(format!("its last backup is snapshot {backup}"));
            }
        }
        self.check_copy()?;
        self.check_totals()?;
        self.check_sightings()?;
        self.check_runs()?;
        self.check_forgotten()?;
        self.check_pruning()?;
        if let Some(groups) = &self.groups {
            groups.check(self.sequence)?;
        }
        match &self.acls {
            Some(acls) => acls.check(self.sequence),
            None => Ok(()),
        }
    }

    fn check_copy(&self) -> Result<(), String> {
        if let Some(origin) = &self.origin
            && !(1..=self.sequence).contains(&origin.sequence)
        {
            return Err(format!("its origin is snapshot {}", origin.sequence));
        }
        if let Some(origin) = &self.origin
            && origin.backup > origin.sequence
        {
            let (sequence, backup) = (origin.sequence, origin.backup);
            return Err(format!(
                "its origin is snapshot {sequence}, whose backup is {backup}"
            ));
        }
        match self.next {
            Some(next) if next <= self.sequence.saturating_add(1) => {
                Err(format!("the snapshot that follows is {next}"))
            }
            _ => Ok(()),
        }
    }

    fn check_totals(&self) -> Result<(), String> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let totals = &self.totals;
        if let Some((word, count)) = totals
            .incomplete
            .iter()
            .find(|(word, count)| !is_word(word) || **count == 0)
        {
            return Err(format!(
                "it has {count} partitions that are incomplete for {word:?}"
            ));
        }
        if totals.incomplete_partitions() > totals.partitions {
            let partitions = totals.partitions;
            return Err(format!(
                "more than its {partitions} partitions are incomplete"
            ));
        }
        Ok(())
    }

    fn check_sightings(&self) -> Result<(), String> {
        let (found, limit) = (self.sightings.len(), limits::SIGHTINGS);
        if found > limit {
            return Err(format!(
                "it has {found} sightings, and the limit is {limit}"
            ));
        }
        check_order("sightings", &self.sightings, |sighting| sighting.id)?;
        for Sighting { id, last_seen, .. } in &self.sightings {
            if *id == 0 || !(1..=self.sequence).contains(last_seen) {
                return Err(format!(
                    "its sighting {id} was last seen in snapshot {last_seen}"
                ));
            }
        }
        Ok(())
    }

    fn check_runs(&self) -> Result<(), String> {
        let (found, limit) = (self.runs.len(), limits::RUNS);
        if found > limit {
            return Err(format!("it has {found} runs, and the limit is {limit}"));
        }
        let mut before: Option<&Run> = None;
        for run in &self.runs {
            run.check()?;
            let newest = before.map_or(self.sequence, |before| before.from.saturating_sub(1));
            let level = before.map_or(0, |before| before.level);
            if run.to > newest || run.level < level {
                let (level, from, to) = (run.level, run.from, run.to);
                return Err(format!(
                    "its run of level {level} and the commits {from} to {to} is out of order"
                ));
            }
            before = Some(run);
        }
        Ok(())
    }

    fn check_forgotten(&self) -> Result<(), String> {
        let (found, limit) = (self.forgotten.len(), limits::FORGOTTEN_RANGES);
        if found > limit {
            return Err(format!(
                "it has {found} ranges of forgotten snapshots, and the limit is {limit}"
            ));
        }
        let mut least = 1;
        for (first, last) in &self.forgotten {
            if *first < least || first > last || *last >= self.sequence {
                return Err(format!(
                    "the forgotten snapshots {first} to {last} are out of order"
                ));
            }
            // One snapshot at least is between two ranges.
            least = last.saturating_add(2);
        }
        Ok(())
    }

    fn check_pruning(&self) -> Result<(), String> {
        let begun = self.pruning.as_ref().map(|pruning| pruning.sequence);
        if self.pruned > self.sequence
            || begun.is_some_and(|begun| begun == 0 || begun > self.pruned)
        {
            let pruned = self.pruned;
            return Err(format!(
                "its last prune began with snapshot {pruned}, the one in progress with {begun:?}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::repo::id::Hex;
    use crate::repo::index::{RowKey, TableRef};
    use crate::repo::keys::PartitionId;
    use crate::repo::sealed::seal;

    fn table(base: u64) -> TableRef {
        let offset = i64::try_from(base).unwrap();
        let id = PartitionId {
            topic: "team-with-a-long-name.and-a-topic-of-it".parse().unwrap(),
            topic_id: Hex([0xab; 16]),
            partition: 999.into(),
        };
        TableRef {
            sha256: Hex([0xcd; 32]),
            size: 175_000,
            raw_size: 1 << 20,
            rows: 2_300,
            first: RowKey::segment(id.clone(), offset),
            last: RowKey::segment(id, offset + 1),
            min_timestamp: Some(1_763_800_000_000),
            max_timestamp: Some(1_763_900_000_000),
            hides: false,
        }
    }

    /// As many commits as fill twelve levels.
    const COMMITS: u64 = 4u64.pow(12);

    /// The runs of a repository after 16 million commits of a segment each, at their most: three runs of each of twelve levels, and one more.
    fn runs() -> Vec<Run> {
        let mut end = COMMITS;
        let levels = (0..12).flat_map(|level| [level; 3]);
        let run = |level| {
            let commits = 4u64.pow(level);
            let to = end;
            end -= commits;
            let tables = commits.div_ceil(2_300);
            let named = (tables <= 4).then(|| (0..tables).map(|at| table(2 * at)).collect());
            Run {
                level: u8::try_from(level).unwrap(),
                from: end + 1,
                to,
                list: named.is_none().then(|| table(0)),
                tables: named,
            }
        };
        [0].into_iter().chain(levels).map(run).collect()
    }

    fn maintenance(backup: u64) -> Option<Maintenance> {
        Some(Maintenance {
            command: "forget".into(),
            detail: "--keep-last 1".into(),
            at: Timestamp::UNIX_EPOCH,
            backup,
        })
    }

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            repository_id: Hex([1; 16]),
            sequence: COMMITS,
            parent: None,
            nonce: Hex([2; 16]),
            started_at: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
            maintenance: None,
            origin: None,
            next: None,
            writer: "kbk 1.0.0".into(),
            cluster_id: Some("4L6g3nShT-eMCtK--X86sw".into()),
            totals: Totals::default(),
            sightings: Vec::new(),
            runs: Vec::new(),
            groups: None,
            acls: None,
            forgotten: Vec::new(),
            pruning: None,
            pruned: 0,
        }
    }

    #[test]
    fn a_snapshot_of_ten_million_segments_has_at_most_64_kib() {
        let snapshot = Manifest {
            runs: runs(),
            ..manifest()
        };
        assert_eq!(snapshot.check(), Ok(()));
        let (bytes, _) = seal(&snapshot);
        assert!(bytes.len() <= 64 << 10, "{} bytes", bytes.len());
    }

    #[test]
    fn every_rule_is_checked() {
        let forgotten = |ranges: &[(u64, u64)]| Manifest {
            forgotten: ranges.to_vec(),
            ..manifest()
        };
        assert_eq!(
            forgotten(&[(1, 3), (5, 5), (7, COMMITS - 1)]).check(),
            Ok(())
        );
        for ranges in [
            &[(0, 1)][..],
            &[(2, 1)],
            &[(1, 3), (4, 5)],
            &[(5, 5), (1, 1)],
            &[(1, COMMITS)],
            &[(1, u64::MAX), (1, 1)],
        ] {
            assert!(forgotten(ranges).check().is_err(), "{ranges:?}");
        }
        let many = (0..4097).map(|at| (2 * at + 1, 2 * at + 1));
        assert!(forgotten(&many.collect::<Vec<_>>()).check().is_err());

        let sighting = Sighting {
            id: 1,
            last_seen: 1,
            started_at: Timestamp::UNIX_EPOCH,
        };
        let origin = |sequence| {
            Some(Origin {
                repository_id: Hex([3; 16]),
                sequence,
                backup: 1.min(sequence),
                sha256: Hex([4; 32]),
            })
        };
        for good in [
            Manifest {
                origin: origin(1),
                next: Some(COMMITS + 2),
                ..manifest()
            },
            Manifest {
                origin: origin(COMMITS),
                maintenance: maintenance(0),
                ..manifest()
            },
        ] {
            assert_eq!(good.check(), Ok(()));
        }
        for wrong in [
            Manifest {
                origin: origin(0),
                ..manifest()
            },
            Manifest {
                origin: origin(COMMITS + 1),
                ..manifest()
            },
            Manifest {
                origin: origin(1).map(|it| Origin { backup: 2, ..it }),
                ..manifest()
            },
            Manifest {
                next: Some(COMMITS + 1),
                ..manifest()
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }

        let wrongs: [fn(&mut Manifest); 10] = [
            |it| {
                it.maintenance = maintenance(0);
                it.totals.topics = 1;
            },
            |it| it.maintenance = maintenance(it.sequence),
            |it| it.sightings[0].id = 0,
            |it| it.sightings[0].last_seen = 0,
            |it| it.sightings = vec![it.sightings[0].clone(); 2],
            |it| it.runs = vec![it.runs[0].clone(); 2],
            |it| it.runs.swap(0, 12),
            |it| it.runs[0].to = it.sequence + 1,
            |it| it.runs = (0..1025).map(|_| it.runs[0].clone()).collect(),
            |it| it.totals.incomplete = [("no_leader".to_owned(), 1)].into(),
        ];
        let valid = Manifest {
            maintenance: maintenance(1),
            sightings: vec![sighting],
            runs: runs(),
            ..manifest()
        };
        assert_eq!(valid.check(), Ok(()));
        for (at, wrong) in wrongs.iter().enumerate() {
            let mut manifest = valid.clone();
            wrong(&mut manifest);
            assert!(manifest.check().is_err(), "rule {at}");
        }
    }
}
