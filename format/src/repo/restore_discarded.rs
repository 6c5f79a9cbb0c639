//! That a restore was discarded (SPEC section 11.7): `restores/<restore>/discarded.json`. No run resumes it any more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::keys::Key;
use super::repository::Repository;
use super::restore_id::RestoreId;
use super::sealed::{Document, seal};
use super::store::Put;

/// States that a restore was discarded before it finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreDiscarded {
    /// The restore.
    pub restore: RestoreId,
    /// When it was discarded.
    pub discarded_at: Timestamp,
}

impl Document for RestoreDiscarded {
    const FORMAT: &'static str = "kbk-restore-discarded";
}

impl Repository {
    /// Reads when a restore was discarded; `None` if it was not.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`](super::RepoErrorKind::Damaged), or the error of the store.
    pub async fn restore_discarded(&self, restore: &RestoreId) -> Result<Option<RestoreDiscarded>> {
        let key = Key::RestoreDiscarded {
            restore: restore.clone(),
        };
        let Some(found) = self.store().read::<RestoreDiscarded>(&key).await? else {
            return Ok(None);
        };
        if found.restore != *restore {
            let detail = format!("it is of restore {}", found.restore);
            return Err(self.store().damaged(&key, detail));
        }
        Ok(Some(found.value))
    }

    /// Records that a restore is discarded; durable when this returns. One that is recorded already stays as it is.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn discard_restore(&self, discarded: &RestoreDiscarded) -> Result<()> {
        let key = Key::RestoreDiscarded {
            restore: discarded.restore.clone(),
        };
        match self.store().put_if_absent(&key, seal(discarded).0).await? {
            Put::Done | Put::Exists => self.store().sync_folders([key.to_string()]).await,
        }
    }
}
