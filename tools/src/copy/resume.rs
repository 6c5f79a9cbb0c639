//! Where the copies that were made before end, and whether the origin is still the same repository with the same history.

use kbk_format::repo::{Manifest, RepoErrorKind, Repository};

use super::error::CopyError;
use crate::recover::REBUILD;

/// The last snapshot that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastCopied {
    /// Its sequence in the origin.
    pub(super) sequence: u64,
    /// Whether it is still there, and the same.
    pub(super) is_proven: bool,
}

/// Returns the last snapshot that was copied, according to the newest of the destination; `None` where there is none.
///
/// # Errors
///
/// Why nothing of `origin` can be copied to it.
pub(super) async fn last_copied(
    origin: &Repository,
    destination: &Repository,
    newest: Option<&Manifest>,
) -> Result<Option<LastCopied>, CopyError> {
    let url = || destination.store().url().to_owned();
    let from = || origin.store().url().to_owned();
    let Some(newest) = newest else {
        return Ok(None);
    };
    let Some(last) = &newest.origin else {
        return match newest.backup() {
            0 => Ok(None),
            _ if is_rebuilt(newest) => Err(CopyError::Rebuilt { url: url() }),
            snapshot => Err(CopyError::OwnBackups {
                url: url(),
                snapshot,
            }),
        };
    };
    let expected = origin.identity().repository_id;
    if last.repository_id != expected {
        return Err(CopyError::OtherOrigin {
            url: url(),
            from: from(),
            found: last.repository_id,
            expected,
        });
    }
    let other = |why: &str| CopyError::OtherHistory {
        url: url(),
        from: from(),
        sequence: last.sequence,
        why: why.to_owned(),
    };
    if origin.newest_sequence().await? < last.sequence {
        return Err(other("does not exist there, nor does any newer one"));
    }
    let copied = |is_proven| {
        let sequence = last.sequence;
        Some(LastCopied {
            sequence,
            is_proven,
        })
    };
    match origin.manifest(last.sequence).await {
        Ok(found) if found.sha256 == last.sha256 => Ok(copied(true)),
        Ok(_) => Err(other("is another one there now")),
        // It was forgotten, or is damaged, and later ones may be intact: each partition is compared by itself.
        Err(error)
            if matches!(
                error.kind(),
                RepoErrorKind::NoSuchSnapshot { .. } | RepoErrorKind::Damaged(_)
            ) =>
        {
            Ok(copied(false))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns whether a snapshot was built from the segments alone, so that nothing says whether it was a copy.
fn is_rebuilt(newest: &Manifest) -> bool {
    let maintenance = newest.maintenance.as_ref();
    newest.parent.is_none() && maintenance.is_some_and(|it| it.command == REBUILD)
}
