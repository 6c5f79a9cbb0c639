//! Which runs a writer merges before it commits (SPEC section 11.4, Merging).

use std::ops::Range;

use super::run::Run;

/// The number of runs of one level that are merged into one of the next.
pub(crate) const MERGED_RUNS: usize = 4;

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

/// Plans the merge that these runs need, if they need one.
///
/// Where the merged run would be one too many of its own level, the runs of that level are merged at the same time, so that no
/// row is written twice.
pub(crate) fn plan_merge(runs: &[Run]) -> Option<MergePlan> {
    let places = |level: u8| {
        let start = runs.partition_point(|run| run.level < level);
        start..runs.partition_point(|run| run.level <= level)
    };
    let levels = runs.chunk_by(|a, b| a.level == b.level);
    let full = levels
        .filter(|level| level.len() >= MERGED_RUNS)
        .find_map(|level| level.first())?;
    let mut merged = places(full.level);
    let mut level = full.level.checked_add(1)?;
    while places(level).len() + 1 >= MERGED_RUNS {
        merged.end = places(level).end;
        level = level.checked_add(1)?;
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
    use super::*;

    fn runs(levels: &[u8]) -> Vec<Run> {
        let count = levels.len() as u64;
        let run = |(at, level): (u64, &u8)| Run {
            level: *level,
            from: count - at,
            to: count - at,
            tables: None,
            list: None,
        };
        (0..).zip(levels).map(run).collect()
    }

    fn planned(levels: &[u8]) -> Option<(Range<usize>, u8, bool)> {
        let plan = plan_merge(&runs(levels))?;
        Some((plan.runs, plan.level, plan.keeps_removed))
    }

    #[test]
    fn a_full_level_becomes_a_run_of_the_next() {
        assert_eq!(planned(&[]), None);
        assert_eq!(planned(&[0, 0, 0, 1, 1, 1, 2]), None);
        assert_eq!(planned(&[0, 0, 0, 0]), Some((0..4, 1, false)));
        assert_eq!(planned(&[0, 0, 0, 0, 1]), Some((0..4, 1, true)));
        assert_eq!(planned(&[0, 0, 0, 0, 0, 1, 2]), Some((0..5, 1, true)));
        assert_eq!(planned(&[0, 1, 1, 1, 1, 3]), Some((1..5, 2, true)));
    }

    #[test]
    fn levels_that_become_full_are_merged_at_once() {
        assert_eq!(planned(&[0, 0, 0, 0, 1, 1, 1]), Some((0..7, 2, false)));
        let all = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 4];
        assert_eq!(planned(&all), Some((0..10, 3, true)));
    }
}
