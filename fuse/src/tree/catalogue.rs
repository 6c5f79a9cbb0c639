//! Which snapshots are shown, listed again while backups go on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kbk_format::repo::ListedSnapshot;
use tokio::time::Instant;

use crate::cache::locked;
use crate::content::library::Library;
use crate::error::ViewError;
use crate::tree::inode::LAST_SEQUENCE;

/// The repository is listed at most once in so long.
const LISTED_AGAIN: Duration = Duration::from_secs(1);

/// Which snapshots of a repository are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshots {
    /// All, and `latest`.
    #[default]
    All,
    /// One, without `latest`.
    One(u64),
}

/// The snapshots that are shown, ascending.
#[derive(Debug)]
pub(crate) struct Catalogue {
    shown: Snapshots,
    growing: bool,
    listed: Mutex<(Arc<[ListedSnapshot]>, Instant)>,
    /// One lists at a time.
    listing: tokio::sync::Mutex<()>,
}

impl Catalogue {
    pub(crate) async fn open(
        library: &Arc<Library>,
        shown: Snapshots,
        growing: bool,
    ) -> Result<Catalogue, ViewError> {
        if let Snapshots::One(sequence) = shown {
            // Whoever asks for one is told at once if it is not there.
            library.snapshot(sequence).await?;
        }
        let listed = list(library, shown).await?;
        Ok(Catalogue {
            shown,
            growing: growing && shown == Snapshots::All,
            listed: Mutex::new((listed, Instant::now())),
            listing: tokio::sync::Mutex::new(()),
        })
    }

    /// Whether new snapshots are shown as they come.
    pub(crate) fn is_growing(&self) -> bool {
        self.growing
    }

    pub(crate) fn has_latest(&self) -> bool {
        self.shown == Snapshots::All
    }

    /// The snapshots there are; those of a moment ago where there was no time to list them again.
    pub(crate) async fn snapshots(
        &self,
        library: &Arc<Library>,
    ) -> Result<Arc<[ListedSnapshot]>, ViewError> {
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let _listing = self.listing.lock().await;
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let listed = list(library, self.shown).await?;
        *locked(&self.listed) = (Arc::clone(&listed), Instant::now());
        Ok(listed)
    }

    fn fresh(&self) -> Option<Arc<[ListedSnapshot]>> {
        let (listed, at) = &*locked(&self.listed);
        (!self.growing || at.elapsed() < LISTED_AGAIN).then(|| Arc::clone(listed))
    }

    /// What was listed last, without listing again.
    pub(crate) fn known(&self) -> Arc<[ListedSnapshot]> {
        Arc::clone(&locked(&self.listed).0)
    }
}

async fn list(
    library: &Arc<Library>,
    shown: Snapshots,
) -> Result<Arc<[ListedSnapshot]>, ViewError> {
    let mut listed = library.listed_snapshots().await?;
    listed.retain(|snapshot| {
        let chosen = match shown {
            Snapshots::All => true,
            Snapshots::One(sequence) => snapshot.sequence == sequence,
        };
        chosen && snapshot.sequence <= LAST_SEQUENCE
    });
    Ok(listed.into())
}
