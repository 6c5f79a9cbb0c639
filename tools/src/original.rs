//! The original of a copy, as messages name it: a repository that is a copy gets nothing from `kbk backup` but its end.

use kbk_format::repo::{Manifest, Origin, Repository};

/// Returns the origin of the newest snapshot; `None` where that is no copy, or cannot be read.
pub async fn of(repository: &Repository) -> Option<Origin> {
    let newest = repository.newest_sequence().await.ok()?;
    let manifest = repository.manifest(newest).await.ok()?;
    manifest.origin.clone()
}

/// Says how a copy gets what it lacks.
#[must_use]
pub fn copy_again(origin: &Origin) -> String {
    format!(
        "run `kbk copy --from ORIGINAL` to this repository again once its original, repository {}, is intact and has what is missing",
        origin.repository_id
    )
}

/// Names the snapshot of a number that a snapshot states of a backup: in a copy, the number is that of the repository that was backed up.
#[must_use]
pub fn numbered(snapshot: &Manifest, sequence: u64) -> String {
    of_copy(snapshot.origin.is_some(), sequence)
}

/// The same, where it is known whether the snapshot that states it is a copy.
#[must_use]
pub fn of_copy(is_copy: bool, sequence: u64) -> String {
    match is_copy {
        true => format!("snapshot {sequence} of the original"),
        false => format!("snapshot {sequence}"),
    }
}

/// Says why a snapshot has no groups, or no ACLs.
#[must_use]
pub fn never_saved(snapshot: &Manifest) -> String {
    match &snapshot.origin {
        None => "no backup up to it saved them".to_owned(),
        Some(origin) => format!(
            "it is a copy, and its original, repository {}, had not saved them, or they could not be copied",
            origin.repository_id
        ),
    }
}
