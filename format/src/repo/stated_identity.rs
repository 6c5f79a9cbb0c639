//! Which repository its objects state: `kbk.json` may be of another one, as a copy by hand may leave it, or be missing (SPEC section 11.14).
//!
//! Segments do not state their repository. Snapshots, the hint, the objects of `index` and `cluster` and the records of restores do, and their
//! digests prove what they state.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::anatomy::unpack_part;
use super::error::{Damage, RepoErrorKind, Result};
use super::id::{Hex, Id};
use super::identity::Identity;
use super::keys::{CLUSTER, Key, RESTORES, SNAPSHOTS, TABLES};
use super::latest::Latest;
use super::listing::Listed;
use super::manifest::Manifest;
use super::restore_manifest::RestoreManifest;
use super::sealed::Document;
use super::store::Store;
use crate::layout::limits;

/// Objects of one folder that are asked for the id: all of a repository state the same one.
const ASKED: usize = 64;
/// The same of tables and objects of groups and ACLs, which are large, where kbk.json is intact.
const ASKED_PACKED: usize = 4;

/// The first line of a packed object, as far as it is of interest here.
#[derive(Deserialize)]
struct Header {
    repository_id: Id,
}

impl Store {
    /// Checks that `kbk.json` is that of the other objects. In most cases the hint says so, and nothing else is read; otherwise one of the newest
    /// snapshots must.
    ///
    /// # Errors
    ///
    /// [`Damage::OtherRepository`] where each of the newest snapshots states another repository, or the error of the store.
    pub(super) async fn check_identity(&self, identity: &Identity) -> Result<()> {
        let stated = identity.repository_id;
        if self.repository_of(&Key::LatestSnapshot).await? == Some(stated) {
            return Ok(());
        }
        let mut other: Option<(Id, Key)> = None;
        let listed = self.list(SNAPSHOTS).await?.into_iter().rev();
        // The hint is among them: it condemns nothing.
        let snapshots = listed.filter(|listed| matches!(listed.key, Key::Snapshot { .. }));
        for snapshot in snapshots.take(ASKED) {
            match self.repository_of(&snapshot.key).await? {
                Some(found) if found == stated => return Ok(()),
                Some(found) => {
                    other.get_or_insert((found, snapshot.key));
                }
                None => {}
            }
        }
        let Some((found, by)) = other else {
            return Ok(());
        };
        let by = by.to_string();
        let damage = Damage::OtherRepository { stated, found, by };
        Err(self.error(&Key::Identity, RepoErrorKind::Damaged(damage)))
    }

    /// Checks that the other objects state no other repository than `kbk.json`: that may be the one that is in the wrong place.
    pub(super) async fn check_all_identities(&self, own: Id) -> Result<()> {
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
    pub(super) async fn stated_repository(&self) -> Result<Option<(Id, String)>> {
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
