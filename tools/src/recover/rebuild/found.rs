//! What an object proves by itself: nothing vouches for it but its own checksums and its name.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use kbk_format::layout::{FILE_MAGIC, limits};
use kbk_format::repo::{
    FoundSegment, Hex, Key, ListedObject, Operation, PartitionId, RepoError, Repository,
    SegmentEntry, Store,
};
use kbk_format::salvage::Known;
use kbk_format::{
    BlockDecoder, Columns, ErrorClass, FileHeader, FormatError, GapReason, IsolationLevel, Salvage,
    Segment, TimestampType,
};

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::super::object::fetch;
use super::super::ranges::Offsets;
use super::super::salvaged::Source;
use super::report::{Fate, OtherFile};
use crate::task::joined;
use crate::verify::{UnindexedSegment, UnindexedSegmentError};

/// Objects that are kept in memory, or mapped, after they were searched.
const LOADED: usize = 4;

/// An object with records of a partition, or with offsets that had none.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) key: String,
    pub(super) bytes: u64,
    /// The first 8 bytes of its segment id, as its name has them.
    salt: [u8; 8],
    /// Its row, if every byte of it is intact; what a snapshot states of it, where one names it.
    pub(super) entry: Option<Box<SegmentEntry>>,
    /// Whether the base names it.
    pub(super) is_stated: bool,
    /// Whether it has the name of another segment, so that no snapshot can name it as it is.
    pub(super) is_stray: bool,
    /// From the first offset that it is of to the exclusive end of what is known of it.
    pub(super) coverage: Range<i64>,
    /// Whether nothing was after that end.
    pub(super) is_end_known: bool,
    /// The offsets of which it proves what was there.
    pub(super) offsets: Offsets,
    /// Of these, those that the source had deleted before they were read.
    pub(super) deleted: Offsets,
    /// How many records were removed by key.
    pub(super) compacted: u64,
    pub(super) records: u64,
    pub(super) timestamp_type: Option<TimestampType>,
    pub(super) isolation_level: IsolationLevel,
    pub(super) cluster_id: Option<String>,
    /// When it was begun, in milliseconds since the epoch, if its header is left and says so.
    pub(super) created_ms: Option<i64>,
    /// What is wrong with it, for people.
    pub(super) damage: Option<String>,
}

/// What was found out about an object.
#[derive(Debug)]
pub(super) enum Inspected {
    Node(Box<Node>),
    /// It is a segment of this partition, under the name of another one.
    Stray(PartitionId),
    /// Nothing of it can be used, and why, for people.
    Unusable(Fate, String),
}

impl Node {
    /// A segment that a snapshot names. It is not read.
    pub(super) fn stated(entry: &SegmentEntry) -> Node {
        Node {
            key: entry.key.clone(),
            bytes: entry.size,
            salt: entry
                .segment_id
                .0
                .first_chunk()
                .copied()
                .unwrap_or_default(),
            is_stated: true,
            is_stray: false,
            coverage: entry.base_offset..entry.end_offset,
            is_end_known: true,
            offsets: Offsets::one(entry.base_offset..entry.end_offset),
            deleted: Offsets::default(),
            compacted: 0,
            records: entry.records,
            timestamp_type: Some(entry.timestamp_type),
            isolation_level: IsolationLevel::ReadCommitted,
            cluster_id: None,
            created_ms: None,
            damage: None,
            entry: Some(Box::new(entry.clone())),
        }
    }

