//! Which segments of the selected snapshots and topics a verification reads: all, those that are new, or a part that changes run by run.
//!
//! The index is read in full either way, and of the segments that are not read the listed size is compared, so that what is gone is always found.
//!
//! A run with `--subset` reads, in this order, until the share of the bytes is reached:
//!
//! 1. segments that no run has read, the new ones among them;
//! 2. segments that this cycle has not read, those first that have not been read for the longest time.
//!
//! Where all are read, the next cycle begins. So each cycle reads each segment once, in at most 100 / percent runs, rounded up. What was damaged is
//! read again in every run, besides.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use kbk_format::repo::{Id, RepoError, Repository, SegmentEntry};
use serde::{Deserialize, Serialize};

use super::memory::{DepthMemory, LastRead, Memory, SegmentTag, tag};
use super::{VerifyDepth, VerifyOptions};

/// Which segments are read.
#[derive(Clone, Debug, Default)]
pub enum Portion {
    /// All of them.
    #[default]
    All,
    /// Those that an earlier snapshot does not name.
    Since(Known),
    /// A share that changes run by run.
    Subset(Subset),
}

/// The segments that a snapshot names.
#[derive(Clone, Debug)]
pub struct Known {
    sequence: u64,
    segments: HashSet<SegmentTag>,
}

impl Known {
    /// Reads which segments a snapshot names.
    ///
    /// # Errors
    ///
    /// If the snapshot or its index cannot be read.
    pub async fn of(repository: &Repository, sequence: u64) -> Result<Known, RepoError> {
        let snapshot = repository.snapshot(sequence).await?;
        let mut segments = HashSet::new();
        for topic in &snapshot.topics {
            for state in &topic.partitions {
                let partition = topic.partition_id(state.partition);
                let entries = repository.segments(&snapshot, &partition, state).await?;
                segments.extend(entries.iter().map(|entry| tag(entry.segment_id)));
            }
        }
        Ok(Known { sequence, segments })
    }
}

/// A share of the segments, and what earlier runs have read.
#[derive(Clone, Debug)]
pub struct Subset {
    /// How many percent of the bytes.
    pub percent: f64,
    /// What earlier runs have read.
    pub memory: Memory,
    /// The time of this run.
    pub now: Timestamp,
}

/// What a verification of a part has read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortionReport {
    /// The snapshot whose segments were not read.
    pub since: Option<u64>,
    /// The share of the bytes that was asked for.
    pub subset_percent: Option<f64>,
    /// Number of segments that were read.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of segments of the selected snapshots and topics.
    pub all_segments: u64,
    /// Their bytes.
    pub all_bytes: u64,
    /// With a subset: the number of the cycle, each of which covers every segment once.
    pub cycle: Option<u64>,
    /// Bytes that this cycle has covered by now.
    pub cycle_bytes: Option<u64>,
    /// Number of segments that no run has read and found intact.
    pub unverified_segments: Option<u64>,
    /// When the segment was read that has not been read for the longest time, of those that ever were.
    pub oldest_read_at: Option<Timestamp>,
}

impl PortionReport {
    /// Returns how many percent of the bytes were read.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(self.bytes, self.all_bytes)
    }

    /// Returns how many percent of the bytes this cycle has covered.
    #[must_use]
    pub fn cycle_percent(&self) -> f64 {
        percent(self.cycle_bytes.unwrap_or_default(), self.all_bytes)
    }
}

fn percent(part: u64, all: u64) -> f64 {
    match all {
        0 => 100.0,
        all => 100.0 * part as f64 / all as f64,
    }
}

/// Which of the selected segments were chosen to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSegments(Option<HashSet<SegmentTag>>);

impl ReadSegments {
    /// Returns whether a segment was.
    pub(super) fn contains(&self, segment_id: Id) -> bool {
        let chosen = self.0.as_ref();
        chosen.is_none_or(|chosen| chosen.contains(&tag(segment_id)))
    }
}

/// The segments that are read.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    rule: Rule,
    report: PortionReport,
    /// Those of which something was found.
    found: HashSet<SegmentTag>,
    /// Those that were read.
    read: HashSet<SegmentTag>,
}

#[derive(Debug, Default)]
enum Rule {
    #[default]
    All,
    /// None of these.
    Except(HashSet<SegmentTag>),
    /// Only these. `sizes` has all that exist.
    Only {
        chosen: HashSet<SegmentTag>,
        sizes: HashMap<SegmentTag, u64>,
    },
}

impl Chosen {
    /// Chooses. A subset is chosen from what can be read of the index: the rest is reported by the verification.
    pub(super) async fn new(repository: &Repository, options: &VerifyOptions) -> Chosen {
        let mut chosen = Chosen::default();
        match &options.portion {
            Portion::All => {}
            Portion::Since(known) => {
                chosen.report.since = Some(known.sequence);
                chosen.rule = Rule::Except(known.segments.clone());
            }
            Portion::Subset(subset) => {
                let sizes = sizes(repository, options).await;
                chosen.report.subset_percent = Some(subset.percent);
                chosen.rule = Rule::Only {
                    chosen: choose(subset, options.depth, &sizes),
                    sizes,
                };
            }
        }
        chosen
    }

    /// Returns whether all segments are read.
    pub(super) fn is_all(&self) -> bool {
        matches!(self.rule, Rule::All)
    }

