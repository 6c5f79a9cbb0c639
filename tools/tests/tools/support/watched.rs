//! A test's repository behind a watched store.

use std::sync::Arc;

use kbk_format::repo::Repository;
use object_store::local::LocalFileSystem;

use super::World;
use super::watched_store::{self, Watch};

/// Opens the same repository through a watched store.
pub(crate) fn watched(world: &World) -> (Repository, Watch) {
    let inner = LocalFileSystem::new_with_prefix(world.path("")).unwrap();
    let (store, watch) = watched_store::watched(Arc::new(inner));
    let repository = world.runtime.block_on(Repository::open(store)).unwrap();
    (repository, watch)
}
