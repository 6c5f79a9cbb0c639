//! `kbk.json`: that a place is a repository, and which (SPEC section 11.3).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::sealed::Document;

/// What a repository is known by. Written once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Random.
    pub repository_id: Id,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Identity {
    /// The identity of a repository that is made now.
    #[must_use]
    pub fn fresh() -> Self {
        Identity {
            repository_id: Id::random(),
            created_at: Timestamp::now(),
        }
    }
}

impl Document for Identity {
    const FORMAT: &'static str = "kbk-repository";
}
