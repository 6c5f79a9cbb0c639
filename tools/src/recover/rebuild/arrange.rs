//! Which offsets are taken of which object, and which segments that takes.

use std::cmp::Reverse;
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
    let overlaps = |cluster: &[usize], at: usize| {
        let end = cluster.iter().filter_map(|at| nodes.get(*at));
        let end = end.map(|node| node.coverage.end).max();
        end.zip(nodes.get(at))
            .is_none_or(|(end, node)| node.coverage.start < end)
    };
    let mut cluster: Vec<usize> = Vec::new();
    for at in order {
        if !overlaps(&cluster, at) {
            take((nodes, &offered), &cluster, start, &mut taken, &mut units);
            cluster.clear();
        }
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
    let mut covered = start.map_or_else(Offsets::default, |start| Offsets::one(i64::MIN..start));
    for &at in &order {
        if let (Some(offered), Some(taken)) = (offered.get(at), taken.get_mut(at)) {
            *taken = offered.without(&covered);
            covered = Offsets::of(covered.iter().chain(taken.iter()));
        }
    }
    for &at in &order {
        let (Some(node), Some(own)) = (nodes.get(at), taken.get(at)) else {
            continue;
        };
        if own.is_empty() {
            continue;
        }
        let coverage = Offsets::one(node.coverage.clone());
        let begins_before = start.is_some_and(|start| node.coverage.start < start);
        let is_alone = order
            .iter()
            .filter(|other| **other != at)
            .filter_map(|other| taken.get(*other))
            .all(|other| other.and(&coverage).is_empty());
        match node.entry.is_some() && *own == node.offsets && is_alone && !begins_before {
            true => units.push(Unit::Whole(at)),
            false => units.extend(own.iter().map(|part| Unit::Part(at, part))),
        }
    }
}

/// What is taken first: intact objects, those that lack nothing that another one has, long ones, old ones.
fn rank(node: &Node, offered: &Offsets) -> (bool, bool, Reverse<u64>, i64, String) {
    let lacks = Offsets::one(node.coverage.clone()).without(offered);
    (
        node.entry.is_none(),
        !lacks.is_empty(),
        Reverse(node.coverage.end.abs_diff(node.coverage.start)),
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
