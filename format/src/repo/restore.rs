//! The restores that a repository records. What each records is in files named after its objects (SPEC section 11.7); the offset of each
//! record is in [`offset_map`](super::offset_map).
//!
//! ```text
//! restores/<restore>/begun.json          restore_manifest    first, durable before anything is written to a cluster
//! restores/<restore>/targets.json        restore_targets     then: Kafka's ids of the topics, durable before the first record is written
//! restores/<restore>/map/<digest>.json   offset_map          each page durable before the records it names are committed
//! restores/<restore>/done.json           restore_done        last: names the final page of each partition
//! restores/<restore>/discarded.json      restore_discarded   instead of it
//! ```

use super::error::Result;
use super::keys::{Key, RESTORES};
use super::listing::Listed;
use super::repository::Repository;
use super::restore_id::RestoreId;

impl Repository {
    /// Lists the names of all restores, ascending.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn restores(&self) -> Result<Vec<RestoreId>> {
        let found = self.store().list(RESTORES).await?;
        let begun = |object: Listed| match object.key {
            Key::RestoreBegun { restore } => Some(restore),
            _ => None,
        };
        Ok(found.into_iter().filter_map(begun).collect())
    }
}