    fn intact(entry: SegmentEntry, segment: &Segment, salt: [u8; 8]) -> Node {
        let header = segment.header();
        let gaps = segment.gaps();
        let named = |reason: GapReason| {
            let named = gaps.entries.iter().filter(move |gap| gap.reason == reason);
            Offsets::of(named.map(|gap| gap.from_offset..gap.to_offset))
        };
        let coverage = entry.base_offset..entry.end_offset;
        Node {
            key: entry.key.clone(),
            bytes: entry.size,
            salt,
            is_stated: false,
            is_stray: false,
            offsets: Offsets::one(coverage.clone()).without(&named(GapReason::Damaged)),
            coverage,
            is_end_known: true,
            deleted: named(GapReason::Lost),
            compacted: gaps.offsets(GapReason::Compacted),
            records: entry.records,
            timestamp_type: Some(entry.timestamp_type),
            isolation_level: header.isolation_level,
            cluster_id: header.cluster_id.clone(),
            created_ms: header.created_at,
            damage: None,
            entry: Some(Box::new(entry)),
        }
    }

    /// What is left of a damaged one.
    fn damaged(
        object: &ListedObject,
        (base_offset, salt): (i64, [u8; 8]),
        salvage: &Salvage,
        damage: String,
    ) -> Node {
        let named = |reason: GapReason| {
            let named = salvage
                .gaps()
                .iter()
                .filter(move |gap| gap.reason == reason);
            Offsets::of(named.map(|gap| gap.from_offset..gap.to_offset))
        };
        let pieces = salvage.pieces.iter();
        let proved = Offsets::of(pieces.map(|it| it.base_offset..it.end_offset));
        let end = proved.iter().last().map_or(base_offset, |last| last.end);
        let header = salvage.header.as_ref();
        Node {
            key: object.key.to_string(),
            bytes: object.bytes,
            salt,
            entry: None,
            is_stated: false,
            is_stray: false,
            coverage: base_offset..end.max(salvage.end.offset),
            is_end_known: salvage.end.is_proved,
            deleted: named(GapReason::Lost).and(&proved),
            compacted: named(GapReason::Compacted).and(&proved).count(),
            offsets: proved.without(&named(GapReason::Damaged)),
            records: salvage.records(),
            timestamp_type: salvage.timestamp_type,
            isolation_level: header.map_or(IsolationLevel::ReadCommitted, |it| it.isolation_level),
            cluster_id: header.and_then(|it| it.cluster_id.clone()),
            created_ms: header.and_then(|it| it.created_at),
            damage: Some(damage),
        }
    }

