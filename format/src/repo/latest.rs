//! `snapshots/latest.json`: a hint at the newest snapshot, so that readers of a bucket need not list all of them (SPEC section 11.5).

use serde::{Deserialize, Serialize};

use super::id::Id;
use super::sealed::Document;

/// A snapshot that was the newest when it was committed. The hint may be old, and the snapshot may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latest {
    pub(super) repository_id: Id,
    pub(super) sequence: u64,
}

impl Document for Latest {
    const FORMAT: &'static str = "kbk-latest";
}
