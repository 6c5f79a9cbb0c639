//! The newest snapshot of a repository, and the newest that is whole.

use kbk_format::repo::{Digested, FoundDamaged, RepoError, Repository, Snapshot};

/// The newest snapshots of a repository.
#[derive(Debug)]
pub struct Newest {
    /// Number of snapshots.
    pub snapshots: u64,
    /// The newest one; `None` if there is none.
    pub newest: Option<NewestSnapshot>,
    /// The newest one that can be read, holds a backup and lacks no records, nor names segments that a later recovery found damaged; `None` if
    /// there is none.
    pub whole: Option<Digested<Snapshot>>,
}

/// The newest snapshot.
#[derive(Debug)]
pub enum NewestSnapshot {
    /// It can be read.
    Intact(Box<Digested<Snapshot>>),
    /// It cannot, or it is gone and the hint still names it.
    Damaged {
        /// Its sequence number.
        sequence: u64,
        /// Why it cannot be read.
        damage: String,
    },
}

/// Returns the newest snapshots. Reads only the newest one, unless that is damaged or partial.
///
/// # Errors
///
/// If the repository cannot be listed. A snapshot that cannot be read is no error.
pub async fn newest(repository: &Repository) -> Result<Newest, RepoError> {
    let sequences = repository.sequences().await?;
    let mut found = Newest {
        snapshots: sequences.len() as u64,
        newest: None,
        whole: None,
    };
    if let Some(missing) = repository.missing_newest().await? {
        found.newest = Some(NewestSnapshot::Damaged {
            sequence: missing.sequence,
            damage: repository.newest_missing(missing).to_string(),
        });
    }
    let damaged = repository.found_damaged().await?;
    for sequence in sequences.into_iter().rev() {
        if found.newest.is_some() && !is_whole(repository, sequence, &damaged).await {
            continue;
        }
        let read = repository.snapshot(sequence).await;
        let whole = read
            .as_ref()
            .ok()
            .filter(|snapshot| is_whole_backup(snapshot));
        found.whole = whole.cloned();
        found.newest.get_or_insert_with(|| match read {
            Ok(snapshot) => NewestSnapshot::Intact(Box::new(snapshot)),
            Err(error) => NewestSnapshot::Damaged {
                sequence,
                damage: error.to_string(),
            },
        });
        if found.whole.is_some() {
            break;
        }
    }
    Ok(found)
}

/// Returns whether a snapshot holds a backup that lacks no records.
fn is_whole_backup(snapshot: &Snapshot) -> bool {
    snapshot.has_backup() && snapshot.is_complete()
}

/// Returns whether a snapshot lacks no records, as its manifest and the newest snapshot say, so that its rows need not be read.
async fn is_whole(repository: &Repository, sequence: u64, damaged: &FoundDamaged) -> bool {
    let manifest = repository.manifest(sequence).await;
    manifest.is_ok_and(|manifest| damaged.is_whole_backup(&manifest))
}
