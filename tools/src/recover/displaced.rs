//! Segments that are under the name of another one: objects that were swapped, or renamed.
//!
//! Their file headers say which segment they are. Looked at are the objects that are not what their rows state, and for segments that these are
//! not, the objects of the partition that no row names and that have their size.

use std::collections::{BTreeSet, HashMap, HashSet};

use kbk_format::FileHeader;
use kbk_format::layout::limits;
use kbk_format::repo::{Hex, Id, Key, PartitionId, RepoError, Repository, Snapshot};

use super::object::fetch;
use super::plan::Target;

/// Where segments are that are not under their own names.
#[derive(Debug, Default)]
pub(super) struct Displaced {
    keys: HashMap<Id, Vec<String>>,
}

impl Displaced {
    /// Finds the segments of a plan.
    pub(super) async fn find(
        repository: &Repository,
        snapshot: &Snapshot,
        targets: &[Target],
    ) -> Result<Displaced, RepoError> {
        let mut displaced = Displaced::default();
        let mut sought = Vec::new();
        for target in targets.iter().filter(|it| it.is_damaged) {
            let found = segment_id(repository, &target.entry.key).await?;
            if found != Some(target.entry.segment_id) {
                sought.push(target);
                displaced.add(found, &target.entry.key);
            }
        }
        sought.retain(|target| !displaced.keys.contains_key(&target.entry.segment_id));
        for partition in sought.chunk_by(|a, b| a.id == b.id) {
            if let Some(Target { id, .. }) = partition.first() {
                let sizes = partition.iter().map(|target| target.entry.size).collect();
                displaced
                    .find_unnamed(repository, snapshot, id, &sizes)
                    .await?;
            }
        }
        Ok(displaced)
    }

    /// Looks at the objects of a partition that have one of these sizes and that no row names.
    async fn find_unnamed(
        &mut self,
        repository: &Repository,
        snapshot: &Snapshot,
        id: &PartitionId,
        sizes: &BTreeSet<u64>,
    ) -> Result<(), RepoError> {
        let Some(state) = snapshot.partition(id) else {
            return Ok(());
        };
        let named = repository.segments(snapshot, id, state).await?;
        let named: HashSet<&str> = named.iter().map(|entry| &*entry.key).collect();
        let listed = repository.topic_segments(&id.topic, id.topic_id).await?;
        for object in listed.iter().filter(|it| sizes.contains(&it.bytes)) {
            let key = object.key.to_string();
            let is_of_it = matches!(&object.key, Key::Segment { partition, .. } if partition == id);
            if is_of_it && !named.contains(&*key) {
                match segment_id(repository, &key).await {
                    Ok(found) => self.add(found, &key),
                    // It is another segment, as far as anyone knows.
                    Err(error) if repository.store().is_about_one_object(&error).await => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, segment: Option<Id>, key: &str) {
        if let Some(segment) = segment {
            let keys = self.keys.entry(segment).or_default();
            keys.push(key.to_owned());
        }
    }

    /// Returns the objects under other names that are this segment, or what is left of it.
    pub(super) fn of(&self, segment: Id) -> &[String] {
        self.keys.get(&segment).map_or(&[], Vec::as_slice)
    }
}

/// Returns which segment an object is, as its file header says; `None` where there is no such object, or its header is damaged.
async fn segment_id(repository: &Repository, key: &str) -> Result<Option<Id>, RepoError> {
    let limit = limits::FILE_HEADER_LENGTH as u64;
    let bytes = fetch(repository.store(), key, limit).await?;
    let header = bytes.and_then(|bytes| FileHeader::decode(&bytes).ok());
    Ok(header.map(|(header, _)| Hex(header.segment_id)))
}
