//! A group of segments: found where an interrupted run has merged it, or merged, and proved.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    FoundSegment, PartitionId, RemovedRecords, RepoError, SegmentEntry, SegmentReader,
};
use kbk_format::{Compression, KeyFilter, KeyFilterBits};
use tokio::runtime::Handle;

use super::KeyFilters;
use super::expected::Expected;
use super::key_range::KeyRange;
use super::merge::{Merge, MergeError, Read, WriteSettings, Written, merge};
use super::prove::{Held, Keys, Proved, read_back};
use super::run::Run;
use super::source;
use crate::maintenance::MaintenanceError;
use crate::task::joined;
use crate::unusable::Unusable;
use crate::verify::{UnindexedSegment, UnindexedSegmentError};

/// Threads that encode the blocks of a group, at most: each has the buffers of a block and of a compressor.
const MOST_THREADS: usize = 8;

/// How new segments are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    compression: Compression,
    key_filter: Option<KeyFilterBits>,
}

/// Why a group was not merged.
pub(super) enum GroupError {
    /// The segment in this place of the group cannot be used.
    Unusable(usize, Unusable),
    /// The segment in this place is of another source than those before it: another isolation level or cluster.
    OtherSource(usize),
    Fatal(MaintenanceError),
}

impl<T: Into<MaintenanceError>> From<T> for GroupError {
    fn from(error: T) -> GroupError {
        GroupError::Fatal(error.into())
    }
}

