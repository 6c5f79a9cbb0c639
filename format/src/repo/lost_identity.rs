//! The identity of a repository whose `kbk.json` is missing or damaged (SPEC section 11.14).
//!
//! Segments do not state their repository. Snapshots, the hint, the objects of `index` and `cluster` and the records of restores do, and their
//! digests prove what they state.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::anatomy::unpack_part;
use super::error::{RepoErrorKind, Result};
use super::id::{Hex, Id};
use super::identity::Identity;
use super::keys::{CLUSTER, Key, RESTORES, SEGMENTS, SNAPSHOTS, TABLES};
use super::latest::Latest;
use super::listing::Listed;
use super::manifest::Manifest;
use super::repository::Repository;
use super::restore_manifest::RestoreManifest;
use super::sealed::{Digested, Document, seal};
use super::store::{Put, Store};
use crate::layout::limits;
use sha2::{Digest as _, Sha256};

/// Objects of one folder that are asked for the id: all of a repository state the same one.
const ASKED: usize = 64;
/// The same of tables and objects of groups and ACLs, which are large, where kbk.json is intact.
const ASKED_PACKED: usize = 4;

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

/// The first line of a packed object, as far as it is of interest here.
#[derive(Deserialize)]
struct Header {
    repository_id: Id,
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

    /// Checks that the other objects state no other repository than `kbk.json`: that may be the one that is in the wrong place.
    async fn check_all_identities(&self, own: Id) -> Result<()> {
        let mut stated = self.stated_repositories(ASKED_PACKED).await?;
        let owned = stated.remove(&own);
        let Some((other, by)) = stated.pop_first() else {
            return Ok(());
        };
        let detail = match owned {
            None => format!(
                "it states the repository {own}, and {by} states {other}, as all others do: move kbk.json away, and `kbk recover --rebuild` writes \
                 the one of {other}"
            ),
            Some(ours) => format!(
                "it states the repository {own}, as {ours} does, and {by} states {other}: move the objects of the other repository away, its \
                 segments too"
            ),
        };
        Err(self.damaged(&Key::Identity, detail))
    }

    /// Returns the id that the sealed and packed objects state, and one that does; `None` where there is none.
    async fn stated_repository(&self) -> Result<Option<(Id, String)>> {
        let mut stated = self.stated_repositories(ASKED).await?;
        let first = stated.pop_first();
        if let (Some((id, by)), Some((other, key))) = (&first, stated.pop_first()) {
            let detail = format!(
                "it cannot be written again: {by} states the repository {id}, and {key} states {other}; move those of the other repository away"
            );
            return Err(self.damaged(&Key::Identity, detail));
        }
        Ok(first)
    }

    /// Returns the ids that sealed and packed objects state, and one object for each. At most `packed` tables and objects of groups and ACLs are read.
    async fn stated_repositories(&self, packed: usize) -> Result<BTreeMap<Id, String>> {
        let mut stated = BTreeMap::new();
        for (folder, most) in [
            (SNAPSHOTS, ASKED),
            (TABLES, packed),
            (CLUSTER, packed),
            (RESTORES, ASKED),
        ] {
            // The newest snapshots come last.
            let objects = self.list(folder).await?.into_iter().rev();
            let mut asked = 0;
            for Listed { key, .. } in objects {
                let Some(id) = self.repository_of(&key).await? else {
                    continue;
                };
                stated.entry(id).or_insert_with(|| key.to_string());
                asked += 1;
                if asked == most {
                    break;
                }
            }
        }
        Ok(stated)
    }

    /// Returns the repository that an object states; `None` where it states none, or is damaged.
    async fn repository_of(&self, key: &Key) -> Result<Option<Id>> {
        match key {
            Key::Snapshot { .. } => self.stated_by(key, |it: &Manifest| it.repository_id).await,
            Key::LatestSnapshot => self.stated_by(key, |it: &Latest| it.repository_id).await,
            Key::RestoreBegun { .. } => {
                self.stated_by(key, |it: &RestoreManifest| it.repository_id)
                    .await
            }
            Key::Table { sha256 } | Key::Cluster { sha256 } => {
                let bytes = match self.read_at_most(key, limits::PACKED_BYTES).await {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => return Ok(None),
                    Err(error) if error.kind().is_about_content() => return Ok(None),
                    Err(error) => return Err(error),
                };
                if Hex(Sha256::digest(&bytes).into()) != *sha256 {
                    return Ok(None);
                }
                let raw = unpack_part(&bytes).raw;
                let line = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let header = serde_json::from_slice::<Header>(line).ok();
                Ok(header.map(|header| header.repository_id))
            }
            _ => Ok(None),
        }
    }

    async fn stated_by<T: Document>(&self, key: &Key, id: impl Fn(&T) -> Id) -> Result<Option<Id>> {
        match self.read::<T>(key).await {
            Ok(found) => Ok(found.map(|found| id(&found.value))),
            Err(error) if error.kind().is_about_content() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
