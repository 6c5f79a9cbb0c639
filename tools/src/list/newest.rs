//! The newest snapshot of a repository, and the newest that is whole.

use kbk_format::repo::{Digested, Manifest, RepoError, Repository, Snapshot};

/// The newest snapshots of a repository.
#[derive(Debug)]
pub struct Newest {
    /// Number of snapshots.
    pub snapshots: u64,
    /// The newest one; `None` if there is none.
    pub newest: Option<NewestSnapshot>,
    /// The newest one that can be read, holds a backup and lacks no records; `None` if there is none.
    pub whole: Option<Digested<Snapshot>>,
}

/// The newest snapshot.
#[derive(Debug)]
pub enum NewestSnapshot {
    /// It can be read.
    Intact(Box<Digested<Snapshot>>),
    /// It cannot.
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
    for sequence in sequences.into_iter().rev() {
        if found.newest.is_some() && !is_whole(repository, sequence).await {
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
fn is_whole_backup(snapshot: &Manifest) -> bool {
    snapshot.has_backup() && snapshot.is_complete()
}

/// Returns whether a snapshot says that it lacks no records. Its manifest alone says so.
async fn is_whole(repository: &Repository, sequence: u64) -> bool {
    let manifest = repository.manifest(sequence).await;
    manifest.is_ok_and(|manifest| is_whole_backup(&manifest))
}