    /// Returns whether a segment is read.
    pub(super) fn reads(&mut self, entry: &SegmentEntry) -> bool {
        let tag = tag(entry.segment_id);
        let reads = match &self.rule {
            Rule::All => return true,
            Rule::Except(known) => !known.contains(&tag),
            Rule::Only { chosen, .. } => chosen.contains(&tag),
        };
        self.report.all_segments += 1;
        self.report.all_bytes = self.report.all_bytes.saturating_add(entry.size);
        if reads {
            self.read.insert(tag);
            self.report.segments += 1;
            self.report.bytes = self.report.bytes.saturating_add(entry.size);
        }
        reads
    }

    /// Returns which segments were read so far.
    pub(super) fn read(&self) -> ReadSegments {
        ReadSegments((!self.is_all()).then(|| self.read.clone()))
    }

    /// Learns that something was found in a segment.
    pub(super) fn found(&mut self, tag: SegmentTag) {
        self.found.insert(tag);
    }

    /// Returns what was read, if it was not everything, and what is remembered of it.
    pub(super) fn finish(self, options: &VerifyOptions) -> (Option<PortionReport>, Option<Memory>) {
        let Chosen {
            rule,
            mut report,
            found,
            read,
        } = self;
        let (sizes, subset) = match (rule, &options.portion) {
            (Rule::All, _) => return (None, None),
            (Rule::Only { sizes, .. }, Portion::Subset(subset)) => (sizes, subset),
            _ => return (Some(report), None),
        };
        let mut memory = subset.memory.clone();
        let depth = memory.depth(options.depth);
        begin_cycle_if_covered(depth, &sizes);
        // Another selection of topics may still need what this one does not have.
        if options.topics.is_none() {
            depth.forget_all_but(|tag| sizes.contains_key(&tag));
        }
        let intact: BTreeSet<SegmentTag> = read.difference(&found).copied().collect();
        depth.remember(subset.now, intact, &found);
        let last = depth.last_read();
        let of_all = || sizes.iter().map(|(tag, size)| (last.get(tag), size));
        let is_covered = |read: Option<&LastRead>| read.is_some_and(|it| it.cycle == depth.cycle);
        report.cycle = Some(depth.cycle);
        let covered = of_all().filter(|(read, _)| is_covered(*read));
        report.cycle_bytes = Some(covered.map(|(_, size)| *size).sum());
        let unread = of_all().filter(|(read, _)| read.is_none());
        report.unverified_segments = Some(unread.count() as u64);
        report.oldest_read_at = of_all().filter_map(|(read, _)| read.map(|it| it.at)).min();
        (Some(report), Some(memory))
    }
}

/// Returns the sizes of the selected segments, each once, as far as they can be read.
async fn sizes(repository: &Repository, options: &VerifyOptions) -> HashMap<SegmentTag, u64> {
    let mut sizes = HashMap::new();
    for sequence in &options.snapshots {
        let Ok(snapshot) = repository.snapshot(*sequence).await else {
            continue;
        };
        for topic in &snapshot.topics {
            let selected = options.topics.as_ref();
            if selected.is_some_and(|it| !it.contains(&(topic.name.clone(), topic.topic_id))) {
                continue;
            }
            for state in &topic.partitions {
                let partition = topic.partition_id(state.partition);
                let entries = repository.segments(&snapshot, &partition, state).await;
                for entry in entries.unwrap_or_default() {
                    sizes.insert(tag(entry.segment_id), entry.size);
                }
            }
        }
    }
    sizes
}

/// Begins the next cycle where this one has read everything that exists and is intact.
fn begin_cycle_if_covered(depth: &mut DepthMemory, sizes: &HashMap<SegmentTag, u64>) {
    let last = depth.last_read();
    let cycle = depth.cycle;
    let is_read = |tag: &SegmentTag| {
        depth.has_found(*tag) || last.get(tag).is_some_and(|read| read.cycle == cycle)
    };
    if cycle == 0 || sizes.keys().all(is_read) {
        depth.cycle += 1;
    }
}

/// Chooses the segments of a run: see the head of this file.
fn choose(
    subset: &Subset,
    depth: VerifyDepth,
    sizes: &HashMap<SegmentTag, u64>,
) -> HashSet<SegmentTag> {
    let mut memory = subset.memory.clone();
    let depth = memory.depth(depth);
    begin_cycle_if_covered(depth, sizes);
    let last = depth.last_read();
    let all: u64 = sizes.values().sum();
    let (again, others): (Vec<SegmentTag>, Vec<SegmentTag>) =
        sizes.keys().copied().partition(|tag| depth.has_found(*tag));
    let is_covered = |tag: &SegmentTag| last.get(tag).is_some_and(|it| it.cycle == depth.cycle);
    let mut waiting: Vec<SegmentTag> = others;
    waiting.retain(|tag| !is_covered(tag));
    // Ids are random, so that their order is as good as any, and the same in each run.
    waiting.sort_by_key(|tag| (last.get(tag).map(|it| it.at), *tag));
    let mut chosen: HashSet<SegmentTag> = again.into_iter().collect();
    let mut bytes = 0;
    for tag in waiting {
        if bytes > 0 && percent(bytes, all) >= subset.percent {
            break;
        }
        bytes += sizes.get(&tag).copied().unwrap_or_default();
        chosen.insert(tag);
    }
    chosen
}
