//! Segments and pages that no snapshot names: an interrupted backup left them, or one that runs now is writing them.
//!
//! They are listed before any snapshot is read, so that what a backup commits meanwhile is named by a snapshot that is read afterwards.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{
    Id, Key, ListedObject, Page, PageRef, PartitionId, RepoError, Repository, TopicName,
};
use serde::Serialize;

/// What no snapshot names. It is no damage: no snapshot lacks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// Number of segments and pages.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of files of segments and pages that are not complete: interrupted writes left them, or they are being written.
    pub unfinished_files: u64,
    /// Their bytes.
    pub unfinished_bytes: u64,
    /// Keys of snapshots and pages that could not be read. What only they name is counted above.
    pub unread: BTreeSet<String>,
    /// The segments and pages, by key.
    pub keys: Vec<Orphan>,
}

/// A segment or a page that no snapshot names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// Its name.
    pub key: String,
    /// Its length.
    pub bytes: u64,
}

/// A search for them, which learns from the verification of snapshots what these name.
#[derive(Debug, Default)]
pub(super) struct OrphanSearch {
    /// What nothing read so far names: sizes by key.
    unnamed: BTreeMap<String, u64>,
    unfinished: Vec<u64>,
    /// Snapshots that have been read, and all pages that they name.
    snapshots: BTreeSet<u64>,
    pages: BTreeSet<String>,
    unread: BTreeSet<String>,
}

impl OrphanSearch {
    /// Lists the segments and pages of the selected topics; `None` selects all.
    pub(super) async fn start(
        repository: &Repository,
        topics: Option<&BTreeSet<(TopicName, Id)>>,
    ) -> Result<OrphanSearch, RepoError> {
        let names: Option<BTreeSet<&TopicName>> =
            topics.map(|topics| topics.iter().map(|(name, _)| name).collect());
        let selected = |object: &ListedObject| match (&object.key, &names) {
            (_, None) => true,
            (Key::Segment { partition, .. } | Key::Page { partition, .. }, Some(names)) => {
                names.contains(&partition.topic)
            }
            _ => false,
        };
        let listed = repository.segments_and_pages().await?.into_iter();
        let unfinished = repository.unfinished_segments_and_pages().await?;
        Ok(OrphanSearch {
            unnamed: listed
                .filter(selected)
                .map(|object| (object.key.to_string(), object.bytes))
                .collect(),
            unfinished: unfinished
                .iter()
                .filter(|object| selected(object))
                .map(|object| object.bytes)
                .collect(),
            ..OrphanSearch::default()
        })
    }

    /// Learns that a snapshot was read, and that all its pages are being read.
    pub(super) fn snapshot_read(&mut self, sequence: u64) {
        self.snapshots.insert(sequence);
    }

    /// Learns what a page names, and that a snapshot names it.
    pub(super) fn page_read(&mut self, key: &str, page: &Page) {
        self.unnamed.remove(key);
        self.pages.insert(key.to_owned());
        for entry in &page.segments {
            self.unnamed.remove(&entry.key);
        }
    }

    /// Learns that a snapshot names a page that could not be read.
    pub(super) fn page_unread(&mut self, key: &str) {
        self.unnamed.remove(key);
        self.pages.insert(key.to_owned());
        self.unread.insert(key.to_owned());
    }

    /// Reads the snapshots that were not verified, newest first, until everything is named or nothing more can name it.
    pub(super) async fn finish(mut self, repository: &Repository) -> Result<Orphans, RepoError> {
        let sequences = repository.sequences().await?;
        for sequence in sequences.into_iter().rev() {
            if self.unnamed.is_empty() {
                break;
            }
            if !self.snapshots.contains(&sequence) {
                self.snapshot(repository, sequence).await;
            }
        }
        Ok(Orphans {
            objects: self.unnamed.len() as u64,
            bytes: self.unnamed.values().sum(),
            unfinished_files: self.unfinished.len() as u64,
            unfinished_bytes: self.unfinished.iter().sum(),
            unread: self.unread,
            keys: self
                .unnamed
                .into_iter()
                .map(|(key, bytes)| Orphan { key, bytes })
                .collect(),
        })
    }

    async fn snapshot(&mut self, repository: &Repository, sequence: u64) {
        let Ok(snapshot) = repository.snapshot(sequence).await else {
            self.unread.insert(Key::Snapshot { sequence }.to_string());
            return;
        };
        for topic in &snapshot.topics {
            for state in &topic.partitions {
                let partition = topic.partition_id(state.partition);
                for page in &state.pages {
                    self.page(repository, &partition, page).await;
                }
            }
        }
    }

    async fn page(&mut self, repository: &Repository, partition: &PartitionId, named: &PageRef) {
        if self.pages.contains(&named.key) {
            return;
        }
        self.unnamed.remove(&named.key);
        // Most pages of older snapshots name nothing that the newest one does not.
        if !self.has_segments_of(partition) {
            return;
        }
        match repository.page(partition, named).await {
            Ok(page) => self.page_read(&named.key, &page),
            Err(_) => self.page_unread(&named.key),
        }
    }

    fn has_segments_of(&self, partition: &PartitionId) -> bool {
        let first = Key::segment(partition, 0, &Id::ZERO).to_string();
        let folder = first.rsplit_once('/').map_or("", |(folder, _)| folder);
        let next = self.unnamed.range(first.clone()..).next();
        next.is_some_and(|(key, _)| {
            key.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    }
}
