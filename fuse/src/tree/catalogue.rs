//! Which snapshots are shown, listed again while backups go on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kbk_format::repo::ListedSnapshot;
use tokio::time::Instant;

use crate::cache::locked;
use crate::content::library::Library;
use crate::error::ViewError;
use crate::tree::inode::LAST_SEQUENCE;

/// The repository is listed at most once in so long, and the answer waited for no longer.
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

    /// The snapshots there are. Those that were there when they were last listed, where the store does not say at once: names and
    /// sizes are shown while it is away.
    pub(crate) async fn snapshots(&self, library: &Arc<Library>) -> Arc<[ListedSnapshot]> {
        if let Some(known) = self.fresh() {
            return known;
        }
        let _listing = self.listing.lock().await;
        if let Some(known) = self.fresh() {
            return known;
        }
        let listed = tokio::time::timeout(LISTED_AGAIN, list(library, self.shown)).await;
        let listed = match listed {
            Ok(Ok(listed)) => listed,
            Ok(Err(_)) | Err(_) => self.known(),
        };
        *locked(&self.listed) = (Arc::clone(&listed), Instant::now());
        listed
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
