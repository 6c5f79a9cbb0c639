//! What a run works around: an object that is damaged or gone, or that the store does not return although it returns others.

use kbk_format::repo::{RepoError, Repository};

/// An object that a run leaves as it is.
#[derive(Clone, Debug)]
pub(crate) struct Unusable {
    /// Whether its bytes are known to be wrong, or gone. Otherwise they cannot be read, and may be whole.
    pub(crate) is_damaged: bool,
    /// What is wrong with it, for people.
    pub(crate) message: String,
}

impl Unusable {
    /// An object whose bytes are wrong.
    pub(crate) fn damaged(message: String) -> Unusable {
        Unusable {
            is_damaged: true,
            message,
        }
    }

    /// Returns what is wrong with an object that a snapshot names.
    ///
    /// # Errors
    ///
    /// Where it is not the object's fault: the snapshot was forgotten, or the store failed.
    pub(crate) async fn of(
        repository: &Repository,
        sequence: u64,
        error: RepoError,
    ) -> Result<Unusable, RepoError> {
        let error = repository.explain(sequence, error).await;
        match repository.store().is_about_one_object(&error).await {
            true => Ok(Unusable {
                is_damaged: error.kind().is_about_content(),
                message: error.to_string(),
            }),
            false => Err(error),
        }
    }
}
