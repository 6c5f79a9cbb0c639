//! Which snapshots of the origin are copied.

use futures_util::{StreamExt, stream};
use kbk_format::repo::{Manifest, MissingNewest, MissingParent, RepoErrorKind, Repository};

use super::CopySelection;
use super::error::CopyError;

/// The snapshots to copy.
#[derive(Debug, Default)]
pub(super) struct SelectedSnapshots {
    /// Their sequences, ascending.
    pub(super) sequences: Vec<u64>,
    /// Whether the only one was copied before: it is copied again if more of it can be.
    pub(super) again: bool,
    /// Those that were asked for and are older than the last that was copied.
    pub(super) older: Vec<u64>,
    /// The newest one of the origin, where it is selected and gone.
    pub(super) missing: Option<MissingNewest>,
    /// Others of the origin that are selected, are gone, and were not forgotten.
    pub(super) gone: Vec<MissingParent>,
}

/// Selects the snapshots of the origin to copy, `last` being the last one that was copied; 0 for none.
///
/// # Errors
///
/// If what was asked for does not exist or is too old, or the origin cannot be listed. An older snapshot does not take the place of the newest one,
/// where that is gone.
pub(super) async fn select(
    origin: &Repository,
    destination: &Repository,
    wanted: CopySelection,
    last: u64,
) -> Result<SelectedSnapshots, CopyError> {
    let missing = origin.missing_newest().await?;
    let existing = origin.sequences().await?;
    if let Some(missing) = missing
        && (existing.is_empty() || wanted == CopySelection::Latest)
    {
        return Err(origin.newest_missing(missing).into());
    }
    let no_snapshots = || CopyError::NoSnapshots {
        url: destination.store().url().to_owned(),
        from: origin.store().url().to_owned(),
    };
    if existing.is_empty() {
        return Err(no_snapshots());
    }
    let mut gone = match wanted {
        // None of them is asked for.
        CopySelection::Latest => Vec::new(),
        CopySelection::New | CopySelection::Range(..) => origin.missing_parents_after(last).await?,
    };
    gone.retain(|it| wanted.includes(it.sequence));
    let mut selected = SelectedSnapshots {
        gone,
        missing: missing.filter(|it| wanted.includes(it.sequence)),
        ..SelectedSnapshots::default()
    };
    match wanted {
        CopySelection::New | CopySelection::Latest => {
            let new = with_content(origin, &existing, last).await?;
            selected.sequences = wanted_of(new, wanted);
        }
        CopySelection::Range(first, end) => {
            let within = existing.iter().filter(|it| (first..=end).contains(*it));
            let (older, new): (Vec<u64>, Vec<u64>) = within.partition(|it| **it <= last);
            if older.is_empty() && new.is_empty() {
                let requested = match first == end {
                    true => first.to_string(),
                    false => format!("from {first} to {end}"),
                };
                let from = origin.store().url().to_owned();
                return Err(CopyError::NoSuchSnapshot { from, requested });
            }
            if let (Some(requested), []) = (older.last().copied(), new.as_slice())
                && requested != last
            {
                let url = destination.store().url().to_owned();
                return Err(CopyError::Older {
                    url,
                    last,
                    requested,
                });
            }
            selected.older = older.into_iter().filter(|it| *it != last).collect();
            selected.sequences = new;
        }
    }
    if selected.sequences.is_empty() && existing.contains(&last) {
        selected.sequences = vec![last];
        selected.again = true;
    }
    if let (Some(missing), []) = (selected.missing, selected.sequences.as_slice()) {
        return Err(origin.newest_missing(missing).into());
    }
    if selected.sequences.is_empty() {
        // What is there is a reservation, which holds nothing.
        return Err(no_snapshots());
    }
    Ok(selected)
}

/// Returns those of the snapshots after `last` that are copied instead of it.
///
/// # Errors
///
/// If the origin cannot be listed.
pub(super) async fn newer(
    origin: &Repository,
    last: u64,
    wanted: CopySelection,
) -> Result<Vec<u64>, CopyError> {
    let existing = origin.sequences().await?;
    Ok(wanted_of(
        with_content(origin, &existing, last).await?,
        wanted,
    ))
}

impl CopySelection {
    /// Returns whether a snapshot after the last one that was copied is selected; [`Latest`](Self::Latest) selects the newest one.
    fn includes(self, sequence: u64) -> bool {
        match self {
            CopySelection::New | CopySelection::Latest => true,
            CopySelection::Range(first, end) => (first..=end).contains(&sequence),
        }
    }
}

fn wanted_of(mut new: Vec<u64>, wanted: CopySelection) -> Vec<u64> {
    if wanted == CopySelection::Latest {
        let all_but_newest = new.len().saturating_sub(1);
        new.drain(..all_but_newest);
    }
    new
}

/// Returns the snapshots after `last`, but for those that hold what the one before them holds: `forget` and `prune` commit them.
async fn with_content(
    origin: &Repository,
    existing: &[u64],
    last: u64,
) -> Result<Vec<u64>, CopyError> {
    let from = existing.iter().copied().filter(|it| *it >= last);
    let parallel = origin.store().profile().parallel_requests;
    let mut manifests = stream::iter(from)
        .map(async |sequence| (sequence, origin.manifest(sequence).await))
        .buffered(parallel);
    let (mut before, mut selected): (Option<Manifest>, Vec<u64>) = (None, Vec::new());
    while let Some((sequence, read)) = manifests.next().await {
        match read {
            Ok(manifest) => {
                let manifest = manifest.value;
                let same = before
                    .as_ref()
                    .is_some_and(|it| it.content() == manifest.content());
                let is_reservation = manifest.next.is_some();
                if sequence > last && !same && !is_reservation {
                    selected.push(sequence);
                }
                before = Some(manifest);
            }
            // What it holds is not known: its copy reports that.
            Err(error) if matches!(error.kind(), RepoErrorKind::NoSuchSnapshot { .. }) => {}
            Err(error) if error.kind().is_about_content() => {
                // The last one that was copied is only what the next one is compared with.
                if sequence > last {
                    selected.push(sequence);
                }
                before = None;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(selected)
}
