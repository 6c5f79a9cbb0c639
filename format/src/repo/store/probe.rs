//! Finds out whether a store keeps two writers from creating the same object.
//!
//! Commits depend on it. Some services ignore the condition, and some honour it only while no two requests are under way at the same
//! time, so the probe is a race. It is run when a repository is created.

use futures_util::future::join_all;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use super::super::error::{Operation, RepoError, RepoErrorKind, Result};
use super::super::id::Id;
use super::{Store, is_missing, whole_answer};

/// Where the objects of a probe are, for as long as it takes.
pub(super) const FOLDER: &str = "probe";
const WRITERS: usize = 20;
const ROUNDS: usize = 3;

impl Store {
    /// Lets many writers create the same object at the same time, several times, and removes it again. Returns why an object could
    /// not be removed, if one could not: writing backups does not require that.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NoPutIfAbsent`], or the error of the store.
    pub async fn probe(&self) -> Result<Option<RepoError>> {
        let name = Id::random();
        let mut left = None;
        for round in 0..ROUNDS {
            let object = ObjectPath::from(format!("{FOLDER}/{name}-{round}"));
            let raced = self.race(&object).await;
            match whole_answer(|| self.objects.delete(&object)).await {
                Ok(()) => (),
                Err(error) if is_missing(&error) => (),
                Err(error) => {
                    left = Some(self.failed_at(Operation::Remove, object.as_ref(), error))
                }
            }
            if let Some(found) = raced? {
                return Err(self.error_of_whole(RepoErrorKind::NoPutIfAbsent { found }));
            }
        }
        Ok(left)
    }

    /// Returns what is wrong with the outcome, if anything is.
    async fn race(&self, object: &ObjectPath) -> Result<Option<String>> {
        let bytes = |writer: usize| format!("writer {writer} of {object}").into_bytes();
        let put = async |writer: usize| {
            // A repeated request may meet the object of the first one. Then nobody counts as the winner, which is allowed for below.
            let put = whole_answer(|| {
                let options = PutOptions::from(PutMode::Create);
                self.objects.put_opts(object, bytes(writer).into(), options)
            });
            match put.await {
                Ok(_) => Ok(Some(writer)),
                Err(
                    object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. },
                ) => Ok(None),
                Err(error) => Err(self.failed_at(Operation::Write, object.as_ref(), error)),
            }
        };
        let outcomes: Result<Vec<_>> = join_all((0..WRITERS).map(put)).await.into_iter().collect();
        let winners: Vec<usize> = outcomes?.into_iter().flatten().collect();
        if winners.len() > 1 {
            let count = winners.len();
            return Ok(Some(format!(
                "of {WRITERS} writers that created the same object at the same time, its store let {count} succeed and not 1"
            )));
        }
        let read = || async { self.objects.get(object).await?.bytes().await };
        let found = whole_answer(read).await;
        let found =
            found.map_err(|error| self.failed_at(Operation::Read, object.as_ref(), error))?;
        let is_kept = match winners.first() {
            Some(winner) => found == bytes(*winner),
            // The answer to the one that won was lost, and it met its own object when its request was repeated.
            None => (0..WRITERS).any(|writer| found == bytes(writer)),
        };
        if !is_kept {
            return Ok(Some(
                "its store let one writer create an object, and kept that of another".to_owned(),
            ));
        }
        Ok(None)
    }
}
