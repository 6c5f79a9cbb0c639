//! Which objects of a partition are of one history: those whose records are the same wherever several have the same offsets.
//!
//! Two objects *contradict* each other where both prove different records of an offset, or one proves that there was none and the other has one.
//! From the first offset on that both have, the *fork*, the partition has several histories, as an unclean leader election leaves them. Objects are of
//! one history where they have an equal record, since a log diverges by losing its end, and so are those that precede them: objects that end where one
//! of the history begins, if nothing else ends there. One history is used, and nothing of another one is mixed into it. What is of none,
//! ends before the fork and has no offset in common with the one that is used, is used, too.
//!
//! Two objects that nothing proves to be of one log (`doubt`) are treated as if they contradicted each other: a compaction may have removed every
//! record that would.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kbk_format::GapReason;
use kbk_format::repo::{Operation, RepoError, Repository};

use super::super::ranges::Offsets;
use super::super::salvaged::{Agreement, agreement};
use super::doubt::{dispensable, unproved};
use super::found::{Loader, Node};
use crate::task::joined;

/// What was found about the histories of a partition.
#[derive(Debug, Default)]
pub(super) struct Histories {
    /// Objects that have the same records as a longer one, or as an equal one, and that one.
    pub(super) same: BTreeMap<usize, usize>,
    /// Of each object, offsets at which another one has a record and this one none, without proving that there never was one.
    pub(super) outdone: BTreeMap<usize, Offsets>,
    /// Offsets of which a record is used that another object, which is used, too, states as removed.
    pub(super) returned: Offsets,
    /// Whether some of these may be of keys that were deleted or written again by records that are gone.
    pub(super) may_be_stale: bool,
    /// Where the histories fork, or may fork; `None` where there is one.
    pub(super) fork: Option<i64>,
    /// Whether two objects have different records, and not only nothing that proves that they are of one history.
    pub(super) is_contradictory: bool,
    /// Objects that are not of the history that is used, or not known to be.
    pub(super) others: BTreeMap<usize, Other>,
}

/// Why an object is not used.
#[derive(Debug)]
pub(super) struct Other {
    /// Whether it has another record than an object that is used.
    pub(super) differs: bool,
    /// What is known, for people.
    pub(super) detail: String,
}

/// How two objects compare.
pub(super) struct Pair {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) found: Compared,
}

pub(super) enum Compared {
    Equal {
        /// The last offset with an equal record.
        last: Option<i64>,
        /// Offsets at which only the other one has a record.
        lacks: [Offsets; 2],
        /// Of these, those of which it states that the record was removed, or of which the reasons are lost.
        removed: [Offsets; 2],
        /// The last offset, after the last equal record, at which one has a record and the other one states that there is none any more.
        doubt: Option<i64>,
    },
    Contradictory(i64),
    /// Nothing proves that they are of one history, and this is the first offset that both have.
    Unproved(i64),
}

impl Compared {
    /// Returns whether both must not be used.
    fn is_apart(&self) -> bool {
        matches!(self, Compared::Contradictory(_) | Compared::Unproved(_))
    }
}

