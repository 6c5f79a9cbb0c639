//! The snapshot that a backup continues, and the damaged ones that it passes over.
//!
//! A damaged table of states is named by every snapshot since it was written, so damage may reach back over many of them. A backup never passes over one
//! by itself: it says how far the damage reaches, and its user decides.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use kbk_format::repo::{Digested, Groups, RepoError, Repository, Snapshot};

use super::error::BackupError;

/// What the last backup found.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) snapshot: Option<Digested<Snapshot>>,
    pub(super) groups: Option<Groups>,
    /// The damaged snapshots that are passed over.
    pub(super) ignored: BTreeSet<u64>,
}

/// The newest snapshots, none of which can be continued.
#[derive(Debug)]
pub struct DamagedSnapshots {
    /// What is wrong with the newest.
    pub error: RepoError,
    /// The oldest of them.
    pub first: u64,
    /// The newest of them.
    pub last: u64,
    /// The newest snapshot that can be continued.
    pub intact: Option<u64>,
}

impl fmt::Display for DamagedSnapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (error, first, last) = (&self.error, self.first, self.last);
        if first == last {
            return write!(f, "snapshot {last} cannot be continued: {error}");
        }
        write!(
            f,
            "the snapshots {first} to {last} cannot be continued: {error}"
        )
    }
}

/// Reads the newest snapshot that the user does not ignore.
pub(super) async fn read(
    repository: &Repository,
    ignored: &[RangeInclusive<u64>],
) -> Result<Base, BackupError> {
    let ignored = check_ignored(repository, ignored).await?;
    match read_newest(repository, &ignored).await {
        Ok((snapshot, groups)) => Ok(Base {
            snapshot,
            groups,
            ignored,
        }),
        Err(error) if error.kind().is_about_content() => {
            let damaged = reach_of_damage(repository, &ignored, error).await?;
            Err(BackupError::DamagedSnapshots(Box::new(damaged)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn read_newest(
    repository: &Repository,
    ignored: &BTreeSet<u64>,
) -> Result<(Option<Digested<Snapshot>>, Option<Groups>), RepoError> {
    if let Some(missing) = repository.missing_newest().await?
        && !ignored.contains(&missing.sequence)
    {
        return Err(repository.newest_missing(missing));
    }
    let Some(snapshot) = repository.latest_but(ignored).await? else {
        return Ok((None, None));
    };
    let groups = repository.groups(&snapshot).await?;
    Ok((Some(snapshot), groups))
}

/// Returns the snapshots to ignore, each of which must be damaged. Sequences of a range that no snapshot has are left out.
async fn check_ignored(
    repository: &Repository,
    ranges: &[RangeInclusive<u64>],
) -> Result<BTreeSet<u64>, BackupError> {
    let mut ignored = BTreeSet::new();
    if ranges.is_empty() {
        return Ok(ignored);
    }
    let sequences = named_sequences(repository).await?;
    for range in ranges {
        let found = sequences.iter().filter(|sequence| range.contains(sequence));
        let before = ignored.len();
        ignored.extend(found);
        if ignored.len() == before {
            let sequence = *range.start();
            repository.manifest(sequence).await?;
            return Err(BackupError::NotDamaged(sequence));
        }
    }
    for &sequence in &ignored {
        match read_whole(repository, sequence).await {
            Ok(()) => return Err(BackupError::NotDamaged(sequence)),
            Err(error) if error.kind().is_about_content() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ignored)
}

/// Lists the sequences of all snapshots, ascending, with that of the newest if it is gone.
async fn named_sequences(repository: &Repository) -> Result<Vec<u64>, RepoError> {
    let mut sequences = repository.sequences().await?;
    let missing = repository.missing_newest().await?;
    sequences.extend(missing.map(|missing| missing.sequence));
    Ok(sequences)
}

/// Reads everything of a snapshot that a backup needs.
async fn read_whole(repository: &Repository, sequence: u64) -> Result<(), RepoError> {
    let snapshot = repository.snapshot(sequence).await?;
    repository.groups(&snapshot).await?;
    repository.acls(&snapshot).await?;
    Ok(())
}

/// Finds the newest snapshot that can be continued, and with it how many newer ones cannot.
async fn reach_of_damage(
    repository: &Repository,
    ignored: &BTreeSet<u64>,
    error: RepoError,
) -> Result<DamagedSnapshots, RepoError> {
    let mut sequences = named_sequences(repository).await?;
    sequences.retain(|sequence| !ignored.contains(sequence));
    let Some(&last) = sequences.last() else {
        return Err(error);
    };
    let mut damaged = DamagedSnapshots {
        error,
        first: last,
        last,
        intact: None,
    };
    for &sequence in sequences.iter().rev() {
        match read_whole(repository, sequence).await {
            Ok(()) => {
                damaged.intact = Some(sequence);
                break;
            }
            Err(found) if found.kind().is_about_content() => damaged.first = sequence,
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}
