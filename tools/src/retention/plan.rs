//! What is kept and forgotten in a repository, and why.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use kbk_format::repo::{Digest, ForgetPlan, Parents, RepoError, Repository};
use serde::Serialize;

use super::policy::{Candidate, Policy, Reason};
use crate::list::{self, RestoreState};

/// What becomes of each snapshot.
#[derive(Clone, Debug)]
pub struct RetentionPlan {
    /// All snapshots, ascending.
    pub rows: Vec<RetentionRow>,
    /// The snapshots to forget, for [`Repository::forget`].
    pub forget: ForgetPlan,
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionRow {
    /// Its sequence number.
    pub sequence: u64,
    /// When its backup was made; null if it cannot be read.
    pub created_at: Option<Timestamp>,
    /// Whether it has every record that the cluster had; null if it cannot be read.
    pub complete: Option<bool>,
    /// Whether it is kept.
    pub keep: bool,
    /// Why it is kept, such as `newest` or `daily`; empty if it is forgotten.
    pub reasons: Vec<String>,
    /// The snapshot that holds the same and is kept or forgotten for the reasons of its age: what `forget` and `prune` commit holds what
    /// the snapshot before it holds. Null where no snapshot before it has the same records, groups and ACLs of the same backup.
    pub same_as: Option<u64>,
}

/// Why nothing can be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The newest snapshot was to be forgotten.
    #[error(
        "cannot forget snapshot {0}: it is the newest, which is what the next backup continues; forget older ones"
    )]
    Newest(u64),
    /// A restore needs the snapshot.
    #[error(
        "cannot forget snapshot {sequence}: restore {restore} has not finished and reads it; resume it with `kbk restore --resume {restore}`, or \
         end it with `kbk restores discard {restore}`"
    )]
    Restoring {
        /// The snapshot.
        sequence: u64,
        /// The restore.
        restore: String,
    },
    /// An access to the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

/// A snapshot as far as a plan needs it.
struct Found {
    sequence: u64,
    /// `None` if it cannot be read.
    contents: Option<Contents>,
}

struct Contents {
    created_at: Timestamp,
    complete: bool,
    content: Digest,
}

/// Plans what `policy` forgets.
///
/// Of snapshots that hold the same, the first counts, which is in most cases the one that the backup reported; the others are forgotten,
/// unless one is the newest. What an expiry leaves of a backup is as old as that, and takes its place in a period. A snapshot that cannot be read, or that an unfinished restore needs, is kept.
///
/// # Errors
///
/// The error of the store.
pub async fn plan_policy(
    repository: &Repository,
    policy: &Policy,
) -> Result<RetentionPlan, RetentionError> {
    let found = found(repository).await?;
    let restoring = restoring(repository).await?;
    let firsts = firsts(&found);
    let counted: Vec<(u64, Candidate)> = found
        .iter()
        .filter_map(|it| candidate(it, &firsts))
        .collect();
    let candidates: Vec<Candidate> = counted.iter().map(|(_, candidate)| *candidate).collect();
    let reasons = policy.reasons(&candidates);
    let mut reasons: BTreeMap<u64, Vec<Reason>> = counted
        .iter()
        .map(|(sequence, _)| *sequence)
        .zip(reasons)
        .collect();
    if let Some(newest) = found.last() {
        let first = counted.last().map(|(sequence, _)| *sequence);
        if first != Some(newest.sequence) {
            // What holds its backup is another snapshot, or it cannot be read; it is kept in any case.
            reasons
                .entry(newest.sequence)
                .or_default()
                .push(Reason::Newest);
        }
    }
    for snapshot in found.iter().filter(|it| it.contents.is_none()) {
        reasons
            .entry(snapshot.sequence)
            .or_default()
            .push(Reason::Damaged);
    }
    for (sequence, restore) in restoring {
        reasons
            .entry(sequence)
            .or_default()
            .push(Reason::Restore(restore));
    }
    let rows = rows(&found, &firsts, |sequence| {
        reasons.remove(&sequence).unwrap_or_default()
    });
    planned(repository, rows).await
}