/// Compares all objects of a partition that overlap. Those that end at or before `start`, where what the base states ends, are compared with what it
/// states, and with nothing else: none of them is used.
///
/// # Errors
///
/// The error of the store.
pub(super) async fn compare(
    repository: &Repository,
    nodes: &[Node],
    start: Option<i64>,
    loader: &mut Loader<'_>,
) -> Result<Histories, RepoError> {
    let is_below = |node: &Node| !node.is_stated && start.is_some_and(|it| node.coverage.end <= it);
    let mut histories = Histories {
        same: tiles(nodes),
        ..Histories::default()
    };
    let mut order: Vec<usize> = (0..nodes.len())
        .filter(|at| !histories.same.contains_key(at))
        .collect();
    order.sort_by_key(|at| nodes.get(*at).map(|node| node.coverage.start));
    let mut pairs = Vec::new();
    for (position, &a) in order.iter().enumerate() {
        let Some(node) = nodes.get(a) else { continue };
        let later = order.get(position.saturating_add(1)..).unwrap_or_default();
        for &b in later {
            let Some(other) = nodes.get(b) else { continue };
            if other.coverage.start >= node.coverage.end {
                break;
            }
            // What the base states is of one history.
            let is_needless = |below: &Node, other: &Node| is_below(below) && !other.is_stated;
            if node.is_stated && other.is_stated
                || is_needless(node, other)
                || is_needless(other, node)
            {
                continue;
            }
            let found = compare_two(repository, node, other, loader).await?;
            pairs.push(Pair { a, b, found });
        }
    }
    let mut doubtful = unproved(nodes, &histories.same, &pairs);
    doubtful.retain(|at| {
        let pair = pairs.get(*at);
        let mut both = pair.into_iter().flat_map(|pair| [pair.a, pair.b]);
        !both.any(|at| nodes.get(at).is_some_and(is_below))
    });
    let dispensable = dispensable(nodes, &pairs, &doubtful);
    for at in doubtful {
        if let Some(pair) = pairs.get_mut(at) {
            let start = |at: usize| nodes.get(at).map_or(i64::MIN, |it| it.coverage.start);
            pair.found = Compared::Unproved(start(pair.a).max(start(pair.b)));
        }
    }
    let is_dispensable = |at: &usize| dispensable.contains_key(at);
    pairs.retain(|pair| !is_dispensable(&pair.a) && !is_dispensable(&pair.b));
    order.retain(|at| !is_dispensable(at));
    histories.fork = fork(nodes, &pairs);
    if let Some(fork) = histories.fork {
        histories.others = others(nodes, &order, &pairs, fork);
    }
    let contradictory = |pair: &Pair| matches!(pair.found, Compared::Contradictory(_));
    histories.is_contradictory = pairs.iter().any(contradictory);
    let mut outdone: BTreeMap<usize, Vec<Range<i64>>> = BTreeMap::new();
    for (at, others) in dispensable {
        let all = nodes.get(at).into_iter().flat_map(|it| it.offsets.iter());
        outdone.entry(at).or_default().extend(all);
        let unused = others.iter().find(|it| histories.others.contains_key(it));
        if let Some(unused) = unused.and_then(|it| nodes.get(*it)) {
            let other = Other {
                differs: false,
                detail: format!("{} has its records, and is not used", unused.key),
            };
            histories.others.insert(at, other);
        }
    }
    let mut returned: BTreeMap<usize, Vec<Range<i64>>> = BTreeMap::new();
    let mut beside: BTreeMap<usize, Vec<Range<i64>>> = BTreeMap::new();
    for pair in &pairs {
        let Compared::Equal { lacks, removed, .. } = &pair.found else {
            continue;
        };
        // What is not used gives nothing.
        let is_used = |at: usize| {
            let stated = nodes.get(at).is_none_or(|node| node.is_stated);
            !stated && !histories.others.contains_key(&at)
        };
        if is_used(pair.a) && is_used(pair.b) {
            let both = [(pair.a, pair.b), (pair.b, pair.a)];
            for (((at, other), lacks), removed) in both.into_iter().zip(lacks).zip(removed) {
                outdone.entry(at).or_default().extend(lacks.iter());
                returned.entry(at).or_default().extend(removed.iter());
                let other = nodes.get(other).into_iter();
                let had = other.flat_map(|other| other.offsets.iter());
                beside.entry(at).or_default().extend(had);
            }
        }
    }
    for (at, removed) in &returned {
        let (removed, beside) = (Offsets::of(removed.clone()), beside.remove(at));
        let (Some(node), Some(first)) = (nodes.get(*at), removed.iter().next()) else {
            continue;
        };
        // What removed a record is a later one, and is gone where only this object is left of its offsets, and has other gaps.
        let alone = node
            .offsets
            .without(&Offsets::of(beside.unwrap_or_default()));
        let is_later = alone.iter().last().is_some_and(|it| it.end > first.start);
        histories.may_be_stale |= is_later && node.compacted > removed.count();
    }
    histories.returned = Offsets::of(returned.into_values().flatten());
    let outdone = outdone.into_iter();
    histories.outdone = outdone
        .map(|(at, lacks)| (at, Offsets::of(lacks)))
        .collect();
    Ok(histories)
}

/// Returns the first offset that two histories may not have in common.
fn fork(nodes: &[Node], pairs: &[Pair]) -> Option<i64> {
    let both = |pair: &Pair| {
        let (a, b) = (nodes.get(pair.a)?, nodes.get(pair.b)?);
        let start = a.coverage.start.max(b.coverage.start);
        Some(start..a.coverage.end.min(b.coverage.end))
    };
    let contradictions = pairs.iter().filter(|pair| pair.found.is_apart());
    let mut fork = contradictions.filter_map(both).map(|it| it.start).min()?;
    // Objects that have no record in common before it may be of two histories already.
    let silent = pairs.iter().filter(|pair| {
        matches!(
            pair.found,
            Compared::Equal {
                last: None,
                doubt: None,
                ..
            }
        )
    });
    let mut silent: Vec<_> = silent.filter_map(both).collect();
    // From the last end down: whatever reaches the fork moves it, and those that end before it may reach it then.
    silent.sort_by_key(|it| std::cmp::Reverse(it.end));
    for offsets in silent {
        if offsets.end < fork {
            break;
        }
        fork = fork.min(offsets.start);
    }
    Some(fork)
}

