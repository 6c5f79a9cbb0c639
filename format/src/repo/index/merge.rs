//! Which runs a writer merges before it commits (SPEC section 11.4, Merging).

use std::ops::Range;

use super::run::Run;

/// The number of runs of one level that are merged into one of the next.
pub(crate) const MERGED_RUNS: usize = 4;

/// The oldest run is merged with the others once they have this fraction of its rows.
const OLDEST_FRACTION: u64 = 4;

/// Runs that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MergePlan {
    /// Their places among the runs of the snapshot.
    pub(crate) runs: Range<usize>,
    /// The level of the merged run.
    pub(crate) level: u8,
    /// Whether older runs may hold what their removed rows remove.
    pub(crate) keeps_removed: bool,
}

impl MergePlan {
    /// Replaces the runs by the merged one, if it has any row.
    pub(crate) fn apply(self, runs: &mut Vec<Run>, merged: Option<Run>) {
        let older = self.runs.start + usize::from(merged.is_some());
        runs.splice(self.runs, merged);
        // Levels never decrease from run to run, and the older ones need not be written again for that.
        for run in runs.iter_mut().skip(older) {
            run.level = run.level.max(self.level);
        }
    }
}

/// Plans the merge that these runs need, if they need one. Only the first `readable` of them can be merged.
///
/// Where the merged run would be one too many of its own level, the runs of that level are merged at the same time, so that no
/// row is written twice. The oldest run, which has most rows, belongs to no level: it takes part once it is worth it.
pub(crate) fn plan_merge(runs: &[Run], readable: usize) -> Option<MergePlan> {
    let (oldest, younger) = runs.split_last()?;
    let readable = runs.get(..readable).unwrap_or(runs);
    let has_oldest = readable.len() == runs.len();
    let young = if has_oldest { younger } else { readable };
    let places = |level: u8| {
        let start = young.partition_point(|run| run.level < level);
        start..young.partition_point(|run| run.level <= level)
    };
    let levels = young.chunk_by(|a, b| a.level == b.level);
    let full = levels
        .filter(|level| level.len() >= MERGED_RUNS)
        .find_map(|level| level.first())?;
    let mut merged = places(full.level);
    let mut level = full.level.checked_add(1)?;
    while places(level).len() + 1 >= MERGED_RUNS {
        merged.end = places(level).end;
        level = level.checked_add(1)?;
    }
    let rows = young.iter().map(Run::rows).fold(0, u64::saturating_add);
    if has_oldest && rows.saturating_mul(OLDEST_FRACTION) >= oldest.rows() {
        merged = 0..runs.len();
        level = level.max(oldest.level);
    }
    let keeps_removed = merged.end < runs.len();
    Some(MergePlan {
        runs: merged,
        level,
        keeps_removed,
    })
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::topic;
    use super::super::table::TableRef;
    use super::*;
    use crate::repo::id::Hex;

    /// Runs of these levels and numbers of rows.
    fn runs(runs: &[(u8, u64)]) -> Vec<Run> {
        let count = runs.len() as u64;
        let table = |rows: u64| TableRef {
            sha256: Hex([0; 32]),
            size: 1,
            raw_size: 1,
            rows,
            first: topic("a", 1),
            last: topic("a", 1),
            min_timestamp: None,
            max_timestamp: None,
            hides: false,
        };
        let run = |(at, (level, rows)): (u64, &(u8, u64))| Run {
            level: *level,
            from: count - at,
            to: count - at,
            tables: Some(vec![table(*rows)]),
            list: None,
        };
        (0..).zip(runs).map(run).collect()
    }

    fn planned(levels: &[u8], oldest: (u8, u64)) -> Option<(Range<usize>, u8, bool)> {
        let young = levels.iter().map(|level| (*level, 10));
        let runs = runs(&young.chain([oldest]).collect::<Vec<_>>());
        let plan = plan_merge(&runs, runs.len())?;
        Some((plan.runs, plan.level, plan.keeps_removed))
    }

    #[test]
    fn a_full_level_becomes_a_run_of_the_next() {
        let large = (3, 1_000);
        assert_eq!(plan_merge(&[], 0), None);
        assert_eq!(planned(&[], large), None);
        assert_eq!(planned(&[0, 0, 0, 1, 1, 1, 2], large), None);
        assert_eq!(planned(&[0, 0, 0, 0], large), Some((0..4, 1, true)));
        assert_eq!(
            planned(&[0, 0, 0, 0, 0, 1, 2], large),
            Some((0..5, 1, true))
        );
        assert_eq!(planned(&[0, 1, 1, 1, 1, 3], large), Some((1..5, 2, true)));
    }

    #[test]
    fn levels_that_become_full_are_merged_at_once() {
        let large = (4, 1_000);
        assert_eq!(
            planned(&[0, 0, 0, 0, 1, 1, 1], large),
            Some((0..7, 2, true))
        );
        let all = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2];
        assert_eq!(planned(&all, large), Some((0..10, 3, true)));
    }

    #[test]
    fn the_oldest_run_is_merged_when_the_others_have_a_quarter_of_its_rows() {
        assert_eq!(planned(&[0, 0, 0], (0, 1)), None, "no level is full");
        assert_eq!(planned(&[0, 0, 0, 0], (0, 160)), Some((0..5, 1, false)));
        assert_eq!(planned(&[0, 0, 0, 0], (5, 160)), Some((0..5, 5, false)));
        assert_eq!(planned(&[0, 0, 0, 0], (5, 161)), Some((0..4, 1, true)));
        let all = [0, 0, 0, 0, 1, 2];
        assert_eq!(planned(&all, (2, 240)), Some((0..7, 2, false)));
    }

    #[test]
    fn what_cannot_be_read_is_left_where_it_is() {
        let runs = runs(&[(0, 1), (0, 1), (0, 1), (0, 1), (1, 1), (1, 1)]);
        let plan = |readable| plan_merge(&runs, readable).map(|plan| (plan.runs, plan.level));
        assert_eq!(plan(6), Some((0..6, 1)));
        assert_eq!(plan(5), Some((0..4, 1)));
        assert_eq!(plan(4), Some((0..4, 1)));
        assert_eq!(plan(3), None);
        assert_eq!(plan(0), None);
    }

    #[test]
    fn levels_never_decrease_after_a_merge() {
        let mut runs = runs(&[(0, 1), (0, 1), (0, 1), (1, 1), (3, 1)]);
        let merged = Run {
            level: 2,
            ..runs[0].clone()
        };
        let plan = MergePlan {
            runs: 0..3,
            level: 2,
            keeps_removed: true,
        };
        plan.apply(&mut runs, Some(merged));
        let levels = runs.iter().map(|run| run.level);
        assert_eq!(levels.collect::<Vec<_>>(), [2, 2, 3]);
    }
}
