//! Which objects that overlap without an equal record are proved to be of one log all the same.
//!
//! A log diverges by losing its end. So whatever proves that two objects are of one log somewhere proves it for all offsets before, and for none after.
//! Two things do: an equal record, and an object that begins where another one ends. Going down from the highest offset, objects are connected by
//! what proves something at or above it; two objects that may differ at an offset are of one log if they are connected there.
//!
//! ```text
//!  source     [0 ------- 50)[50 ------ 100)          the first one ends where the second one begins, which ends where the merged one ends:
//!  merged     [0 --- no record left --- 100)         all three are of one log
//!
//!  lost       [50 ---- 80)                           nothing at or above 80 connects it: it may be of a log that lost its end
//!  merged     [0 --- no record from 50 on -- 100)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::found::Node;
use super::histories::{Compared, Pair};

/// Finds the pairs of which one has records where the other one states that records are gone, and nothing proves that they are of one log there.
/// `same` has objects whose records are all in another one.
pub(super) fn unproved(
    nodes: &[Node],
    same: &BTreeMap<usize, usize>,
    pairs: &[Pair],
) -> BTreeSet<usize> {
    let mut doubts: Vec<(i64, usize)> = Vec::new();
    let mut equal: Vec<(i64, usize, usize)> = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        if let Compared::Equal { last, doubt, .. } = &pair.found {
            equal.extend(last.map(|last| (last, pair.a, pair.b)));
            doubts.extend(doubt.map(|doubt| (doubt, at)));
        }
    }
    if doubts.is_empty() {
        return BTreeSet::new();
    }
    doubts.sort();
    equal.sort();
    let mut bounds = bounds(nodes);
    let mut logs = Logs((0..nodes.len()).collect());
    for (part, whole) in same {
        logs.connect(*part, *whole);
    }
    let stated = (0..nodes.len()).filter(|at| nodes.get(*at).is_some_and(|it| it.is_stated));
    let stated: Vec<usize> = stated.collect();
    for [a, b] in stated.array_windows() {
        logs.connect(*a, *b);
    }
    let mut unproved = BTreeSet::new();
    while let Some((offset, at)) = doubts.pop() {
        while let Some((_, a, b)) = equal.pop_if(|(last, ..)| *last >= offset) {
            logs.connect(a, b);
        }
        // A bound proves the offsets before it.
        while let Some(bound) = bounds.last_entry().filter(|it| *it.key() > offset) {
            let Bound { ending, starting } = bound.remove();
            for other in ending.iter().skip(1).chain(&starting) {
                if let Some(first) = ending.first() {
                    logs.connect(*first, *other);
                }
            }
        }
        let is_proved = pairs.get(at).is_none_or(|it| logs.are_one(it.a, it.b));
        if !is_proved {
            unproved.insert(at);
        }
    }
    unproved
}

/// Finds objects without which nothing is doubtful, and nothing is lost: others have every record of them. A compaction that was killed leaves such
/// ones. Returns each with those others.
pub(super) fn dispensable(
    nodes: &[Node],
    pairs: &[Pair],
    unproved: &BTreeSet<usize>,
) -> BTreeMap<usize, Vec<usize>> {
    let mut partners: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, pair) in pairs.iter().enumerate() {
        partners.entry(pair.a).or_default().push((pair.b, at));
        partners.entry(pair.b).or_default().push((pair.a, at));
    }
    let doubtful = unproved.iter().filter_map(|at| pairs.get(*at));
    let doubtful: BTreeSet<usize> = doubtful.flat_map(|pair| [pair.a, pair.b]).collect();
    let mut candidates: Vec<(u64, usize)> = doubtful
        .iter()
        .filter_map(|at| nodes.get(*at).map(|node| (node, *at)))
        .filter(|(node, _)| !node.is_stated)
        .map(|(node, at)| (node.records, at))
        .collect();
    candidates.sort();
    let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (_, at) in candidates {
        let Some(node) = nodes.get(at) else { continue };
        let others = partners.get(&at).map_or(&[][..], Vec::as_slice);
        let still = |pair: &usize| {
            let pair = pairs.get(*pair).filter(|_| unproved.contains(pair));
            pair.is_some_and(|it| !found.contains_key(&it.a) && !found.contains_key(&it.b))
        };
        if !others.iter().any(|(_, pair)| still(pair)) {
            continue;
        }
        let mut left = node.offsets.clone();
        let mut contradicts = false;
        let others: Vec<_> = others
            .iter()
            .filter(|(other, _)| !found.contains_key(other))
            .collect();
        for (other, pair) in &others {
            let (Some(other), Some(pair)) = (nodes.get(*other), pairs.get(*pair)) else {
                continue;
            };
            match &pair.found {
                Compared::Equal {
                    lacks: [of_a, of_b],
                    ..
                } => {
                    // Where the other one lacks nothing, it has the same.
                    let lacks = if pair.a == at { of_b } else { of_a };
                    left = left.without(&other.offsets.without(lacks));
                }
                Compared::Contradictory(_) | Compared::Unproved(_) => contradicts = true,
            }
        }
        if left.is_empty() && !contradicts {
            found.insert(at, others.iter().map(|(other, _)| *other).collect());
        }
    }
    found
}

/// Objects that end, and that begin, at an offset.
#[derive(Default)]
struct Bound {
    ending: Vec<usize>,
    starting: Vec<usize>,
}

fn bounds(nodes: &[Node]) -> BTreeMap<i64, Bound> {
    let mut bounds: BTreeMap<i64, Bound> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let start = bounds.entry(node.coverage.start).or_default();
        start.starting.push(at);
        if node.is_end_known {
            let end = bounds.entry(node.coverage.end).or_default();
            end.ending.push(at);
        }
    }
    bounds
}

/// Objects that are connected so far, as a forest: each has one that it is connected to, or itself.
struct Logs(Vec<usize>);

impl Logs {
    fn root(&mut self, at: usize) -> usize {
        let mut next = at;
        while let Some(parent) = self.0.get(next).copied().filter(|it| *it != next) {
            // Halves the way for whoever comes next.
            let above = self.0.get(parent).copied().unwrap_or(parent);
            if let Some(entry) = self.0.get_mut(next) {
                *entry = above;
            }
            next = above;
        }
        next
    }

    fn connect(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if let Some(entry) = self.0.get_mut(a) {
            *entry = b;
        }
    }

    fn are_one(&mut self, a: usize, b: usize) -> bool {
        self.root(a) == self.root(b)
    }
}