/// Finds objects whose records are all in a longer one, by the sums of their digests: what a compaction that kept all records leaves.
fn tiles(nodes: &[Node]) -> BTreeMap<usize, usize> {
    let usable = |node: &Node| node.entry.is_some() && !node.is_stray && node.lost().is_empty();
    let mut by_start: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| usable(node)) {
        by_start.entry(node.coverage.start).or_default().push(at);
    }
    let length = |at: &usize| {
        let node = nodes.get(*at);
        node.map_or(0, |node| node.coverage.end.abs_diff(node.coverage.start))
    };
    for starting in by_start.values_mut() {
        starting.sort_by_key(|at| (std::cmp::Reverse(length(at)), *at));
    }
    let mut longest: Vec<usize> = by_start.values().flatten().copied().collect();
    let stated = |at: &usize| nodes.get(*at).is_some_and(|node| node.is_stated);
    longest.sort_by_key(|at| (!stated(at), std::cmp::Reverse(length(at)), *at));
    let mut same = BTreeMap::new();
    for whole in longest {
        let Some(node) = nodes.get(whole).filter(|_| !same.contains_key(&whole)) else {
            continue;
        };
        // A chain of others from its first offset to its end, each the longest that fits.
        loop {
            let mut chain = Vec::new();
            let mut at = node.coverage.start;
            let (mut records, mut digest) = (0_u64, 0_u128);
            while at < node.coverage.end {
                let starting = by_start.get(&at).map_or(&[][..], Vec::as_slice);
                let next = starting.iter().copied().find(|other| {
                    *other != whole
                        && !same.contains_key(other)
                        && !stated(other)
                        && nodes.get(*other).is_some_and(|it| {
                            it.coverage.end <= node.coverage.end
                                && it.timestamp_type == node.timestamp_type
                        })
                });
                let Some(other) = next else { break };
                let Some(entry) = nodes.get(other).and_then(|it| it.entry.as_deref()) else {
                    break;
                };
                // Without its digest, nothing shows that it is a part of the whole.
                let Some(content) = entry.content() else {
                    break;
                };
                records = records.saturating_add(entry.records);
                digest = digest.wrapping_add(content);
                at = entry.end_offset;
                chain.push(other);
            }
            let stated = node.entry.as_deref();
            let stated = stated.and_then(|entry| Some((entry.records, entry.content()?)));
            let is_same = at == node.coverage.end && stated == Some((records, digest));
            if !is_same || chain.is_empty() {
                break;
            }
            same.extend(chain.into_iter().map(|other| (other, whole)));
        }
    }
    same
}

async fn compare_two(
    repository: &Repository,
    a: &Node,
    b: &Node,
    loader: &mut Loader<'_>,
) -> Result<Compared, RepoError> {
    let nothing = || Compared::Equal {
        last: None,
        lacks: [Offsets::default(), Offsets::default()],
        removed: [Offsets::default(), Offsets::default()],
        doubt: None,
    };
    if a.offsets.and(&b.offsets).is_empty() {
        return Ok(nothing());
    }
    let (Some(ours), Some(theirs)) = (loader.load(a).await?, loader.load(b).await?) else {
        return Ok(nothing());
    };
    let failed = |source| {
        let url = repository.store().url();
        RepoError::of_store(Operation::Read, url, &a.key, source)
    };
    let compared = tokio::task::spawn_blocking(move || {
        let mut lacks = [Vec::new(), Vec::new()];
        let [of_a, of_b] = &mut lacks;
        let mut removed = [Vec::new(), Vec::new()];
        let [removed_of_a, removed_of_b] = &mut removed;
        let mut doubt = None;
        let found = agreement(&ours, &theirs, |is_a, offset, reason| {
            let lacking = if is_a { &mut *of_a } else { &mut *of_b };
            lacking.push(offset..offset.saturating_add(1));
            if let GapReason::Compacted | GapReason::Unknown = reason {
                let removed = if is_a {
                    &mut *removed_of_a
                } else {
                    &mut *removed_of_b
                };
                removed.push(offset..offset.saturating_add(1));
            }
            // Of offsets that are damaged, it states nothing.
            if reason != GapReason::Damaged {
                doubt = Some(offset);
            }
            !proves_none(reason)
        });
        let [lacks, removed] = [lacks, removed].map(|both| both.map(Offsets::of));
        found.map(|found| (found, lacks, removed, doubt))
    });
    let compared = joined(compared.await).map_err(failed)?;
    let (found, lacks, removed, doubt) = compared.map_err(|error| failed(error.into()))?;
    Ok(match found {
        Agreement::Contradictory(offset) => Compared::Contradictory(offset),
        // The timestamp type belongs to each record.
        Agreement::Equal(Some(last)) if a.timestamp_type != b.timestamp_type => {
            Compared::Contradictory(last)
        }
        Agreement::Equal(last) => Compared::Equal {
            last,
            lacks,
            removed,
            doubt: doubt.filter(|doubt| last.is_none_or(|last| *doubt > last)),
        },
    })
}

