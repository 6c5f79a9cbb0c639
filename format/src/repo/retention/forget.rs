//! Forgets snapshots: a commit names them, then their objects are removed.

use std::collections::BTreeSet;

use super::Upkeep;
use crate::layout::limits;
use crate::repo::error::{RepoErrorKind, Result};
use crate::repo::keys::{Key, SNAPSHOTS};
use crate::repo::ranges;
use crate::repo::repository::Repository;

/// What is going to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetPlan {
    /// The snapshots, none of which is the newest.
    pub sequences: BTreeSet<u64>,
    /// What was forgotten when the plan was made: another run that forgets meanwhile may have kept what this one forgets.
    known: Vec<(u64, u64)>,
}

/// What was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The snapshot that names them; `None` where there was none to forget.
    pub snapshot: Option<u64>,
    /// The snapshots whose objects were removed, those that an earlier run left behind too.
    pub removed: Vec<u64>,
}

impl Repository {
    /// Plans to forget these snapshots. Those that were forgotten before are left out.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NoSuchSnapshot`] if one of them does not exist or is the newest, [`RepoErrorKind::TooManyRanges`], or why the newest snapshot cannot
    /// be read: it may be missing.
    pub async fn plan_forget(&self, sequences: BTreeSet<u64>) -> Result<ForgetPlan> {
        self.check_newest().await?;
        let Some(newest) = self.latest_manifest().await? else {
            let Some(&sequence) = sequences.first() else {
                return Ok(ForgetPlan {
                    sequences,
                    known: Vec::new(),
                });
            };
            return Err(self.no_snapshot(sequence));
        };
        let existing = self.store().list(SNAPSHOTS).await?;
        let mut existing: BTreeSet<u64> =
            existing.iter().filter_map(|it| it.key.sequence()).collect();
        if !sequences.is_subset(&existing) {
            // One that is gone can be forgotten, too.
            let missing = self.missing_parents_after(0).await?;
            existing.extend(missing.iter().map(|it| it.sequence));
        }
        let mut plan = ForgetPlan {
            sequences,
            known: newest.forgotten.clone(),
        };
        plan.sequences
            .retain(|sequence| !ranges::contain(&plan.known, *sequence));
        let mut sequences = plan.sequences.iter();
        let missing = sequences
            .find(|sequence| !existing.contains(sequence) || **sequence >= newest.sequence);
        if let Some(&sequence) = missing {
            return Err(self.no_snapshot(sequence));
        }
        let ranges = ranges::with(&plan.known, &plan.sequences).len();
        if ranges > limits::FORGOTTEN_RANGES {
            let kind = RepoErrorKind::TooManyRanges { ranges };
            return Err(self.store().error_of_whole(kind));
        }
        Ok(plan)
    }

    fn no_snapshot(&self, sequence: u64) -> crate::repo::error::RepoError {
        let kind = RepoErrorKind::NoSuchSnapshot { sequence };
        self.store().error_of_whole(kind)
    }

    /// Forgets what was planned, and removes the objects of all snapshots that were ever forgotten.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] if another run has forgotten snapshots since, or the error of the store. After any error, whoever forgets next
    /// continues.
    pub async fn forget(&self, plan: &ForgetPlan, upkeep: &Upkeep) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        if !plan.sequences.is_empty() {
            let committed = self.commit_maintenance(upkeep, |newest, next| {
                if newest.forgotten != plan.known {
                    return Err(RepoErrorKind::Outdated);
                }
                let forgotten = ranges::with(&next.forgotten, &plan.sequences);
                if forgotten.len() > limits::FORGOTTEN_RANGES {
                    let ranges = forgotten.len();
                    return Err(RepoErrorKind::TooManyRanges { ranges });
                }
                next.forgotten = forgotten;
                Ok(())
            });
            forgotten.snapshot = Some(committed.await?.sequence);
        }
        forgotten.removed = self.remove_forgotten().await?;
        Ok(forgotten)
    }

    /// Lists the objects of snapshots that were forgotten.
    pub(super) async fn forgotten_objects(&self) -> Result<Vec<u64>> {
        // What was forgotten stays forgotten, so whatever the newest snapshot is a moment later, it names these too.
        let Some(newest) = self.latest_manifest().await? else {
            return Ok(Vec::new());
        };
        let listed = self.store().list(SNAPSHOTS).await?;
        let sequences = listed.iter().filter_map(|listed| listed.key.sequence());
        Ok(sequences
            .filter(|sequence| newest.has_forgotten(*sequence))
            .collect())
    }

    /// Removes them.
    pub(super) async fn remove_forgotten(&self) -> Result<Vec<u64>> {
        let sequences = self.forgotten_objects().await?;
        let keys: Vec<Key> = sequences
            .iter()
            .map(|&sequence| Key::Snapshot { sequence })
            .collect();
        self.store().remove_all(&keys).await?;
        Ok(sequences)
    }
}
