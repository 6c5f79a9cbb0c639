//! Removes many objects: by few requests where the store can, and as far as it lets us.
//!
//! What one request for many objects does not confirm is removed by a request of its own. That gets the object's own answer, is repeated
//! where that helps, and works where a service that speaks the protocol of S3 does not know the other request.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use tokio::task::JoinSet;

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
///
/// The request is a task of its own: an answer that names an object that was not asked for makes the client panic, and confirms nothing.
async fn removed_at_once(bulk: &Arc<dyn ObjectStore>, keys: &[Key]) -> HashSet<ObjectPath> {
    let paths: Vec<ObjectPath> = keys.iter().map(path).collect();
    let bulk = Arc::clone(bulk);
    let mut requests = JoinSet::new();
    requests.spawn(async move {
        let paths: Vec<_> = paths.into_iter().map(Ok).collect();
        let removed = bulk.delete_stream(stream::iter(paths).boxed());
        let removed = removed.filter_map(|removed| async { removed.ok() });
        removed.collect().await
    });
    let removed = requests.join_next().await;
    removed
        .and_then(std::result::Result::ok)
        .unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use std::fmt;

    use async_trait::async_trait;
    use futures_util::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
        Result as StoreResult,
    };

    use super::*;

    /// Removes the first object that it is asked for, and panics then: as the client does where an answer names an object that was not
    /// asked for.
    #[derive(Clone, Debug)]
    struct Panicking(Arc<InMemory>);

    impl fmt::Display for Panicking {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("panicking")
        }
    }

    #[async_trait]
    impl ObjectStore for Panicking {
        async fn put_opts(
            &self,
            location: &ObjectPath,
            payload: PutPayload,
            options: PutOptions,
        ) -> StoreResult<PutResult> {
            self.0.put_opts(location, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            location: &ObjectPath,
            options: PutMultipartOptions,
        ) -> StoreResult<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(location, options).await
        }

        async fn get_opts(
            &self,
            location: &ObjectPath,
            options: GetOptions,
        ) -> StoreResult<GetResult> {
            self.0.get_opts(location, options).await
        }

        fn delete_stream(
            &self,
            mut locations: BoxStream<'static, StoreResult<ObjectPath>>,
        ) -> BoxStream<'static, StoreResult<ObjectPath>> {
            let objects = Arc::clone(&self.0);
            let removal = async move {
                let first = locations.next().await.unwrap().unwrap();
                objects.delete(&first).await.unwrap();
                // As the library does where an answer has an object that was not asked for.
                let known = std::collections::HashMap::<ObjectPath, StoreResult<ObjectPath>>::new();
                known.into_values().next().unwrap()
            };
            stream::once(removal).boxed()
        }

        fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(
            &self,
            prefix: Option<&ObjectPath>,
        ) -> StoreResult<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(
            &self,
            from: &ObjectPath,
            to: &ObjectPath,
            options: CopyOptions,
        ) -> StoreResult<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn a_request_that_panics_confirms_nothing() {
        let objects = Arc::new(InMemory::new());
        let store = Store {
            bulk: Some(Arc::new(Panicking(Arc::clone(&objects)))),
            ..Store::new(
                Arc::clone(&objects) as Arc<dyn ObjectStore>,
                "test://repository",
            )
        };
        let count = BULK_LEAST as u64 + 2;
        let keys: Vec<Key> = (1..=count)
            .map(|sequence| Key::Snapshot { sequence })
            .collect();
        for key in &keys {
            objects.put(&path(key), PutPayload::new()).await.unwrap();
        }
        let (removed, kept) = keys.split_at(BULK_LEAST);
        store.remove_all(removed).await.unwrap();
        let left: Vec<_> = objects.list(None).collect().await;
        let left = left.into_iter().map(|object| object.unwrap().location);
        let left: HashSet<ObjectPath> = left.collect();
        assert_eq!(left, kept.iter().map(path).collect());
    }
}
