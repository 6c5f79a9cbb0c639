//! Which offsets are taken of which object, and which segments that takes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use kbk_format::TimestampType;

use super::super::ranges::Offsets;
use super::found::Node;
use super::histories::Histories;

/// Objects of which one new segment is made at most: all of them are open while it is written.
const SOURCES: usize = 4;
/// Ranges of offsets of which one new segment is made at most: a segment can name a limited number of gaps.
const PARTS: usize = 10_000;

/// A segment of the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An object as it is.
    Whole(usize),
    /// A new one.
    New(NewSegment),
}

/// A segment that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewSegment {
    pub(super) offsets: Range<i64>,
    /// What is taken of which object, in order.
    pub(super) parts: Vec<(usize, Range<i64>)>,
    pub(super) timestamp_type: TimestampType,
}

/// What a partition is made of.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    pub(super) items: Vec<Item>,
    /// What is taken of each object.
    pub(super) taken: Vec<Offsets>,
}

/// What is taken of an object.
#[derive(Clone, Debug)]
enum Unit {
    Whole(usize),
    Part(usize, Range<i64>),
}

/// Arranges the objects of a partition. `start` is where what the base has ends, `None` where it has nothing of the partition. `first` is the first
/// offset that an object of the partition is known to have been of.
pub(super) fn arrange(
    nodes: &[Node],
    histories: &Histories,
    start: Option<i64>,
    first: Option<i64>,
) -> Arranged {
    let usable = |at: &usize| {
        !histories.same.contains_key(at)
            && !histories.others.contains_key(at)
            && nodes.get(*at).is_some_and(|node| !node.is_stated)
    };
    let mut order: Vec<usize> = (0..nodes.len()).filter(usable).collect();
    order.sort_by_key(|at| nodes.get(*at).map(|node| node.coverage.start));
    let none = Offsets::default();
    let usable = |at: usize| {
        let outdone = histories.outdone.get(&at).unwrap_or(&none);
        nodes.get(at).map(|node| node.offsets.without(outdone))
    };
    let offered: Vec<Offsets> = (0..nodes.len()).filter_map(usable).collect();
    let mut taken = vec![Offsets::default(); nodes.len()];
    let mut units = Vec::new();
    let mut cluster: Vec<usize> = Vec::new();
    let mut cluster_end = i64::MIN;
    for at in order {
        let Some(node) = nodes.get(at) else { continue };
        if node.coverage.start >= cluster_end {
            take((nodes, &offered), &cluster, start, &mut taken, &mut units);
            cluster.clear();
        }
        cluster_end = cluster_end.max(node.coverage.end);
        cluster.push(at);
    }
    take((nodes, &offered), &cluster, start, &mut taken, &mut units);
    units.sort_by_key(|unit| unit.offsets(nodes).start);
    Arranged {
        items: items(nodes, units, start.or(first)),
        taken,
    }
}

/// Takes the offsets of objects that overlap, each from the best that has it.
fn take(
    (nodes, offered): (&[Node], &[Offsets]),
    cluster: &[usize],
    start: Option<i64>,
    taken: &mut [Offsets],
    units: &mut Vec<Unit>,
) {
    let mut order = cluster.to_vec();
    order.sort_by_key(|at| Some(rank(nodes.get(*at)?, offered.get(*at)?)));
    let mut covered = Covered::default();
    covered.extend(start.map(|start| i64::MIN..start));
    for &at in &order {
        if let (Some(offered), Some(taken)) = (offered.get(at), taken.get_mut(at)) {
            *taken = covered.take(offered);
        }
    }
    // Disjoint, so that those within a range follow each other.
    let mut owners: Vec<(Range<i64>, usize)> = Vec::new();
    for &at in &order {
        let parts = taken.get(at).into_iter().flat_map(Offsets::iter);
        owners.extend(parts.map(|part| (part, at)));
    }
    owners.sort_by_key(|(part, _)| part.start);
    let is_alone = |at: usize, coverage: &Range<i64>| {
        let first = owners.partition_point(|(part, _)| part.end <= coverage.start);
        let rest = owners.get(first..).unwrap_or_default().iter();
        let mut within = rest.take_while(|(part, _)| part.start < coverage.end);
        within.all(|(_, owner)| *owner == at)
    };
    for &at in &order {
        let (Some(node), Some(own)) = (nodes.get(at), taken.get(at)) else {
            continue;
        };
        if own.is_empty() {
            continue;
        }
        let begins_before = start.is_some_and(|start| node.coverage.start < start);
        let is_all = *own == node.offsets && is_alone(at, &node.coverage);
        match node.entry.is_some() && !node.is_stray && is_all && !begins_before {
            true => units.push(Unit::Whole(at)),
            false => units.extend(own.iter().map(|part| Unit::Part(at, part))),
        }
    }
}

/// Offsets that something has already, by their first ones: ranges that do not touch.
#[derive(Debug, Default)]
struct Covered(BTreeMap<i64, i64>);

