//! Tells an object that cannot be read from a store that cannot be read.

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::Store;
use crate::repo::error::{Operation, RepoError};
use crate::repo::keys::Key;
use crate::repo::sealed::MAX_SEALED_BYTES;

impl Store {
    /// Returns whether an error is about the object that it names and no other: about what it holds, that this user may not read it, or that
    /// its bytes cannot be read although the store returns others. A store that cannot be reached, or is too busy, says nothing about an object.
    ///
    /// All of the object is asked for once more, so that a moment's trouble is none of it.
    pub async fn is_about_one_object(&self, error: &RepoError) -> bool {
        let kind = error.kind();
        if kind.is_about_content() {
            return true;
        }
        // What keeps kbk.json from being read keeps everything from it.
        let Some(key) = error.key().filter(|key| *key != "kbk.json") else {
            return false;
        };
        if !kind.may_be_about_one_object() || !self.returns_objects().await {
            return false;
        }
        match self.read_through(key).await {
            Ok(()) => false,
            Err(again) => again.kind().may_be_about_one_object() && self.returns_objects().await,
        }
    }

    /// Returns the same error, which says whether it is [about one object](RepoError::is_of_one_object), as
    /// [`is_about_one_object`](Self::is_about_one_object) finds.
    pub async fn judged(&self, error: RepoError) -> RepoError {
        if error.is_of_one_object() {
            return error;
        }
        match self.is_about_one_object(&error).await {
            true => error.of_one_object(),
            false => error,
        }
    }

    /// Returns whether the store answers: it returns kbk.json, or says that there is none.
    async fn returns_objects(&self) -> bool {
        match self.read_at_most(&Key::Identity, MAX_SEALED_BYTES).await {
            Ok(Some(_)) => true,
            // A folder that is not mounted any more has none.
            Ok(None) => self.folder().is_none_or(std::path::Path::is_dir),
            Err(error) => error.kind().is_about_content(),
        }
    }

    /// Reads all bytes of an object, a part at a time.
    async fn read_through(&self, key: &str) -> Result<(), RepoError> {
        let read = async {
            let found = self.objects.get(&Path::from(key)).await?;
            let mut parts = found.into_stream();
            while parts.try_next().await?.is_some() {}
            Ok(())
        };
        let read: object_store::Result<()> = read.await;
        read.map_err(|error| self.failed_at(Operation::Read, key, error))
    }
}