/// Returns whether there never was a record at an offset without one. Compaction, damage and retention take records away, and a footer that is lost
/// takes the reasons with it.
fn proves_none(reason: GapReason) -> bool {
    match reason {
        GapReason::NotDelivered | GapReason::Transaction => true,
        GapReason::Compacted | GapReason::Damaged | GapReason::Lost | GapReason::Unknown => false,
    }
}

/// Objects in groups, each of which is of one history.
struct Groups {
    /// The group of each object.
    of: BTreeMap<usize, usize>,
    members: BTreeMap<usize, Vec<usize>>,
    /// The groups that each group contradicts.
    contradictions: BTreeMap<usize, BTreeSet<usize>>,
}

impl Groups {
    /// Makes a group of each object.
    fn of(order: &[usize], pairs: &[Pair]) -> Groups {
        let mut groups = Groups {
            of: order.iter().map(|at| (*at, *at)).collect(),
            members: order.iter().map(|at| (*at, vec![*at])).collect(),
            contradictions: BTreeMap::new(),
        };
        for pair in pairs {
            if pair.found.is_apart() {
                for (a, b) in [(pair.a, pair.b), (pair.b, pair.a)] {
                    groups.contradictions.entry(a).or_default().insert(b);
                }
            }
        }
        groups
    }

    fn group(&self, at: usize) -> Option<usize> {
        self.of.get(&at).copied()
    }

    /// Returns whether objects of two groups contradict each other.
    fn contradict(&self, a: usize, b: usize) -> bool {
        let known = self.contradictions.get(&a);
        known.is_some_and(|known| known.contains(&b))
    }

    /// Makes one group of two, unless their objects contradict each other.
    fn join(&mut self, a: usize, b: usize) {
        let (Some(a), Some(b)) = (self.group(a), self.group(b)) else {
            return;
        };
        if a == b || self.contradict(a, b) {
            return;
        }
        // The smaller one moves, so that each object moves a few times at most.
        let size = |group: usize| self.members.get(&group).map_or(0, Vec::len);
        let (to, from) = if size(a) < size(b) { (b, a) } else { (a, b) };
        let moved = self.members.remove(&from).unwrap_or_default();
        for at in &moved {
            self.of.insert(*at, to);
        }
        self.members.entry(to).or_default().extend(moved);
        for other in self.contradictions.remove(&from).unwrap_or_default() {
            if let Some(theirs) = self.contradictions.get_mut(&other) {
                theirs.remove(&from);
                theirs.insert(to);
            }
            self.contradictions.entry(to).or_default().insert(other);
        }
    }

    /// Returns the group of these objects, if they are all of one.
    fn single(&self, objects: &[usize]) -> Option<usize> {
        let group = self.group(*objects.first()?)?;
        let mut all = objects.iter();
        all.all(|at| self.group(*at) == Some(group))
            .then_some(group)
    }

    /// Returns a group with all that precede it, unless they contradict what follows.
    fn history(&self, group: usize, parents: &BTreeMap<usize, BTreeSet<usize>>) -> BTreeSet<usize> {
        let mut history = BTreeSet::from([group]);
        let mut open = vec![group];
        while let Some(next) = open.pop() {
            for parent in parents.get(&next).into_iter().flatten() {
                let fits = history.iter().all(|it| !self.contradict(*it, *parent));
                if fits && history.insert(*parent) {
                    open.push(*parent);
                }
            }
        }
        history
    }
}

