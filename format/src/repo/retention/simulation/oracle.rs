//! What must hold, from the bytes in the store alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::Totals;
use super::scheduler::at_once;
use crate::repo::id::Id;
use crate::repo::keys::Key;
use crate::repo::manifest::Manifest;
use crate::repo::repository::Repository;
use crate::repo::sealed::unseal;

pub(super) struct Oracle {
    /// Sees the objects as they are, at once.
    repository: Repository,
    /// Of each number, the nonce of the snapshot that had it first.
    first: BTreeMap<u64, Id>,
    /// What each snapshot names that is there and was not forgotten when it was put.
    named: BTreeMap<u64, BTreeSet<String>>,
    /// Segments of which a commit reported that they are stored.
    promised: BTreeSet<String>,
    /// Segments that a commit may have expired, whatever it reported.
    may_be_expired: BTreeSet<String>,
    /// Segments of which a commit reported that they are expired.
    expired: BTreeSet<String>,
    pub(super) violations: Vec<String>,
    pub(super) totals: Totals,
}

impl Oracle {
    pub(super) fn new(repository: Repository) -> Oracle {
        Oracle {
            repository,
            first: BTreeMap::new(),
            named: BTreeMap::new(),
            promised: BTreeSet::new(),
            may_be_expired: BTreeSet::new(),
            expired: BTreeSet::new(),
            violations: Vec::new(),
            totals: Totals::default(),
        }
    }

    pub(super) fn violation(&mut self, violation: String) {
        self.violations.push(violation);
    }

    /// Learns that an object was put.
    pub(super) fn put(&mut self, objects: &Arc<InMemory>, location: &Path) {
        let Some(Key::Snapshot { sequence }) = Key::parse(location.as_ref()) else {
            return;
        };
        let manifest = manifest(objects, sequence);
        let first = *self.first.entry(sequence).or_insert(manifest.nonce);
        if first != manifest.nonce {
            // Its number was forgotten, and it does not exist for readers.
            self.totals.lost_numbers += 1;
            if !newest(objects).has_forgotten(sequence) {
                self.violation(format!("snapshot {sequence} was replaced"));
            }
            return;
        }
        let named = named(&self.repository, &manifest);
        match named {
            Ok(named) => {
                let present = keys(objects);
                if let Some(missing) = named.difference(&present).next() {
                    self.violation(format!(
                        "snapshot {sequence} names {missing}, which is gone"
                    ));
                }
                self.named.insert(sequence, named);
            }
            Err(error) => self.violation(format!("snapshot {sequence} was put: {error}")),
        }
    }

    /// Learns that an object is about to be deleted.
    pub(super) fn delete(&mut self, objects: &Arc<InMemory>, location: &Path) {
        let key = location.as_ref();
        let newest = newest(objects);
        if let Some(Key::Snapshot { sequence }) = Key::parse(key) {
            if !newest.has_forgotten(sequence) {
                self.violation(format!("snapshot {sequence} is removed and not forgotten"));
            }
            self.named.remove(&sequence);
            return;
        }
        self.totals.deleted += 1;
        let mut kept = self
            .named
            .iter()
            .filter(|(at, _)| !newest.has_forgotten(**at));
        if let Some((sequence, _)) = kept.find(|(_, named)| named.contains(key)) {
            let violation = format!("{key} is deleted, and snapshot {sequence} needs it");
            self.violation(violation);
        }
    }

    /// Learns that a commit reported success.
    pub(super) fn committed(&mut self, manifest: &Manifest, segments: &[String]) {
        let sequence = manifest.sequence;
        self.totals.commits += 1;
        if self.first.get(&sequence) != Some(&manifest.nonce) {
            self.violation(format!("snapshot {sequence} was won twice"));
        }
        self.promised.extend(segments.iter().cloned());
    }

    /// Learns that a commit is about to expire segments.
    pub(super) fn may_expire(&mut self, segments: &[String]) {
        self.may_be_expired.extend(segments.iter().cloned());
    }

    /// Learns that it did.
    pub(super) fn expired(&mut self, segments: &[String]) {
        self.totals.expired += segments.len() as u64;
        self.expired.extend(segments.iter().cloned());
    }

    /// Learns that a commit put segments in the place of others.
    pub(super) fn replaced(&mut self, removed: &[String], added: &[String]) {
        self.totals.replaced += removed.len() as u64;
        self.expired.extend(removed.iter().cloned());
        self.promised.extend(added.iter().cloned());
    }

