//! Objects that no snapshot names: an interrupted backup left them, or one that runs now is writing them.
//!
//! They are listed before any snapshot is read, so that what a backup commits meanwhile is named by a snapshot that is read afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kbk_format::repo::{
    ForeignFiles, Id, Key, ListedObject, RepoError, Repository, SegmentEntry, TableRef, TopicName,
};
use serde::Serialize;

use super::finding::{Finding, FindingKind};
use super::sizes;

/// What no snapshot names. It is no damage: no snapshot lacks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// Number of segments, tables, and objects of groups and ACLs.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of files of such objects that are not complete: interrupted writes left them, or they are being written.
    pub unfinished_files: u64,
    /// Their bytes.
    pub unfinished_bytes: u64,
    /// Keys of snapshots and tables that could not be read. What only they name is counted above.
    pub unread: BTreeSet<String>,
    /// The objects, by key.
    pub keys: Vec<Orphan>,
    /// Number of files among the objects of the repository that are none, such as one in the place of a folder. Only a local disk is looked at, and only
    /// where no topics were selected.
    pub foreign_files: u64,
    /// The first of their names.
    pub foreign_names: Vec<String>,
}

/// An object that no snapshot names.
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
    /// Whether no topics were selected: what belongs to none is listed, too.
    is_of_all: bool,
    /// Snapshots that have been read, and all objects that they name.
    snapshots: BTreeSet<u64>,
    /// Tables that have been read.
    tables: BTreeSet<String>,
    unread: BTreeSet<String>,
    /// All that was listed: sizes by key. `None` unless they are asked for.
    listed: Option<HashMap<String, u64>>,
}

impl OrphanSearch {
    /// Lists the segments of the selected topics; `None` selects all, and everything that belongs to no topic. Remembers all sizes if `keeps_sizes`.
    pub(super) async fn start(
        repository: &Repository,
        topics: Option<&BTreeSet<(TopicName, Id)>>,
        keeps_sizes: bool,
    ) -> Result<OrphanSearch, RepoError> {
        let names: Option<BTreeSet<&TopicName>> =
            topics.map(|topics| topics.iter().map(|(name, _)| name).collect());
        let selected = |object: &ListedObject| match (&object.key, &names) {
            (_, None) => true,
            (Key::Segment { partition, .. }, Some(names)) => names.contains(&partition.topic),
            // Tables, groups and ACLs are of no topic.
            _ => false,
        };
        let listed = repository.named_objects().await?.into_iter();
        let unfinished = repository.unfinished_objects().await?;
        let unnamed: BTreeMap<String, u64> = listed
            .filter(selected)
            .map(|object| (object.key.to_string(), object.bytes))
            .collect();
        let all = || {
            unnamed
                .iter()
                .map(|(key, bytes)| (key.clone(), *bytes))
                .collect()
        };
        Ok(OrphanSearch {
            is_of_all: topics.is_none(),
            listed: keeps_sizes.then(all),
            unnamed,
            unfinished: unfinished
                .iter()
                .filter(|object| selected(object))
                .map(|object| object.bytes)
                .collect(),
            ..OrphanSearch::default()
        })
    }

    /// Learns that a snapshot was read, and that all it names is being read.
    pub(super) fn snapshot_read(&mut self, sequence: u64) {
        self.snapshots.insert(sequence);
    }

    /// Learns that an object is named.
    pub(super) fn named(&mut self, key: &str) {
        self.unnamed.remove(key);
        if key.starts_with("index/") {
            self.tables.insert(key.to_owned());
        }
    }

    /// Compares the listed size of a segment with its row's; nothing is known where nothing could be listed.
    pub(super) fn size_finding(&self, entry: &SegmentEntry) -> Option<Finding> {
        let found = self.listed.as_ref()?.get(&entry.key).copied();
        sizes::difference(&entry.key, entry.size, found, FindingKind::MissingSegment)
    }

    /// Learns that an object that is named could not be read.
    pub(super) fn unread(&mut self, key: &str) {
        self.named(key);
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
        let foreign = match self.is_of_all {
            true => repository.foreign_files().await?,
            false => ForeignFiles::default(),
        };
        Ok(Orphans {
            foreign_files: foreign.files,
            foreign_names: foreign.names,
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
        let Ok(manifest) = repository.manifest(sequence).await else {
            self.unread.insert(Key::Snapshot { sequence }.to_string());
            return;
        };
        let groups = manifest.groups.as_ref().map(|groups| groups.object.sha256);
        let acls = manifest.acls.as_ref().map(|acls| acls.object.sha256);
        for sha256 in groups.into_iter().chain(acls) {
            self.named(&Key::Cluster { sha256 }.to_string());
        }
        if let Some(pruning) = &manifest.pruning {
            self.named(&pruning.key().to_string());
        }
        for list in manifest.runs.iter().filter_map(|run| run.list.as_ref()) {
            self.named(&list.key().to_string());
        }
        let (tables, unread) = match repository.tables(&manifest).await {
            Ok(found) => found,
            Err(error) => (Vec::new(), vec![error]),
        };
        for key in unread.iter().filter_map(RepoError::key) {
            self.unread(key);
        }
        for table in tables {
            self.table(repository, &table).await;
        }
    }

    /// Learns what a table names. A segment that a row names counts as named, although a newer row may have taken its place.
    async fn table(&mut self, repository: &Repository, named: &TableRef) {
        let key = named.key().to_string();
        if self.tables.contains(&key) {
            return;
        }
        self.named(&key);
        match repository.table_segments(named).await {
            Ok(segments) => {
                for (_, entry) in segments {
                    self.unnamed.remove(&entry.key);
                }
            }
            Err(_) => self.unread(&key),
        }
    }
}
