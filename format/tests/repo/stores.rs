//! Stores in memory and on disk do what every store must, and one that lets two writers create the same object is found out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use kbk_format::repo::{RepoErrorKind, Repository, Store};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::store_contract;
use crate::world;

#[test]
fn memory() {
    store_contract::check(&Store::open("memory://contract").unwrap());
}

#[test]
fn a_local_disk() {
    let folder = tempfile::tempdir().unwrap();
    store_contract::check(&Store::open(folder.path().to_str().unwrap()).unwrap());
}

#[tokio::test]
async fn memory_of_one_name_is_one_store() {
    let open = || Store::open("memory://named").unwrap();
    Repository::create(open(), world::identity()).await.unwrap();
    assert!(Repository::open(open()).await.is_ok());
    assert!(
        Repository::open(Store::open("memory://other").unwrap())
            .await
            .is_err()
    );
}

/// A store that does not know conditions, as some services do not.
#[derive(Debug, Default)]
struct Unconditional(InMemory);

impl fmt::Display for Unconditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unconditional")
    }
}

#[async_trait]
impl ObjectStore for Unconditional {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let mode = PutMode::Overwrite;
        self.0
            .put_opts(location, payload, PutOptions { mode, ..options })
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_without_put_if_absent_is_refused_but_for_a_single_writer() {
    let store = Store::new(Arc::new(Unconditional::default()), "test://unconditional");
    let error = Repository::check_new(&store, false).await.unwrap_err();
    assert!(
        matches!(error.kind(), RepoErrorKind::NoPutIfAbsent { .. }),
        "{error}"
    );
    let message = error.to_string();
    assert!(message.contains("let 20 succeed"), "{message}");
    assert!(message.contains("--single-writer"), "{message}");
    // The probe has removed its objects: what it tried is still empty.
    assert!(Repository::check_new(&store, true).await.unwrap().is_none());
    Repository::create(store, world::identity()).await.unwrap();
}
