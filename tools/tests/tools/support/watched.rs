//! A store that counts its reads, and refuses them on request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use kbk_format::repo::{Repository, Store};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::World;

/// Opens the same repository behind a store that is watched.
pub fn watched(world: &World) -> (Repository, Watch) {
    let inner = LocalFileSystem::new_with_prefix(world.path("")).unwrap();
    let watch = Watch::default();
    let objects = WatchedStore {
        inner: Arc::new(inner),
        watch: watch.clone(),
    };
    let store = Store::new(Arc::new(objects), "watched://repository");
    let repository = world.runtime.block_on(Repository::open(store)).unwrap();
    (repository, watch)
}

/// Counts the reads of a watched store, and controls whether it answers them.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    reads: AtomicUsize,
    bytes: AtomicU64,
    refuses: AtomicBool,
}

impl Watch {
    /// Returns the number of reads since the last call.
    pub fn take_reads(&self) -> usize {
        self.0.reads.swap(0, Ordering::SeqCst)
    }

    /// Returns the number of bytes read since the last call.
    pub fn take_bytes(&self) -> u64 {
        self.0.bytes.swap(0, Ordering::SeqCst)
    }

    /// Refuses to read segments from now on, as if permission were denied.
    pub fn refuse_segments(&self) {
        self.0.refuses.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct WatchedStore {
    inner: Arc<dyn ObjectStore>,
    watch: Watch,
}

impl fmt::Display for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watched {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for WatchedStore {
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
        let counts = &self.watch.0;
        counts.reads.fetch_add(1, Ordering::SeqCst);
        if counts.refuses.load(Ordering::SeqCst) && path.as_ref().ends_with(".kseg") {
            return Err(object_store::Error::PermissionDenied {
                path: path.to_string(),
                source: "403".into(),
            });
        }
        let object = self.inner.get_opts(path, options).await?;
        let length = object.range.end - object.range.start;
        counts.bytes.fetch_add(length, Ordering::SeqCst);
        Ok(object)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
