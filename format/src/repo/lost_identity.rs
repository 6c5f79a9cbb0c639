//! The identity of a repository whose `kbk.json` is missing or damaged (SPEC section 11.14): that which its other objects state.

use jiff::Timestamp;

use super::error::{RepoErrorKind, Result};
use super::id::Id;
use super::identity::Identity;
use super::keys::{Key, SEGMENTS};
use super::repository::Repository;
use super::sealed::{Digested, seal};
use super::store::{Put, Store};

/// What is left of the identity of a repository whose `kbk.json` is missing or damaged.
#[derive(Clone, Debug)]
pub struct LostIdentity {
    /// What is wrong with `kbk.json`; `None` where there is none.
    pub damage: Option<String>,
    /// The id that it gets: that which other objects state, or a new one where there are none.
    pub repository_id: Id,
    /// An object that states the id; `None` where it is a new one.
    pub stated_by: Option<String>,
}

impl Repository {
    /// Opens a repository like [`open`](Self::open), and one whose `kbk.json` is missing or damaged, too: as the one that its other objects state.
    /// Nothing is written.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::NotARepository`] where there is no segment either; [`RepoErrorKind::Damaged`] where the other objects state different
    /// repositories, or another one than `kbk.json`; or the error of the store.
    pub async fn open_without_identity(store: Store) -> Result<(Repository, Option<LostIdentity>)> {
        let damage = match store.read::<Identity>(&Key::Identity).await {
            Ok(Some(identity)) => {
                store.check_all_identities(identity.repository_id).await?;
                return Ok((Repository::of(store, identity.value), None));
            }
            Ok(None) => None,
            Err(error) if matches!(error.kind(), RepoErrorKind::Damaged(_)) => {
                Some(error.to_string())
            }
            Err(error) => return Err(error),
        };
        if !store.has_segment().await? {
            // Says what is there instead.
            let opened = Repository::open(store).await?;
            return Ok((opened, None));
        }
        let stated = store.stated_repository().await?;
        let (repository_id, stated_by) = match stated {
            Some((id, key)) => (id, Some(key)),
            None => (Id::random(), None),
        };
        let identity = Identity {
            repository_id,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let lost = LostIdentity {
            damage,
            repository_id,
            stated_by,
        };
        Ok((Repository::of(store, identity), Some(lost)))
    }

    /// Writes `kbk.json` again. Where there was none, another one that was created meanwhile is kept, and must be the same.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`] where `kbk.json` is of another repository by now, or the error of the store.
    pub async fn write_identity(&self, lost: &LostIdentity, now: Timestamp) -> Result<()> {
        let identity = Identity {
            repository_id: lost.repository_id,
            created_at: now,
        };
        let (bytes, _) = seal(&identity);
        let store = self.store();
        match lost.damage {
            // Nobody can have read the damaged one: what takes its place takes nothing away.
            Some(_) => store.replace(&Key::Identity, bytes).await?,
            None => match store.put_if_absent(&Key::Identity, bytes).await? {
                Put::Done | Put::Exists => {}
            },
        }
        store.sync_folders([Key::Identity.to_string()]).await?;
        let written: Option<Digested<Identity>> = store.read(&Key::Identity).await?;
        match written.map(|written| written.repository_id) {
            Some(id) if id == lost.repository_id => Ok(()),
            found => {
                let found = found.map_or("no".to_owned(), |id| id.to_string());
                let detail = format!(
                    "another process has written kbk.json meanwhile: it states the repository {found}"
                );
                Err(store.refused(&Key::Identity, detail))
            }
        }
    }
}

impl Store {
    async fn has_segment(&self) -> Result<bool> {
        for topic in self.names(SEGMENTS).await? {
            let found = self.list(&format!("{SEGMENTS}/{topic}")).await?;
            if !found.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
