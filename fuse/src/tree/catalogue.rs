//! The snapshots that are shown, listed again as backups are made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use kbk_format::repo::ListedSnapshot;
use tokio::time::Instant;

use crate::cache::locked;
use crate::content::snapshot_reader::SnapshotReader;
use crate::error::ViewError;
use crate::tree::inode::LAST_SEQUENCE;

/// The repository is listed at most once in this time, and the answer is awaited no longer than this.
const LIST_INTERVAL: Duration = Duration::from_secs(1);

/// Which snapshots of a repository are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshots {
    /// All, and `latest`.
    #[default]
    All,
    /// One, without `latest`.
    One(u64),
}

/// A snapshot that is shown, as far as it is known without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownSnapshot {
    pub(crate) sequence: u64,
    /// When it was created, or if it is damaged, when the store received it; none until the store has answered.
    created_ms: Option<i64>,
    /// When the store received it, which is later, and much later in a copy of the repository.
    written_ms: i64,
}

impl ShownSnapshot {
    /// When it was created, or else when the store received it, in milliseconds since the epoch.
    pub(crate) fn created_ms(self) -> i64 {
        self.created_ms.unwrap_or(self.written_ms)
    }
}

/// The snapshots that are shown, in ascending order.
#[derive(Debug)]
pub(crate) struct Catalogue {
    shown: Snapshots,
    growing: bool,
    listed: Mutex<(Arc<[ShownSnapshot]>, Instant)>,
    /// Held while listing, so that one task lists at a time.
    listing: tokio::sync::Mutex<()>,
}

impl Catalogue {
    pub(crate) async fn open(
        reader: &Arc<SnapshotReader>,
        shown: Snapshots,
        growing: bool,
    ) -> Result<Catalogue, ViewError> {
        if let Snapshots::One(sequence) = shown {
            // A missing snapshot is reported when the view is opened, not as an empty tree.
            reader.snapshot(sequence).await?;
        }
        let listed = list(reader, shown, &[]).await?;
        Ok(Catalogue {
            shown,
            growing: growing && shown == Snapshots::All,
            listed: Mutex::new((listed, Instant::now())),
            listing: tokio::sync::Mutex::new(()),
        })
    }

    /// Whether snapshots that are made from now on are shown.
    pub(crate) fn is_growing(&self) -> bool {
        self.growing
    }

    pub(crate) fn has_latest(&self) -> bool {
        self.shown == Snapshots::All
    }

    /// The present snapshots. If the store does not answer at once, those that were last listed: names and sizes are shown while
    /// the store is unavailable.
    pub(crate) async fn snapshots(&self, reader: &Arc<SnapshotReader>) -> Arc<[ShownSnapshot]> {
        if let Some(known) = self.fresh() {
            return known;
        }
        let _listing = self.listing.lock().await;
        if let Some(known) = self.fresh() {
            return known;
        }
        let known = self.known();
        let listed = list(reader, self.shown, &known);
        let listed = tokio::time::timeout(LIST_INTERVAL, listed).await;
        let listed = match listed {
            Ok(Ok(listed)) => listed,
            Ok(Err(_)) | Err(_) => known,
        };
        *locked(&self.listed) = (Arc::clone(&listed), Instant::now());
        listed
    }

    fn fresh(&self) -> Option<Arc<[ShownSnapshot]>> {
        let (listed, at) = &*locked(&self.listed);
        (!self.growing || at.elapsed() < LIST_INTERVAL).then(|| Arc::clone(listed))
    }

    /// The snapshots that were last listed.
    pub(crate) fn known(&self) -> Arc<[ShownSnapshot]> {
        Arc::clone(&locked(&self.listed).0)
    }
}

async fn list(
    reader: &Arc<SnapshotReader>,
    shown: Snapshots,
    known: &[ShownSnapshot],
) -> Result<Arc<[ShownSnapshot]>, ViewError> {
    let sequences: Vec<u64> = known.iter().map(|known| known.sequence).collect();
    let mut listed = reader.source.listed_snapshots(&sequences).await?;
    listed.retain(|snapshot| {
        let selected = match shown {
            Snapshots::All => true,
            Snapshots::One(sequence) => snapshot.sequence == sequence,
        };
        selected && snapshot.sequence <= LAST_SEQUENCE
    });
    let with_times = stream::iter(listed).map(|listed| with_time(reader, listed, known));
    let with_times = with_times.buffered(reader.source.parallel_requests());
    Ok(with_times.collect::<Vec<_>>().await.into())
}

/// Reads when a snapshot was created, unless that is known. Where the store does not answer, the next listing asks again.
async fn with_time(
    reader: &Arc<SnapshotReader>,
    listed: ListedSnapshot,
    known: &[ShownSnapshot],
) -> ShownSnapshot {
    let sequence = listed.sequence;
    let at = known.binary_search_by_key(&sequence, |known| known.sequence);
    let known = at.ok().and_then(|at| known.get(at)?.created_ms);
    let created_ms = match known {
        Some(known) => Some(known),
        None => match reader.source.created_ms(sequence).await {
            Err(ViewError::Damaged { .. }) => Some(listed.written_ms),
            created => created.ok(),
        },
    };
    ShownSnapshot {
        sequence,
        created_ms,
        written_ms: listed.written_ms,
    }
}
