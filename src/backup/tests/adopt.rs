//! The folders of all partitions are listed before anything is read of them: several at a time, or all at once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use kbk_format::PartitionNumber;
use kbk_format::repo::{Identity, Repository, Store};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::world::{World, log, record};
use crate::backup::adopt::adopt;

/// How often a listing lets others run before it answers.
const TURNS: usize = 64;

/// A store that counts the listings of segments that are being made.
#[derive(Debug, Default)]
struct Listings {
    inner: InMemory,
    made: AtomicUsize,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl fmt::Display for Listings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("listings")
    }
}

#[async_trait]
impl ObjectStore for Listings {
    async fn put_opts(
        &self,
        path: &Path,
        bytes: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(path, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if !prefix.is_some_and(|prefix| prefix.as_ref().starts_with("data")) {
            return self.inner.list(prefix);
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        let (now, most) = (Arc::clone(&self.now), Arc::clone(&self.most));
        let waits = stream::once(async move {
            let together = now.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(together, Ordering::Relaxed);
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::Relaxed);
        });
        waits.flat_map(|()| stream::empty()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[test]
fn the_folders_of_partitions_are_listed_several_at_a_time() {
    const PARTITIONS: u16 = 50;
    let world = World::new();
    world.cluster.append(&log(), (0..10).map(record));
    let mut plan = world.plan();
    let topic = &mut plan.topics[0];
    let one = topic.partitions[0].clone();
    assert!(!one.read.is_empty());
    let numbered = |number: u16| {
        let mut partition = one.clone();
        partition.partition = PartitionNumber::from(number);
        partition
    };
    topic.partitions = (0..PARTITIONS).map(numbered).collect();

    // Where the repository has few segments, all are listed at once; of many, each partition's own, several at a time.
    world.backup();
    let mut newest = world.newest().unwrap().value;
    for (stated, expected_made, expected_most) in [(1_000, 1, 1), (50_000, 50, 16)] {
        newest.manifest.totals.segments = stated;
        let listings = Arc::new(Listings::default());
        let store = Store::new(listings.clone(), "listings");
        assert_eq!(store.profile().parallel_requests, 16);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let created = Repository::create(store.clone(), Identity::fresh());
            let repository = created.await.unwrap();
            adopt(&repository, Some(&newest), &BTreeSet::new(), &mut plan)
                .await
                .unwrap();
        });
        assert_eq!(listings.made.load(Ordering::Relaxed), expected_made);
        assert_eq!(listings.most.load(Ordering::Relaxed), expected_most);
    }
}