/// Returns the objects that are not of the history that is used, or not known to be.
fn others(nodes: &[Node], order: &[usize], pairs: &[Pair], fork: i64) -> BTreeMap<usize, Other> {
    let mut groups = Groups::of(order, pairs);
    let is_stated = |at: &usize| nodes.get(*at).is_some_and(|node| node.is_stated);
    let stated: Vec<usize> = order.iter().copied().filter(is_stated).collect();
    for [a, b] in stated.array_windows() {
        groups.join(*a, *b);
    }
    for pair in pairs {
        // What was doubtful, and still is here, is proved.
        if let Compared::Equal { last: Some(_), .. } | Compared::Equal { doubt: Some(_), .. } =
            pair.found
        {
            groups.join(pair.a, pair.b);
        }
    }
    let mut bounds: BTreeMap<i64, [Vec<usize>; 2]> = BTreeMap::new();
    for &at in order {
        if let Some(node) = nodes.get(at) {
            let [_, starting] = bounds.entry(node.coverage.start).or_default();
            starting.push(at);
            let [ending, _] = bounds.entry(node.coverage.end).or_default();
            ending.push(at);
        }
    }
    // Where one history ends and one begins, both are one: what is left are groups between forks and holes.
    for [ending, starting] in bounds.values() {
        if let (Some(a), Some(b)) = (groups.single(ending), groups.single(starting)) {
            groups.join(a, b);
        }
    }
    let mut parents: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for [ending, starting] in bounds.values() {
        let Some(parent) = groups.single(ending) else {
            continue;
        };
        for group in starting.iter().filter_map(|at| groups.group(*at)) {
            if group != parent {
                parents.entry(group).or_default().insert(parent);
            }
        }
    }
    let all: BTreeSet<usize> = groups.of.values().copied().collect();
    // What the base states stays. Otherwise the history with most records is used, and of two the one that was written later.
    let size = |history: &BTreeSet<usize>| {
        let members = history.iter().filter_map(|it| groups.members.get(it));
        let members = members.flatten().filter_map(|at| nodes.get(*at));
        members.fold((false, 0_u64, 0_i64), |(stated, records, ms), node| {
            let written = ms.max(node.created_ms.unwrap_or(0));
            let stated = stated || node.is_stated;
            (stated, records.saturating_add(node.records), written)
        })
    };
    let histories = all.iter().map(|group| groups.history(*group, &parents));
    let used = histories.max_by_key(size).unwrap_or_default();
    let rejected = all.iter().filter(|group| {
        let mut used = used.iter();
        used.any(|it| groups.contradict(*it, **group))
    });
    let rejected: BTreeSet<usize> = rejected
        .flat_map(|group| groups.history(*group, &parents))
        .collect();
    let is_used = |at: usize| groups.group(at).is_some_and(|it| used.contains(&it));
    // An object that is used and contradicts each of those that are not, and where; or that nothing connects them to.
    let mut contradicted: BTreeMap<usize, (bool, i64, usize)> = BTreeMap::new();
    for pair in pairs {
        let (is_unproved, offset) = match pair.found {
            Compared::Contradictory(offset) => (false, offset),
            Compared::Unproved(offset) => (true, offset),
            Compared::Equal { .. } => continue,
        };
        for (at, other) in [(pair.a, pair.b), (pair.b, pair.a)] {
            if is_used(other) {
                let found = (is_unproved, offset, other);
                let known = contradicted.entry(at).or_insert(found);
                *known = (*known).min(found);
            }
        }
    }
    let differs = |at: usize| {
        let contradicted = contradicted.get(&at);
        contradicted.is_some_and(|(is_unproved, ..)| !is_unproved)
    };
    let why = |at: usize| match contradicted.get(&at) {
        Some((is_unproved, offset, other)) => {
            let key = nodes.get(*other).map_or("", |it| &it.key);
            match is_unproved {
                false => format!("it has another record at offset {offset} than {key}"),
                true => format!(
                    "records that it and {key} had from offset {offset} on are gone from one of them, and nothing proves that both are of one history"
                ),
            }
        }
        None => format!(
            "two histories of the partition are stored from offset {fork} on, and nothing proves that it is of the one that is used"
        ),
    };
    let mut beside = BTreeSet::new();
    for pair in pairs {
        if is_used(pair.a) {
            beside.insert(pair.b);
        }
        if is_used(pair.b) {
            beside.insert(pair.a);
        }
    }
    let left_out = order.iter().copied().filter(|at| {
        let is_after = nodes.get(*at).is_some_and(|node| node.coverage.end > fork);
        let is_rejected = groups.group(*at).is_some_and(|it| rejected.contains(&it));
        // Without an equal record, nothing proves that it is of the same history.
        let is_beside = pairs
            .iter()
            .any(|pair| (pair.a == *at && is_used(pair.b)) || (pair.b == *at && is_used(pair.a)));
        !is_used(*at) && (is_after || is_rejected || is_beside)
    });
    let other = |at| Other {
        differs: differs(at),
        detail: why(at),
    };
    left_out.map(|at| (at, other(at))).collect()
}