impl Covered {
    fn extend(&mut self, ranges: impl IntoIterator<Item = Range<i64>>) {
        for range in ranges.into_iter().filter(|it| it.start < it.end) {
            let (mut start, mut end) = (range.start, range.end);
            // Those that it overlaps or touches become one with it.
            while let Some((from, to)) = self.0.range(..=end).next_back().map(|it| (*it.0, *it.1))
                && to >= start
            {
                self.0.remove(&from);
                start = start.min(from);
                end = end.max(to);
            }
            self.0.insert(start, end);
        }
    }

    /// Adds what of a set was not covered, and returns it.
    fn take(&mut self, offsets: &Offsets) -> Offsets {
        let mut left = Vec::new();
        for range in offsets.iter() {
            let before = self.0.range(..=range.start).next_back();
            let mut at = before.map_or(range.start, |(_, end)| range.start.max(*end));
            for (from, to) in self.0.range(range.start..range.end) {
                if at < *from {
                    left.push(at..*from);
                }
                at = at.max(*to);
            }
            if at < range.end {
                left.push(at..range.end);
            }
        }
        let left = Offsets::of(left);
        self.extend(left.iter());
        left
    }
}

/// What is taken first: intact objects, those that lack nothing that another one has, long ones, those with their own
/// names, old ones.
fn rank(node: &Node, offered: &Offsets) -> (bool, bool, Reverse<u64>, bool, i64, String) {
    let lacks = Offsets::one(node.coverage.clone()).without(offered);
    (
        node.entry.is_none(),
        !lacks.is_empty(),
        Reverse(node.coverage.end.abs_diff(node.coverage.start)),
        node.is_stray,
        node.created_ms.unwrap_or(i64::MAX),
        node.key.clone(),
    )
}

impl Unit {
    fn offsets(&self, nodes: &[Node]) -> Range<i64> {
        match self {
            Unit::Whole(at) => nodes.get(*at).map_or(0..0, |node| node.coverage.clone()),
            Unit::Part(_, offsets) => offsets.clone(),
        }
    }

    fn timestamp_type(&self, nodes: &[Node]) -> Option<TimestampType> {
        let (Unit::Whole(at) | Unit::Part(at, _)) = self;
        nodes.get(*at).and_then(|node| node.timestamp_type)
    }
}

/// Makes segments of what is taken, without a hole. Offsets that nothing has are in new segments, as gaps.
fn items(nodes: &[Node], units: Vec<Unit>, start: Option<i64>) -> Vec<Item> {
    let mut items = Vec::new();
    let types = units.iter().filter_map(|unit| unit.timestamp_type(nodes));
    let mut last_type = types.clone().next().unwrap_or(TimestampType::CreateTime);
    let first = units.first().map(|unit| unit.offsets(nodes).start);
    let Some(mut at) = start.into_iter().chain(first).min() else {
        return items;
    };
    let mut pending: Option<NewSegment> = None;
    for unit in units {
        let offsets = unit.offsets(nodes);
        match unit {
            Unit::Whole(node) => {
                if at < offsets.start {
                    let hole = pending.get_or_insert_with(|| NewSegment::new(at, last_type));
                    hole.offsets.end = offsets.start;
                }
                items.extend(pending.take().map(Item::New));
                last_type = unit.timestamp_type(nodes).unwrap_or(last_type);
                items.push(Item::Whole(node));
            }
            Unit::Part(node, _) => {
                let known = unit.timestamp_type(nodes);
                if let Some(open) = &pending
                    && !open.takes(node, known)
                {
                    items.extend(pending.take().map(Item::New));
                }
                last_type = known.unwrap_or(last_type);
                let segment = pending.get_or_insert_with(|| NewSegment::new(at, last_type));
                // Offsets before it that nothing has belong to it, too.
                segment.offsets.end = offsets.end;
                segment.parts.push((node, offsets.clone()));
            }
        }
        at = offsets.end;
    }
    items.extend(pending.map(Item::New));
    items
}

impl NewSegment {
    fn new(start: i64, timestamp_type: TimestampType) -> NewSegment {
        NewSegment {
            offsets: start..start,
            parts: Vec::new(),
            timestamp_type,
        }
    }

    /// Returns whether a part of an object can be in it, too.
    fn takes(&self, node: usize, timestamp_type: Option<TimestampType>) -> bool {
        let mut sources: Vec<usize> = self.parts.iter().map(|(at, _)| *at).collect();
        sources.dedup();
        let is_new = !sources.contains(&node);
        timestamp_type.is_none_or(|it| it == self.timestamp_type)
            && (!is_new || sources.len() < SOURCES)
            && self.parts.len() < PARTS
    }

    /// Returns the offsets that nothing has.
    pub(super) fn lost(&self) -> Offsets {
        let taken = Offsets::of(self.parts.iter().map(|(_, part)| part.clone()));
        Offsets::one(self.offsets.clone()).without(&taken)
    }
}
