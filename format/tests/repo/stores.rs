//! Stores in memory and on disk do what every store must, and one that lets two writers create the same object is found out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kbk_format::repo::{RepoErrorKind, Repository, Store};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload, PutResult, Result};

use crate::store_contract;
use crate::support::delegate::delegate_to;
use crate::world;

#[test]
fn memory() {
    store_contract::check(&Store::open("memory://contract").unwrap(), 1_000);
}

#[test]
fn a_local_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    store_contract::check(&store, 1_000);
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
    delegate_to!([0] put_multipart_opts, get_opts, delete_stream, list, list_with_delimiter, copy_opts);

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