/// Plans to forget these snapshots. Those that were forgotten before are accepted.
///
/// # Errors
///
/// [`RetentionError`]; a snapshot that does not exist is an error of the repository.
pub async fn plan_snapshots(
    repository: &Repository,
    sequences: &BTreeSet<u64>,
) -> Result<RetentionPlan, RetentionError> {
    let found = found(repository).await?;
    let newest = found.last().map(|newest| newest.sequence);
    if let Some(newest) = newest.filter(|newest| sequences.contains(newest)) {
        return Err(RetentionError::Newest(newest));
    }
    for (sequence, restore) in restoring(repository).await? {
        if sequences.contains(&sequence) {
            return Err(RetentionError::Restoring { sequence, restore });
        }
    }
    let firsts = firsts(&found);
    let mut rows = rows(&found, &firsts, |_| Vec::new());
    for row in &mut rows {
        row.keep = !sequences.contains(&row.sequence);
    }
    let forget = repository.plan_forget(sequences.clone()).await?;
    Ok(RetentionPlan { rows, forget })
}

async fn planned(
    repository: &Repository,
    rows: Vec<RetentionRow>,
) -> Result<RetentionPlan, RetentionError> {
    let forgotten = rows.iter().filter(|row| !row.keep);
    let forgotten = forgotten.map(|row| row.sequence).collect();
    let forget = repository.plan_forget(forgotten).await?;
    Ok(RetentionPlan { rows, forget })
}

async fn found(repository: &Repository) -> Result<Vec<Found>, RepoError> {
    let damaged = repository.found_damaged().await?;
    let mut found = Vec::new();
    let mut parents = Parents::default();
    for sequence in repository.sequences().await? {
        let contents = match repository.manifest(sequence).await {
            Ok(manifest) => {
                parents.add(&manifest);
                Some(Contents {
                    created_at: manifest.created_at,
                    complete: damaged.is_whole_backup(&manifest),
                    content: manifest.content(),
                })
            }
            Err(error) if error.kind().is_about_content() => None,
            Err(error) => return Err(error),
        };
        found.push(Found { sequence, contents });
    }
    let missing = repository.missing_parents(&parents).await?.into_iter();
    found.extend(missing.map(|missing| Found {
        sequence: missing.sequence,
        contents: None,
    }));
    found.sort_by_key(|it| it.sequence);
    Ok(found)
}

/// Returns the snapshots that unfinished restores need, with their names.
async fn restoring(repository: &Repository) -> Result<Vec<(u64, String)>, RepoError> {
    let restores = list::restores(repository).await?.into_iter();
    let unfinished = restores.filter(|row| row.state == RestoreState::Unfinished);
    let needed =
        unfinished.filter_map(|row| Some((row.contents?.snapshot, row.restore.to_string())));
    Ok(needed.collect())
}

/// Returns the first snapshot of each content.
fn firsts(found: &[Found]) -> HashMap<Digest, u64> {
    let mut firsts = HashMap::new();
    for snapshot in found {
        if let Some(contents) = &snapshot.contents {
            firsts.entry(contents.content).or_insert(snapshot.sequence);
        }
    }
    firsts
}

fn candidate(found: &Found, firsts: &HashMap<Digest, u64>) -> Option<(u64, Candidate)> {
    let contents = found.contents.as_ref()?;
    let is_first = firsts.get(&contents.content) == Some(&found.sequence);
    let candidate = Candidate {
        time: contents.created_at,
        whole: contents.complete,
    };
    is_first.then_some((found.sequence, candidate))
}

fn rows(
    found: &[Found],
    firsts: &HashMap<Digest, u64>,
    mut reasons: impl FnMut(u64) -> Vec<Reason>,
) -> Vec<RetentionRow> {
    let row = |snapshot: &Found| {
        let contents = snapshot.contents.as_ref();
        let first = contents
            .and_then(|contents| firsts.get(&contents.content))
            .copied();
        let reasons = reasons(snapshot.sequence);
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        RetentionRow {
            sequence: snapshot.sequence,
            created_at: contents.map(|contents| contents.created_at),
            complete: contents.map(|contents| contents.complete),
            keep: !reasons.is_empty(),
            reasons,
            same_as: first.filter(|first| *first != snapshot.sequence),
        }
    };
    found.iter().map(row).collect()
}