impl Run<'_> {
    /// Lists what interrupted runs left of a partition.
    pub(super) async fn left_over(
        &self,
        id: &PartitionId,
        all: &[SegmentEntry],
        is_needed: bool,
    ) -> Result<Vec<FoundSegment>, MaintenanceError> {
        let Some(first) = all.first().filter(|_| is_needed) else {
            return Ok(Vec::new());
        };
        let named: HashSet<&str> = all.iter().map(|entry| entry.key.as_str()).collect();
        let found = self
            .repository
            .unnamed_segments(id, first.base_offset, &self.adoptable);
        let mut found = found.await?;
        found.retain(|it| !named.contains(it.key.to_string().as_str()));
        Ok(found)
    }

    /// Merges a group, and proves what the store returns. In a dry run, looks at the headers of its segments, which say whether they can be
    /// merged, and returns nothing.
    pub(super) async fn group(
        &self,
        id: &PartitionId,
        sources: &[SegmentEntry],
        keys: Option<&KeyRange>,
        left: &[FoundSegment],
    ) -> Result<Option<Proved>, GroupError> {
        let form = self.form(id, sources).await?;
        if self.options.run.dry_run {
            return Ok(None);
        }
        let found = self.find_left(id, sources, left, form).await?;
        let adopts = !found.is_empty();
        let (written, read) = self.merge(id, sources, keys, form, !adopts).await?;
        for candidate in found {
            let expected = Expected::new(sources, keys, &read);
            let entries = std::slice::from_ref(&candidate);
            match self.prove(id, entries, keys.is_some(), expected).await {
                Ok(()) => {
                    return Ok(Some(Proved {
                        added: vec![candidate],
                        without: read.removed(),
                        removed_digest: read.content,
                        adopted: 1,
                    }));
                }
                // Whatever it is, it is written anew.
                Err(ProofError::Differs(_)) => {}
                Err(ProofError::Repo(error)) => return Err(error.into()),
            }
        }
        let (written, read) = match adopts {
            true => self.merge(id, sources, keys, form, true).await?,
            false => (written, read),
        };
        let mut added = Vec::with_capacity(written.len());
        for Written { upload, summary } in written {
            let uploaded = upload.complete().await?;
            self.events.sealed(uploaded.size);
            added.push(SegmentEntry::new(id, &summary, uploaded));
        }
        let expected = Expected::new(sources, keys, &read);
        match self.prove(id, &added, keys.is_some(), expected).await {
            Ok(()) => Ok(Some(Proved {
                added,
                without: read.removed(),
                removed_digest: read.content,
                adopted: 0,
            })),
            Err(ProofError::Repo(error)) => Err(error.into()),
            Err(ProofError::Differs(detail)) => {
                Err(self.blame(id, sources, &added, detail).await?)
            }
        }
    }

    /// Finds out why a group is not proved: whether one of its segments is not what it states, or the store returns something else.
    async fn blame(
        &self,
        id: &PartitionId,
        sources: &[SegmentEntry],
        added: &[SegmentEntry],
        detail: String,
    ) -> Result<GroupError, GroupError> {
        for (at, source) in sources.iter().enumerate() {
            let store = self.repository.store();
            let checked = read_back(store, id, source, Keys::Ignored, Held::default()).await;
            if let Err(error) = checked {
                return Ok(GroupError::Unusable(at, self.unusable(error).await?));
            }
        }
        let key = added.first().map_or_else(String::new, |it| it.key.clone());
        Ok(MaintenanceError::NotProven { key, detail }.into())
    }

    /// Reads the headers of a group, and returns how its new segments are stored.
    ///
    /// They are compressed as asked for, or as all of the group state that they were, so that a level that someone chose before stays. They have
    /// key filters as asked for, or the most selective one of the group.
    pub(super) async fn form(
        &self,
        id: &PartitionId,
        sources: &[SegmentEntry],
    ) -> Result<Form, GroupError> {
        let store = self.repository.store();
        let mut opened = stream::iter(sources)
            .map(|entry| SegmentReader::open(store, id, entry))
            .buffered(store.profile().parallel_requests);
        let mut first = None;
        let mut compressions = Vec::new();
        let mut key_filter = None;
        let mut at = 0_usize;
        while let Some(opened) = opened.next().await {
            let reader = match opened {
                Ok(reader) => reader,
                Err(error) => return Err(GroupError::Unusable(at, self.unusable(error).await?)),
            };
            let segment = reader.segment();
            let header = segment.header();
            let source = (header.isolation_level, header.cluster_id.clone());
            if *first.get_or_insert_with(|| source.clone()) != source {
                return Err(GroupError::OtherSource(at));
            }
            let stated = header.compression.as_deref();
            let stated = stated.and_then(|it| it.parse::<Compression>().ok());
            if !compressions.contains(&stated) {
                compressions.push(stated);
            }
            key_filter = key_filter.max(segment.key_filter().map(KeyFilter::target));
            at = at.saturating_add(1);
        }
        let common = match compressions[..] {
            [Some(common)] => common,
            _ => Compression::default(),
        };
        Ok(Form {
            compression: self.options.compression.unwrap_or(common),
            key_filter: match self.options.key_filters {
                KeyFilters::Dropped => None,
                KeyFilters::All(Some(bits)) => Some(bits),
                KeyFilters::All(None) => Some(key_filter.unwrap_or_default()),
                KeyFilters::Kept => key_filter,
            },
        })
    }

    /// Reads a group, and writes it if so asked.
    async fn merge(
        &self,
        id: &PartitionId,
        sources: &[SegmentEntry],
        keys: Option<&KeyRange>,
        form: Form,
        writes: bool,
    ) -> Result<(Vec<Written>, Read), GroupError> {
        let store = self.repository.store();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let group = Merge {
            settings: WriteSettings {
                store: store.clone(),
                compression: form.compression,
                key_filter: form.key_filter,
                block_bytes: self.options.block_bytes,
                most_bytes: self.options.segment_bytes.saturating_mul(2),
                writer: self.options.run.writer.clone(),
                created_at: self.snapshot.created_at,
                threads: cores.min(MOST_THREADS),
            },
            id: id.clone(),
            segments: sources.to_vec(),
            filter: keys.and_then(|keys| keys.filter(sources)),
            writes,
            events: Arc::clone(&self.events),
            runtime: Handle::current(),
        };
        let (sender, receiver) = source::channel();
        let merging = tokio::task::spawn_blocking(move || merge(&group, receiver));
        let sent = source::send(store, id, sources, sender).await;
        let merged = joined(merging.await).map_err(|error| MaintenanceError::Write {
            partition: id.to_string(),
            detail: error.to_string(),
        })?;
        if let Err(source::Unread { at, error }) = sent {
            return Err(GroupError::Unusable(at, self.unusable(error).await?));
        }
        merged.map_err(|error| match error {
            MergeError::Damaged(at, error) => {
                let key = sources.get(at).map_or("", |it| it.key.as_str());
                GroupError::Unusable(at, Unusable::damaged(format!("{key}: {error}")))
            }
            MergeError::Store(error) => error.into(),
            MergeError::Ended => {
                let detail = "its segments were not read to the end".to_owned();
                let partition = id.to_string();
                MaintenanceError::Write { partition, detail }.into()
            }
            MergeError::Write(detail) => {
                let partition = id.to_string();
                MaintenanceError::Write { partition, detail }.into()
            }
        })
    }

    /// Finds intact segments that an interrupted run left, and that have the offsets of the group.
    async fn find_left(
        &self,
        id: &PartitionId,
        sources: &[SegmentEntry],
        left: &[FoundSegment],
        form: Form,
    ) -> Result<Vec<SegmentEntry>, MaintenanceError> {
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else {
            return Ok(Vec::new());
        };
        let offsets = first.base_offset..last.end_offset;
        let compression = form.compression.to_string();
        let mut found = Vec::new();
        let same = left.iter().filter(|it| it.base_offset == offsets.start);
        for candidate in same {
            let checked = async {
                let opened = UnindexedSegment::open(self.repository.store(), candidate).await?;
                let segment = opened.segment();
                let fits = segment.coverage() == offsets
                    && segment.key_filter().map(KeyFilter::target) == form.key_filter
                    && segment.header().compression.as_ref() == Some(&compression)
                    && !segment.index().has_batches();
                match fits {
                    true => Ok(Some(opened.check(id.clone()).await?)),
                    false => Ok(None),
                }
            };
            match checked.await {
                // The entry must lead to this object, and to no other.
                Ok(Some(entry)) if entry.key == candidate.key.to_string() => found.push(entry),
                Ok(_) => {}
                Err(UnindexedSegmentError::Repo(error)) if !error.kind().is_about_content() => {
                    return Err(error.into());
                }
                // Half of one, or damaged.
                Err(_) => {}
            }
        }
        Ok(found)
    }

    /// Reads new segments back and compares what they hold with what a group held.
    async fn prove(
        &self,
        id: &PartitionId,
        added: &[SegmentEntry],
        sums_keys: bool,
        expected: Expected,
    ) -> Result<(), ProofError> {
        let store = self.repository.store();
        let keys = match sums_keys {
            true => Keys::Summed,
            false => Keys::Ignored,
        };
        let mut held = Held::default();
        for entry in added {
            held = match read_back(store, id, entry, keys, held).await {
                Ok(held) => held,
                Err(error) if error.kind().is_about_content() => {
                    return Err(ProofError::Differs(error.to_string()));
                }
                Err(error) => return Err(ProofError::Repo(error)),
            };
        }
        expected.compare(added, held).map_err(ProofError::Differs)
    }
}

enum ProofError {
    Differs(String),
    Repo(RepoError),
}

impl Read {
    fn removed(&self) -> RemovedRecords {
        RemovedRecords {
            records: self.removed_records,
            content_digest: self.removed_content,
        }
    }
}
