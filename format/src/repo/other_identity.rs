//! A `kbk.json` of another repository, as a copy by hand may leave it: the other objects are intact, and of the repository that they state.

use super::error::{Damage, RepoErrorKind, Result};
use super::id::Id;
use super::identity::Identity;
use super::keys::{Key, SNAPSHOTS};
use super::latest::Latest;
use super::manifest::Manifest;
use super::store::Store;

/// Snapshots that are asked at most.
const ASKED: usize = 64;

impl Store {
    /// Checks that `kbk.json` is that of the other objects. In most cases the hint says so, and nothing else is read; otherwise one of the newest
    /// snapshots must.
    ///
    /// # Errors
    ///
    /// [`Damage::OtherRepository`] where each of the newest snapshots states another repository, or the error of the store.
    pub(super) async fn check_identity(&self, identity: &Identity) -> Result<()> {
        let stated = identity.repository_id;
        let hint = self.read::<Latest>(&Key::LatestSnapshot).await;
        match hint {
            Ok(Some(hint)) if hint.repository_id == stated => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind().is_about_content() => {}
            Err(error) => return Err(error),
        }
        let mut other: Option<(Id, Key)> = None;
        for snapshot in self.list(SNAPSHOTS).await?.into_iter().rev().take(ASKED) {
            match self.read::<Manifest>(&snapshot.key).await {
                Ok(Some(manifest)) if manifest.repository_id == stated => return Ok(()),
                Ok(Some(manifest)) => {
                    other.get_or_insert((manifest.repository_id, snapshot.key));
                }
                Ok(None) => {}
                Err(error) if error.kind().is_about_content() => {}
                Err(error) => return Err(error),
            }
        }
        let Some((found, by)) = other else {
            return Ok(());
        };
        let by = by.to_string();
        let damage = Damage::OtherRepository { stated, found, by };
        Err(self.error(&Key::Identity, RepoErrorKind::Damaged(damage)))
    }
}
