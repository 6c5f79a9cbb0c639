//! Says what became of each object of a partition.

use std::collections::BTreeSet;

use super::super::ranges::Offsets;
use super::found::Node;
use super::histories::Histories;
use super::report::{Fate, ObjectRow};

/// What the objects of a partition are judged by.
pub(super) struct Judging<'a> {
    pub(super) nodes: &'a [Node],
    /// Where what the base states ends.
    pub(super) start: Option<i64>,
    /// Those that are named as they are.
    pub(super) whole: BTreeSet<usize>,
    /// What is taken of each.
    pub(super) taken: &'a [Offsets],
    /// The offsets that the new snapshot has.
    pub(super) have: Offsets,
    pub(super) histories: &'a Histories,
}

impl Judging<'_> {
    /// Says what became of an object.
    pub(super) fn judge(&self, row: &mut ObjectRow, at: usize) {
        let Some(node) = self.nodes.get(at) else {
            return;
        };
        let missing = self.have.missing_of(node.coverage.clone());
        row.lost_offsets = node.is_end_known.then_some(missing);
        // What has the same records as another one is of its history.
        let mut like = at;
        while let Some(next) = self.histories.same.get(&like) {
            like = *next;
        }
        // What ends there or before is not used in any case, and only matters where it differs.
        let is_below = self.start.is_some_and(|start| node.coverage.end <= start);
        if let Some(other) = self.histories.others.get(&like)
            && (other.differs || !is_below)
        {
            (row.fate, row.detail) = (Fate::Contradictory, Some(other.detail.clone()));
            return;
        }
        if like != at {
            let key = self.nodes.get(like).map_or("", |it| &it.key);
            (row.fate, row.detail) = (
                Fate::Superseded,
                Some(format!("{key} has the same records")),
            );
            return;
        }
        let is_empty = self.taken.get(at).is_none_or(Offsets::is_empty);
        row.fate = match (self.whole.contains(&at), is_empty, node.entry.is_some()) {
            (true, _, _) => Fate::Adopted,
            (false, true, true) => Fate::Superseded,
            (false, false, true) if node.is_stray => Fate::Moved,
            (false, false, true) => Fate::Cut,
            (false, true, false) if is_below || row.lost_offsets == Some(0) => Fate::Superseded,
            (false, _, false) => Fate::Salvaged,
        };
        if let (Fate::Moved, Some(entry)) = (row.fate, &node.entry) {
            row.detail = Some(format!("its header states that it is {}", entry.key));
        }
    }
}
