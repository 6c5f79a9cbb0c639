//! `kbk.json`: marks a location as a repository and identifies it (SPEC section 11.3).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::sealed::Document;

/// The identity of a repository. Written once, when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// A random id.
    pub repository_id: Id,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Identity {
    /// Creates the identity of a new repository.
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
    const VERSION: u32 = 3;
}
