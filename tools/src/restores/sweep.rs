//! Removes what interrupted runs of a finished restore left of its offset map.

use std::collections::BTreeSet;

use kbk_format::repo::{Key, RepoError, Repository, RestoreDone};

use super::map_reader::MapReader;

/// Removes the pages of a finished restore that are not part of its offset map: transactions that were aborted wrote them.
///
/// # Errors
///
/// As [`MapReader::next`], and then nothing has been removed; or the error of the store.
pub async fn sweep_map_pages(repository: &Repository, done: &RestoreDone) -> Result<(), RepoError> {
    let mut pages = BTreeSet::new();
    for partition in &done.partitions {
        let mut map = MapReader::new(repository, &done.restore, partition);
        while let Some(page) = map.next().await? {
            pages.insert(Key::map_page(&done.restore, &page.sha256));
        }
    }
    repository.keep_map_pages(&done.restore, &pages).await
}
