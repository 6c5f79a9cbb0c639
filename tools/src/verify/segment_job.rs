//! Verifies one segment that an index page names, and reports what is left of it if it cannot be opened.

use std::sync::Arc;

use bytes::Bytes;
use kbk_format::repo::{
    BoxedError, Damage, Hex, PartitionId, RepoError, RepoErrorKind, Repository, SegmentEntry,
    SegmentHash, SegmentHasher, SegmentReader,
};
use kbk_format::{ErrorClass, FormatError, Segment};
use tokio::runtime::Handle;

use super::finding::{Finding, FindingKind};
use super::object_reader::ObjectReader;
use super::segment::{self, Depth};
use super::{VerifyDepth, VerifyEvents, salvage};

/// A segment whose footer is valid, and all of its bytes if they were read with it.
pub(super) type Opened = (SegmentReader, Option<Bytes>);

/// One segment, to be verified on a blocking thread.
pub(super) struct SegmentJob {
    pub(super) repository: Repository,
    pub(super) partition: PartitionId,
    pub(super) entry: SegmentEntry,
    pub(super) depth: VerifyDepth,
    pub(super) events: Arc<dyn VerifyEvents>,
    pub(super) runtime: Handle,
}

impl SegmentJob {
    /// Opens the segment. Of a distant store, one request reads all of a small segment.
    pub(super) async fn open(&self) -> Result<Opened, RepoError> {
        let store = self.repository.store();
        let profile = store.profile();
        let is_ahead = profile.readahead.shared_bytes > 0;
        let is_read = self.depth > VerifyDepth::Index;
        if is_read && is_ahead && self.entry.size <= profile.range_bytes {
            let opened = SegmentReader::open_whole(store, &self.partition, &self.entry);
            let (reader, bytes) = opened.await?;
            return Ok((reader, Some(bytes)));
        }
        let opened = SegmentReader::open(store, &self.partition, &self.entry);
        Ok((opened.await?, None))
    }

    /// Verifies the segment. Blocks.
    pub(super) fn run(&self, opened: Result<Opened, RepoError>) -> Vec<Finding> {
        let (reader, bytes) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.unopened(&error),
        };
        if self.depth == VerifyDepth::Index {
            return Vec::new();
        }
        let object = match bytes {
            Some(bytes) => Ok(ObjectReader::Memory(bytes)),
            None => ObjectReader::open(self.repository.store(), &self.entry.key, &self.runtime),
        };
        match object {
            Ok(mut object) => self.check(reader.segment(), &mut object),
            Err(error) => vec![unreadable(&error)],
        }
    }

    /// Checks every byte, and what the depth asks for besides.
    fn check(&self, segment: &Segment, object: &mut ObjectReader) -> Vec<Finding> {
        let mut hasher = (self.depth == VerifyDepth::Hash).then(SegmentHasher::new);
        let depth = Depth {
            records: self.depth.decodes_records(),
            hasher: hasher.as_mut(),
        };
        let range_bytes = self.repository.store().profile().range_bytes;
        let mut checked = segment::check(segment, object, range_bytes, depth, &*self.events);
        let errors = checked.damage.iter_mut().map(|damage| &mut damage.error);
        if let Err(error) = self.settle(errors) {
            checked.unreadable.get_or_insert(error);
        }
        let damage = checked.damage.iter();
        let mut findings: Vec<Finding> = damage.flat_map(Finding::damage).collect();
        match (checked.unreadable, hasher) {
            (Some(error), _) => findings.push(unreadable(&error)),
            // Damage that has been reported changes the hash too.
            (None, Some(hasher)) if findings.is_empty() => {
                findings.extend(self.other_hash(hasher.hash()));
            }
            (None, _) => {}
        }
        findings
    }

    /// Tells damage from a later version: structures state their version before their checksum (SPEC section 4), so that a damaged version
    /// number looks like that of a later kbk, which nobody would ever have. The row states which bytes were written.
    fn settle<'a>(
        &self,
        errors: impl Iterator<Item = &'a mut FormatError>,
    ) -> Result<(), BoxedError> {
        let errors = errors.filter(|error| error.class == ErrorClass::Unsupported);
        let unsupported: Vec<&mut FormatError> = errors.collect();
        if unsupported.is_empty() || self.is_as_written()? {
            return Ok(());
        }
        for error in unsupported {
            error.class = ErrorClass::Inconsistent;
            error.detail = format!(
                "{}; no kbk wrote that: the BLAKE3 hash of the object is not the one that its row states",
                error.detail.split("; ").next().unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Returns whether the object has the hash that its row states. Reads all of it, in parts.
    fn is_as_written(&self) -> Result<bool, BoxedError> {
        let store = self.repository.store();
        let mut object = ObjectReader::open(store, &self.entry.key, &self.runtime)?;
        let mut hasher = SegmentHasher::new();
        let part = |at: u64| {
            let end = at.saturating_add(store.profile().range_bytes);
            at..end.min(self.entry.size)
        };
        let mut range = part(0);
        while !range.is_empty() {
            let next = part(range.end);
            hasher.update(object.read(range, std::iter::once(next.clone()))?);
            range = next;
        }
        Ok(hasher.hash() == self.entry.blake3)
    }

    fn other_hash(&self, found: SegmentHash) -> Option<Finding> {
        let expected = self.entry.blake3;
        let message = format!("its BLAKE3 hash is {found}, and its row says {expected}");
        (found != expected).then(|| Finding::new(FindingKind::OtherDigest, message))
    }

    /// Reports why the segment cannot be opened, and which of its offsets are lost.
    fn unopened(&self, error: &RepoError) -> Vec<Finding> {
        let mut finding = Finding::of_error(
            error,
            FindingKind::DamagedSegment,
            FindingKind::MissingSegment,
        );
        if self.depth == VerifyDepth::Index {
            return vec![finding];
        }
        let size = match error.kind() {
            RepoErrorKind::Damaged(Damage::Size { found, .. }) => *found,
            RepoErrorKind::Damaged(Damage::Segment(error)) => {
                let mut settled = error.clone();
                if let Err(error) = self.settle(std::iter::once(&mut settled)) {
                    return vec![finding, unreadable(&error)];
                }
                if settled != *error {
                    let key = finding.key.take();
                    finding = Finding::of_format_error(&settled, FindingKind::DamagedSegment);
                    finding.key = key;
                }
                self.entry.footer_position
            }
            _ => return vec![finding],
        };
        let store = self.repository.store();
        let Ok(mut object) = ObjectReader::open(store, &self.entry.key, &self.runtime) else {
            return vec![finding];
        };
        if let Some(other) = salvage::segment_id(&mut object, size).map(Hex)
            && other != self.entry.segment_id
        {
            let message = format!(
                "its segment id is {other}, and its row names segment {}",
                self.entry.segment_id
            );
            return vec![Finding::new(FindingKind::OtherSegment, message)];
        }
        let size = size.min(self.entry.footer_position);
        match salvage::salvage(&self.entry, &mut object, size, &*self.events) {
            Ok(lost) => [vec![finding], lost].concat(),
            Err(error) => vec![finding, unreadable(&error)],
        }
    }
}

fn unreadable(error: &BoxedError) -> Finding {
    Finding::new(FindingKind::Unreadable, error.to_string())
}