    /// Learns that a reader got the error that this snapshot was forgotten.
    pub(super) fn read_forgotten(&mut self, objects: &Arc<InMemory>, sequence: u64) {
        self.totals.forgotten_reads += 1;
        if !newest(objects).has_forgotten(sequence) {
            self.violation(format!("snapshot {sequence} was reported as forgotten"));
        }
    }

    /// Checks what holds once prunes have nothing left to do.
    pub(super) fn settled(&mut self, objects: &Arc<InMemory>) {
        let present = keys(objects);
        if present
            .iter()
            .all(|key| Key::parse(key).is_none_or(|key| key.sequence().is_none()))
        {
            return;
        }
        let newest = newest(objects);
        let (mut needed, mut last) = (BTreeSet::new(), BTreeSet::new());
        for sequence in present.iter().filter_map(|key| Key::parse(key)?.sequence()) {
            if newest.has_forgotten(sequence) {
                self.violation(format!("the object of snapshot {sequence} is left"));
                continue;
            }
            match named(&self.repository, &manifest(objects, sequence)) {
                Ok(named) => {
                    needed.extend(named.iter().cloned());
                    last = named;
                }
                Err(error) => self.violation(format!("snapshot {sequence}: {error}")),
            }
        }
        if let Some(missing) = needed.difference(&present).next() {
            self.violation(format!("{missing} is gone"));
        }
        let folders = ["data/", "index/", "cluster/"];
        let prunable = |key: &&String| folders.iter().any(|folder| key.starts_with(folder));
        if let Some(left) = present.difference(&needed).find(prunable) {
            self.violation(format!("{left} is left, and nothing needs it"));
        }
        if let Some(back) = self.expired.intersection(&last).next() {
            let newest = newest.sequence;
            let violation = format!("{back} was expired, and snapshot {newest} has it");
            self.violation(violation);
        }
        let mut lost = self.promised.difference(&last);
        if let Some(lost) = lost.find(|lost| !self.may_be_expired.contains(*lost)) {
            let newest = newest.sequence;
            let violation = format!("{lost} was committed, and snapshot {newest} does not have it");
            self.violation(violation);
        }
    }
}

/// Returns the keys of all objects.
fn keys(objects: &InMemory) -> BTreeSet<String> {
    let listed = objects.list(None);
    at_once(listed.map(|it| it.unwrap().location.to_string()).collect())
}

fn manifest(objects: &InMemory, sequence: u64) -> Manifest {
    let path = Path::from(Key::Snapshot { sequence }.to_string());
    let bytes = at_once(async { objects.get(&path).await.unwrap().bytes().await.unwrap() });
    unseal::<Manifest>(&bytes).unwrap().value
}

fn newest(objects: &InMemory) -> Manifest {
    let keys = keys(objects);
    let sequences = keys.iter().filter_map(|key| Key::parse(key)?.sequence());
    manifest(objects, sequences.max().unwrap())
}

/// Returns the keys of all objects that a snapshot names, found row by row.
fn named(repository: &Repository, manifest: &Manifest) -> Result<BTreeSet<String>, String> {
    let named = async {
        let mut named = BTreeSet::new();
        let (tables, unread) = repository.tables(manifest).await?;
        if let Some(error) = unread.into_iter().next() {
            return Err(error);
        }
        named.extend(tables.iter().map(|table| table.key().to_string()));
        let lists = manifest.runs.iter().filter_map(|run| run.list.as_ref());
        named.extend(lists.map(|list| list.key().to_string()));
        let answers = [
            manifest.groups.as_ref().map(|groups| groups.object.sha256),
            manifest.acls.as_ref().map(|acls| acls.object.sha256),
        ];
        let answers = answers.into_iter().flatten();
        named.extend(answers.map(|sha256| Key::Cluster { sha256 }.to_string()));
        named.extend(manifest.pruning.iter().map(|it| it.key().to_string()));
        for topic in repository.states(manifest).await? {
            for state in &topic.partitions {
                let id = topic.partition_id(state.partition);
                let snapshot = crate::repo::Snapshot {
                    manifest: manifest.clone(),
                    topics: Vec::new(),
                };
                let segments = repository.segments(&snapshot, &id, state).await?;
                named.extend(segments.into_iter().map(|segment| segment.key));
            }
        }
        Ok(named)
    };
    at_once(named).map_err(|error: crate::repo::RepoError| error.to_string())
}