    /// Takes the default reason of its gaps into account, for offsets that `unnamed` finds.
    fn without(
        &mut self,
        reason: GapReason,
        unnamed: impl FnOnce() -> Result<Offsets, FormatError>,
    ) -> Result<(), FormatError> {
        match reason {
            GapReason::Damaged => self.offsets = self.offsets.without(&unnamed()?),
            GapReason::Lost => {
                let all = self.deleted.iter().collect::<Vec<_>>();
                self.deleted = Offsets::of(all.into_iter().chain(unnamed()?.iter()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the offsets within its coverage of which it proves nothing.
    pub(super) fn lost(&self) -> Offsets {
        Offsets::one(self.coverage.clone()).without(&self.offsets)
    }
}

/// Reads an object, all bytes of it, and finds out what it proves.
///
/// # Errors
///
/// If the store does not return it: nothing is called damaged because a store has a bad moment.
pub(super) async fn inspect(
    repository: &Repository,
    id: &PartitionId,
    object: &ListedObject,
) -> Result<Inspected, RepoError> {
    let Key::Segment {
        base_offset,
        id: Hex(salt),
        ..
    } = &object.key
    else {
        let detail = "it is not a segment".to_owned();
        return Ok(Inspected::Unusable(Fate::Unreadable, detail));
    };
    inspect_as(repository, id, object, Some((*base_offset, *salt))).await
}

/// Reads an object that is a segment of a partition under the name of another one.
///
/// # Errors
///
/// As [`inspect`].
pub(super) async fn inspect_stray(
    repository: &Repository,
    id: &PartitionId,
    object: &ListedObject,
) -> Result<Inspected, RepoError> {
    inspect_as(repository, id, object, None).await
}

/// Reads an object as the segment with this first offset and salt, or as the one that its header states.
async fn inspect_as(
    repository: &Repository,
    id: &PartitionId,
    object: &ListedObject,
    named: Option<(i64, [u8; 8])>,
) -> Result<Inspected, RepoError> {
    if object.bytes == 0 {
        // No range of it can be asked for.
        let detail = "it has no bytes".to_owned();
        return Ok(Inspected::Unusable(Fate::Unreadable, detail));
    }
    let mut stated = named;
    let base_offset = named.map_or(0, |(base_offset, _)| base_offset);
    let found = FoundSegment {
        key: object.key.clone(),
        base_offset,
        size: object.bytes,
    };
    let mut is_later = false;
    let opened = match UnindexedSegment::open(repository.store(), &found).await {
        Ok(opened) => {
            let header = opened.segment().header();
            let (base_offset, salt) = *stated.get_or_insert((header.base_offset, header.salt()));
            if let Some(detail) = misplaced(header, id, base_offset, salt) {
                let other = partition_of(header).filter(|_| named.is_some());
                return Ok(match other {
                    Some(other) => Inspected::Stray(other),
                    None => Inspected::Unusable(Fate::Misplaced, detail),
                });
            }
            if opened.segment().coverage().is_empty() {
                let detail = "it covers no offsets".to_owned();
                return Ok(Inspected::Unusable(Fate::Empty, detail));
            }
            let segment = opened.segment().clone();
            match opened.check(id.clone()).await {
                Ok(entry) => {
                    let mut node = Node::intact(entry, &segment, salt);
                    // Its row has the name that it should have.
                    node.key = object.key.to_string();
                    node.is_stray = named.is_none();
                    let (reason, count) = (segment.gaps().default_reason, segment.gaps().unnamed());
                    return unnamed(repository, node, reason, count).await;
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    let damage = match opened {
        Ok(inspected) => return Ok(inspected),
        Err(UnindexedSegmentError::Repo(error)) => return Err(error),
        Err(UnindexedSegmentError::Damaged(error))
            if error.class == ErrorClass::Unsupported && !is_major(&error) =>
        {
            return Ok(Inspected::Unusable(Fate::Unsupported, error.to_string()));
        }
        Err(UnindexedSegmentError::Damaged(error)) if error.class == ErrorClass::Unsupported => {
            is_later = true;
            error.to_string()
        }
        Err(error) => error.to_string(),
    };
    let salt = stated.map(|(_, salt)| salt);
    let Some(source) = search(repository, &object.key.to_string(), object.bytes, salt).await?
    else {
        let detail = "it was removed while it was read".to_owned();
        return Ok(Inspected::Unusable(Fate::Unreadable, detail));
    };
    let salvage = &source.salvage;
    // Nothing of it is of the segment that its name states: it may be the one that its header states.
    if named.is_some() && salvage.pieces.is_empty() && salvage.header.is_none() {
        let found = search(repository, &object.key.to_string(), object.bytes, None).await?;
        let header = found.and_then(|found| found.salvage.header);
        if let Some(other) = header.as_ref().and_then(partition_of) {
            return Ok(Inspected::Stray(other));
        }
    }
    // Header and trailer state the same major: where one of them is valid with a known one, that of the other one is damaged.
    if is_later && salvage.header.is_none() {
        return Ok(Inspected::Unusable(Fate::Unsupported, damage));
    }
    // Of one under the name of another, the header says what the footer would.
    let of_header = salvage.header.as_ref();
    let of_header = of_header.map(|header| (header.base_offset, header.salt()));
    let of_header = of_header.filter(|(_, of_header)| {
        let of_blocks = salvage.salt.map(|(salt, _)| salt);
        of_blocks == Some(*of_header)
    });
    let Some((base_offset, salt)) = stated.or(of_header) else {
        return Ok(Inspected::Unusable(Fate::Unreadable, damage));
    };
    if let Some(header) = &salvage.header
        && let Some(detail) = misplaced(header, id, base_offset, salt)
    {
        let other = partition_of(header).filter(|_| named.is_some());
        return Ok(match other {
            Some(other) => Inspected::Stray(other),
            None => Inspected::Unusable(Fate::Misplaced, detail),
        });
    }
    let damage = match (&salvage.header, named) {
        (Some(header), None) => format!(
            "{damage}; its header states that it is {}",
            Key::segment(id, header.base_offset, &Hex(header.segment_id))
        ),
        _ => damage,
    };
    let mut node = Node::damaged(object, (base_offset, salt), salvage, damage.clone());
    node.is_stray = named.is_none();
    node.without(salvage.default_reason(), || unnamed_gaps(&source))
        .map_err(|error| changed(repository, &node.key, error))?;
    match node.offsets.is_empty() || node.coverage.start < 0 {
        true => Ok(Inspected::Unusable(Fate::Unreadable, damage)),
        false => Ok(Inspected::Node(Box::new(node))),
    }
}

/// Returns whether an error is about the major version of a segment, which no checksum proves before it is known.
fn is_major(error: &FormatError) -> bool {
    ["trailer", "file header"].contains(&error.what)
}

/// Leaves out what an intact segment states as damaged without naming each offset: nobody writes such a segment, and it may be there.
async fn unnamed(
    repository: &Repository,
    mut node: Node,
    reason: GapReason,
    count: u64,
) -> Result<Inspected, RepoError> {
    if count > 0 && matches!(reason, GapReason::Damaged | GapReason::Lost) {
        let found = search(repository, &node.key, node.bytes, Some(node.salt)).await?;
        let source = found.ok_or_else(|| {
            let detail = "it was removed while it was read".to_owned();
            repository.store().damaged(&node.key, detail)
        })?;
        node.without(reason, || unnamed_gaps(&source))
            .map_err(|error| changed(repository, &node.key, error))?;
    }
    Ok(Inspected::Node(Box::new(node)))
}

fn changed(repository: &Repository, key: &str, error: FormatError) -> RepoError {
    RepoError::of_store(Operation::Read, repository.store().url(), key, error.into())
}

/// Returns the offsets of intact blocks without a record and without a named reason.
fn unnamed_gaps(source: &Source) -> Result<Offsets, FormatError> {
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let slices = source.slices();
    let mut gaps = Vec::new();
    for piece in &source.salvage.pieces {
        let bytes = slices.get(piece.copy).copied().unwrap_or_default();
        piece.decode(bytes, &mut decoder, &mut columns)?;
        let mut at = piece.base_offset;
        for offset in columns.offsets() {
            gaps.push(at..*offset);
            at = offset.saturating_add(1);
        }
        gaps.push(at..piece.end_offset);
    }
    let named = source.salvage.gaps().iter();
    let named = Offsets::of(named.map(|gap| gap.from_offset..gap.to_offset));
    Ok(Offsets::of(gaps).without(&named))
}

/// Returns the partition that a header states, unless nothing can have that name.
fn partition_of(header: &FileHeader) -> Option<PartitionId> {
    Some(PartitionId {
        topic: header.topic.parse().ok()?,
        topic_id: Hex(header.topic_id),
        partition: header.partition,
    })
}

/// Says what a segment is that is not the one of its name.
fn misplaced(
    header: &FileHeader,
    id: &PartitionId,
    base_offset: i64,
    salt: [u8; 8],
) -> Option<String> {
    let is_own = (&*header.topic, header.topic_id, header.partition)
        == (&*id.topic, id.topic_id.0, id.partition);
    if is_own && header.base_offset == base_offset && header.salt() == salt {
        return None;
    }
    let name = match partition_of(header) {
        Some(other) => {
            Key::segment(&other, header.base_offset, &Hex(header.segment_id)).to_string()
        }
        None => format!("a segment of {:?}", header.topic),
    };
    Some(format!("its header states that it is {name}"))
}

/// Finds the files in `data` whose names no segment has, and says which of them are segments.
///
/// # Errors
///
/// The error of the store.
pub(super) async fn other_files(repository: &Repository) -> Result<Vec<OtherFile>, RepoError> {
    let mut found = Vec::new();
    for (file, bytes) in repository.other_files().await? {
        let mut other = OtherFile {
            file,
            bytes,
            is_segment: false,
            stated_key: None,
        };
        let read = beginning(repository.store(), &other.file, bytes).await?;
        other.is_segment = read.starts_with(&FILE_MAGIC);
        let header = FileHeader::decode(&read).ok();
        other.stated_key = header.and_then(|(header, _)| {
            let id = partition_of(&header)?;
            let key = Key::segment(&id, header.base_offset, &Hex(header.segment_id));
            Some(key.to_string())
        });
        found.push(other);
    }
    Ok(found)
}

/// Reads the beginning of a file whose name may be any; nothing if it is gone, or if its name is none that a store takes.
async fn beginning(store: &Store, file: &str, bytes: u64) -> Result<Vec<u8>, RepoError> {
    let most = bytes.min(limits::FILE_HEADER_LENGTH as u64);
    let failed = |source| RepoError::of_store(Operation::Read, store.url(), file, source);
    if let Some(root) = store.folder() {
        let path = root.join(file);
        let read = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            std::fs::File::open(path)?
                .take(most)
                .read_to_end(&mut read)?;
            Ok::<_, std::io::Error>(read)
        });
        return match joined(read.await).map_err(failed)? {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|error| failed(error.into())),
        };
    }
    let Ok(path) = Path::parse(file) else {
        return Ok(Vec::new());
    };
    if most == 0 {
        return Ok(Vec::new());
    }
    match store.objects().get_range(&path, 0..most).await {
        Ok(read) => Ok(read.to_vec()),
        Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(failed(error.into())),
    }
}

/// Searches an object for the blocks of the segment with this salt, or of the one that it says it is.
async fn search(
    repository: &Repository,
    key: &str,
    bytes: u64,
    salt: Option<[u8; 8]>,
) -> Result<Option<Source>, RepoError> {
    let Some(object) = fetch(repository.store(), key, bytes).await? else {
        return Ok(None);
    };
    let object = Arc::new(object);
    let searched = tokio::task::spawn_blocking(move || {
        let known = Known {
            salt,
            ..Known::default()
        };
        Source {
            salvage: Salvage::of(&object, &known),
            copies: vec![object],
            from: Vec::new(),
        }
    });
    let failed =
        |source| RepoError::of_store(Operation::Read, repository.store().url(), key, source);
    joined(searched.await).map(Some).map_err(failed)
}

/// Objects that were searched for their blocks, the last few of them.
pub(super) struct Loader<'a> {
    repository: &'a Repository,
    loaded: VecDeque<(String, Arc<Source>)>,
    /// The segments of the base that the store does not return, by key, and why. The others are known to be readable.
    pub(super) unread: BTreeMap<String, String>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(repository: &'a Repository) -> Loader<'a> {
        Loader {
            repository,
            loaded: VecDeque::new(),
            unread: BTreeMap::new(),
        }
    }

    /// Searches an object; `None` where it is gone, or one of the base that cannot be read.
    pub(super) async fn load(&mut self, node: &Node) -> Result<Option<Arc<Source>>, RepoError> {
        let mut loaded = self.loaded.iter();
        if let Some((_, source)) = loaded.find(|(key, _)| *key == node.key) {
            return Ok(Some(Arc::clone(source)));
        }
        let found = match search(self.repository, &node.key, node.bytes, Some(node.salt)).await {
            Err(error)
                if node.is_stated && self.repository.store().is_about_one_object(&error).await =>
            {
                self.unread.insert(node.key.clone(), error.to_string());
                None
            }
            found => found?,
        };
        Ok(found.map(|source| {
            let source = Arc::new(source);
            if self.loaded.len() == LOADED {
                self.loaded.pop_front();
            }
            self.loaded
                .push_back((node.key.clone(), Arc::clone(&source)));
            source
        }))
    }
}
