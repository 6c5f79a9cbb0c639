//! Lists what a store has, by folder.

use std::ops::ControlFlow;

use futures_util::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path as ObjectPath;

use super::pause::pause;
use super::{ANSWERS, CONFLICT_PAUSE, Store, is_cut, probe, whole_answer};
use crate::repo::error::{Operation, Result};
use crate::repo::keys::Key;
use crate::repo::listing::{self, ForeignFiles, Listed};

impl Store {
    /// Lists the objects of a folder, ordered by name. Whatever else is there is ignored.
    pub(in crate::repo) async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut found = match self.on_disk(folder, listing::objects).await? {
            Some(found) => found,
            None => self.list_remote(folder, None).await?,
        };
        found.sort_by_cached_key(|object| object.key.to_string());
        Ok(found)
    }

    /// Lists the objects of a folder whose names are above `after`, ordered by name.
    pub(in crate::repo) async fn list_after(
        &self,
        folder: &str,
        after: &str,
    ) -> Result<Vec<Listed>> {
        let mut found = match self.on_disk(folder, listing::objects).await? {
            Some(found) => found,
            None => self.list_remote(folder, Some(after)).await?,
        };
        found.retain(|object| *object.key.to_string() > *after);
        found.sort_by_cached_key(|object| object.key.to_string());
        Ok(found)
    }

    /// Lists the objects of a folder whose writes were interrupted or are in progress. Only a local disk shows them.
    pub(in crate::repo) async fn list_unfinished(&self, folder: &str) -> Result<Vec<Listed>> {
        let found = self.on_disk(folder, listing::unfinished_objects).await?;
        Ok(found.unwrap_or_default())
    }

    /// Lists what is in the folders of a repository and is none of its objects. Only a local disk is looked at.
    pub(in crate::repo) async fn list_foreign(&self) -> Result<ForeignFiles> {
        let found = self.on_disk("", |root, _| listing::foreign_files(root));
        Ok(found.await?.unwrap_or_default())
    }

    /// Lists the names and lengths of everything in a folder that is no object of a repository, ordered by name.
    pub(in crate::repo) async fn list_others(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        if let Some(found) = self.on_disk(folder, listing::others).await? {
            return Ok(found);
        }
        let listed = whole_answer(|| self.list_others_once(folder)).await;
        listed.map_err(|error| self.failed_at(Operation::List, folder, error))
    }

    async fn list_others_once(&self, folder: &str) -> object_store::Result<Vec<(String, u64)>> {
        let found = self.objects.list(Some(&ObjectPath::from(folder)));
        let others = found.try_filter_map(async |object| {
            let name = object.location.to_string();
            Ok(listed(&object).is_none().then_some((name, object.size)))
        });
        let mut others: Vec<_> = others.try_collect().await?;
        others.sort();
        Ok(others)
    }

    /// Lists a folder of a bucket.
    async fn list_remote(&self, folder: &str, after: Option<&str>) -> Result<Vec<Listed>> {
        let listed = whole_answer(|| self.list_once(folder, after)).await;
        listed.map_err(|error| self.failed_at(Operation::List, folder, error))
    }

    async fn list_once(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> object_store::Result<Vec<Listed>> {
        let prefix = ObjectPath::from(folder);
        let found = match after {
            Some(after) => self
                .objects
                .list_with_offset(Some(&prefix), &ObjectPath::from(after)),
            None => self.objects.list(Some(&prefix)),
        };
        let listed = found.try_filter_map(async |object| Ok(listed(&object)));
        listed.try_collect().await
    }

    /// Passes the objects of a folder of a bucket to `add`, one by one, which collects them from nothing. `None` once `add` says that it has
    /// enough. An answer that ends early begins the listing again, with nothing.
    pub(in crate::repo) async fn fold_listing<T: Default>(
        &self,
        folder: &str,
        mut add: impl FnMut(&mut T, Listed) -> ControlFlow<()>,
    ) -> Result<Option<T>> {
        let prefix = ObjectPath::from(folder);
        let mut time = CONFLICT_PAUSE;
        let mut left = ANSWERS;
        loop {
            let mut collected = T::default();
            let mut objects = self.objects.list(Some(&prefix));
            let error = loop {
                match objects.next().await {
                    None => return Ok(Some(collected)),
                    Some(Err(error)) => break error,
                    Some(Ok(object)) => {
                        if let Some(listed) = listed(&object)
                            && add(&mut collected, listed).is_break()
                        {
                            return Ok(None);
                        }
                    }
                }
            };
            left -= 1;
            if left == 0 || !is_cut(&error) {
                return Err(self.failed_at(Operation::List, folder, error));
            }
            pause(time).await;
            time *= 2;
        }
    }

    /// Lists the names in a folder, or in the root if it is empty: what is directly there, objects and folders.
    pub(in crate::repo) async fn names(&self, folder: &str) -> Result<Vec<String>> {
        if let Some(names) = self.on_disk(folder, listing::names).await? {
            return Ok(names);
        }
        let prefix = (!folder.is_empty()).then(|| ObjectPath::from(folder));
        let found = whole_answer(|| self.objects.list_with_delimiter(prefix.as_ref())).await;
        let found = found.map_err(|error| self.failed_at(Operation::List, folder, error))?;
        let objects = found.objects.into_iter().map(|object| object.location);
        let all = found.common_prefixes.into_iter().chain(objects);
        Ok(all
            .filter_map(|path| Some(path.filename()?.to_owned()))
            .collect())
    }

    /// Returns one of the entries of the root, if any. `lost+found` belongs to the file system, a file that an interrupted
    /// write left is not an object, and what an interrupted probe left says nothing.
    pub(in crate::repo) async fn any_entry(&self) -> Result<Option<String>> {
        let mut names = self.names("").await?;
        names.retain(|name| {
            name != "lost+found" && name != probe::FOLDER && !listing::is_unfinished(name)
        });
        names.sort();
        Ok(names.into_iter().next())
    }
}

/// Returns an object of a repository as a bucket lists it; `None` for any other.
fn listed(object: &ObjectMeta) -> Option<Listed> {
    let key = Key::parse(object.location.as_ref())?;
    Some(Listed {
        key,
        bytes: object.size,
        written_ms: object.last_modified.timestamp_millis(),
    })
}
