//! Removes many objects: by few requests where the store can, and as far as it lets us.
//!
//! What one request for many objects does not confirm is removed by a request of its own. That gets the object's own answer, is repeated
//! where that helps, and works where a service that speaks the protocol of S3 does not know the other request.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;

use super::super::error::{RepoError, RepoErrorKind, Result};
use super::super::keys::Key;
use super::{Store, path};

/// Objects whose removal is asked for at a time: four requests on S3.
const BULK: usize = 4_000;
/// Fewer are removed one by one.
const BULK_LEAST: usize = 10;

impl Store {
    /// Removes objects; those that do not exist count as removed. Objects that are locked stay, and keep no other from being removed.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Locked`] of the first object that is locked, once the others are removed; or the first other error of the store.
    pub(in crate::repo) async fn remove_all(&self, keys: &[Key]) -> Result<()> {
        let mut bulk = self.bulk.as_ref();
        let mut locked = Locked::default();
        for keys in keys.chunks(BULK) {
            let removed = match bulk.filter(|_| keys.len() >= BULK_LEAST) {
                Some(bulk) => removed_at_once(bulk, keys).await,
                None => HashSet::new(),
            };
            if removed.is_empty() {
                // It is not available, or not known there.
                bulk = None;
            }
            let left = keys.iter().filter(|key| !removed.contains(&path(key)));
            self.remove_each(left, &mut locked).await?;
        }
        locked.into_result()
    }

    async fn remove_each(
        &self,
        keys: impl Iterator<Item = &Key>,
        locked: &mut Locked,
    ) -> Result<()> {
        let removals = stream::iter(keys.map(|key| self.remove(key)));
        let mut removals = removals.buffered(self.profile().parallel_requests);
        while let Some(removed) = removals.next().await {
            match removed {
                Ok(()) => (),
                Err(error) if matches!(error.kind(), RepoErrorKind::Locked { .. }) => {
                    locked.add(error);
                }
                // Whatever else there is would concern the others too.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns those of the objects whose removal was confirmed.
async fn removed_at_once(bulk: &Arc<dyn ObjectStore>, keys: &[Key]) -> HashSet<ObjectPath> {
    let paths: Vec<_> = keys.iter().map(|key| Ok(path(key))).collect();
    let removed = bulk.delete_stream(stream::iter(paths).boxed());
    removed
        .filter_map(|removed| async { removed.ok() })
        .collect()
        .await
}

/// The objects that are locked.
#[derive(Default)]
struct Locked {
    first: Option<RepoError>,
    others: u64,
}

impl Locked {
    fn add(&mut self, error: RepoError) {
        match self.first {
            Some(_) => self.others += 1,
            None => self.first = Some(error),
        }
    }

    fn into_result(self) -> Result<()> {
        match self.first {
            Some(first) => Err(first.and_others(self.others)),
            None => Ok(()),
        }
    }
}
