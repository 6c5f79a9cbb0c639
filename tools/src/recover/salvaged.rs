//! What is left of one damaged segment: in its own object, in a copy of it, and in other segments of another repository.

use std::ops::Range;
use std::sync::Arc;

use kbk_format::repo::{BoxedError, Operation, PartitionId, RepoError, Repository, SegmentEntry};
use kbk_format::salvage::{DecodedBlocks, Known, Loss, Part, Piece, count_blocks, sums};
use kbk_format::{Digests, FormatError, GapReason, Salvage, TimestampType};

use super::donor::{Donor, DonorPartition};
use super::object::{ObjectBytes, fetch};
use super::ranges::Offsets;
use crate::task::joined;

/// Bytes that are read of an object beyond the size that its row states: it may have been lengthened.
const MORE_BYTES: u64 = 64 << 20;

/// What is left of a segment. Clones share the bytes.
pub(super) struct Salvaged {
    /// What its own object and a copy of it prove.
    own: Arc<Source>,
    /// What fills the offsets that are lost of it.
    fills: Vec<Fill>,
    /// Offsets that nothing has.
    pub(super) lost: Offsets,
    /// Those that an earlier recovery had lost, as the snapshot states it.
    pub(super) lost_before: Offsets,
    /// Number of the records that are there.
    pub(super) records: u64,
    /// Their digests.
    pub(super) digests: Digests,
    /// Whether the rows prove that no record is missing.
    pub(super) is_whole: bool,
    /// Whether there is no object of its name.
    pub(super) is_missing: bool,
    /// Why a source was not used.
    pub(super) refused: Vec<String>,
}

/// Where else a segment may be than under its name.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// Objects of the same repository that are this segment under other names.
    pub(super) displaced: &'a [String],
    /// Another repository.
    pub(super) donor: Option<(&'a Donor, &'a DonorPartition)>,
}

/// Objects that are copies of one segment, and what they prove.
pub(super) struct Source {
    pub(super) salvage: Salvage,
    pub(super) copies: Vec<Arc<ObjectBytes>>,
    /// Their locations: `None` for the repository that is recovered.
    pub(super) from: Vec<(Option<String>, String)>,
}

/// A segment of another repository, and which offsets are taken of it.
struct Fill {
    source: Arc<Source>,
    offsets: Offsets,
    /// Whether it is proved that both are the same log up to there. Otherwise the row of the segment has to prove it.
    is_certain: bool,
}

/// What was taken from an object.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// The other repository; `None` for the one that is recovered.
    pub(super) repository: Option<String>,
    pub(super) key: String,
    pub(super) blocks: u64,
}

impl Source {
    pub(super) fn slices(&self) -> Vec<&[u8]> {
        self.copies.iter().map(|copy| &***copy).collect()
    }

    /// Returns the copy that a piece was found in.
    fn bytes(&self, piece: &Piece) -> &[u8] {
        let copy = self.copies.get(piece.copy);
        copy.map_or(&[][..], |copy| &***copy)
    }
}

impl Salvaged {
    /// Searches everything that may have records of a segment. `stated` are its records and the sum of their content digests before it was
    /// damaged, where rows state them.
    pub(super) async fn of(
        repository: &Repository,
        (id, entry): (&PartitionId, &SegmentEntry),
        lost_before: &Offsets,
        stated: Option<(u64, Option<u128>)>,
        Places { displaced, donor }: Places<'_>,
    ) -> Result<Salvaged, RepoError> {
        let limit = entry.size.saturating_add(MORE_BYTES);
        let mut copies = Vec::new();
        let mut from = Vec::new();
        if let Some(bytes) = fetch(repository.store(), &entry.key, limit).await? {
            copies.push(Arc::new(bytes));
            from.push((None, entry.key.clone()));
        }
        let is_missing = copies.is_empty();
        for key in displaced {
            if let Some(bytes) = fetch(repository.store(), key, limit).await? {
                copies.push(Arc::new(bytes));
                from.push((None, key.clone()));
            }
        }
        let is_copy = |it: &&SegmentEntry| {
            it.segment_id == entry.segment_id && it.base_offset == entry.base_offset
        };
        let mut missing_copy = None;
        if let Some((donor, partition)) = donor
            && let Some(copy) = partition.entries.iter().find(is_copy)
        {
            match fetch_of(donor, copy, limit).await? {
                Ok(bytes) => {
                    copies.push(Arc::new(bytes));
                    from.push((Some(donor.url().to_owned()), copy.key.clone()));
                }
                Err(why) => missing_copy = Some((donor, copy, why)),
            }
        }
        let known = Known {
            salt: entry.segment_id.0.first_chunk().copied(),
            timestamp_type: Some(entry.timestamp_type),
            coverage: Some(entry.base_offset..entry.end_offset),
        };
        let own = search(repository, entry, copies, known).await?;
        let mut salvaged = Salvaged::of_source(Source { from, ..own }, id, lost_before.clone());
        salvaged.is_missing = is_missing;
        if let Some((donor, copy, why)) = missing_copy {
            salvaged.refuse(donor, copy, &why);
        }
        if let Some((donor, partition)) = donor {
            salvaged.fill(entry, donor, partition).await?;
        }
        salvaged.finish(repository, entry, stated).await
    }

    fn of_source(mut own: Source, id: &PartitionId, lost_before: Offsets) -> Salvaged {
        // A header of another partition says nothing about this one.
        let is_other = own.salvage.header.as_ref().is_some_and(|header| {
            (&*header.topic, header.topic_id, header.partition)
                != (&*id.topic, id.topic_id.0, id.partition)
        });
        if is_other {
            own.salvage.header = None;
        }
        let losses = own.salvage.losses.iter();
        let losses = losses.map(|loss| loss.offsets.base_offset..loss.offsets.end_offset);
        Salvaged {
            // The footer may be gone that names what was lost before.
            lost: Offsets::of(losses.chain(lost_before.iter())),
            lost_before,
            own: Arc::new(own),
            fills: Vec::new(),
            records: 0,
            digests: Digests::default(),
            is_whole: false,
            is_missing: false,
            refused: Vec::new(),
        }
    }

    /// Fills what is lost from segments of another repository that have these offsets.
    async fn fill(
        &mut self,
        entry: &SegmentEntry,
        donor: &Donor,
        partition: &DonorPartition,
    ) -> Result<(), RepoError> {
        for other in &partition.entries {
            let range = Offsets::one(other.base_offset..other.end_offset);
            if self.lost.and(&range).is_empty() || other.segment_id == entry.segment_id {
                continue;
            }
            if other.timestamp_type != entry.timestamp_type {
                self.refuse(donor, other, "its timestamps are of another type");
                continue;
            }
            let limit = other.size.saturating_add(MORE_BYTES);
            let bytes = match fetch_of(donor, other, limit).await? {
                Ok(bytes) => bytes,
                Err(why) => {
                    self.refuse(donor, other, &why);
                    continue;
                }
            };
            let known = Known {
                salt: other.segment_id.0.first_chunk().copied(),
                timestamp_type: Some(other.timestamp_type),
                coverage: Some(other.base_offset..other.end_offset),
            };
            let from = vec![(Some(donor.url().to_owned()), other.key.clone())];
            let found = search(&donor.repository, other, vec![Arc::new(bytes)], known).await?;
            let found = Arc::new(Source { from, ..found });
            let mut certain = match partition.is_same {
                true => i64::MAX,
                false => partition.agreed_end,
            };
            if partition.agreed_end < entry.end_offset {
                let (ours, theirs) = (Arc::clone(&self.own), Arc::clone(&found));
                let compared = tokio::task::spawn_blocking(move || {
                    // Only where one of them states that it lost or removed the record, the other may have it.
                    let is_gone =
                        |reason| matches!(reason, GapReason::Damaged | GapReason::Compacted);
                    agreement(&ours, &theirs, |_, _, reason| is_gone(reason))
                });
                let failed = |source| unreadable(&donor.repository, &other.key, source);
                let compared = joined(compared.await).map_err(failed)?;
                match compared.map_err(|error| failed(error.into()))? {
                    Agreement::Contradictory(offset) => {
                        let refused = format!("it has another record at offset {offset}");
                        self.refuse(donor, other, &refused);
                        continue;
                    }
                    Agreement::Equal(last) => certain = certain.max(last.unwrap_or(0)),
                }
            }
            let certain = Offsets::one(i64::MIN..certain);
            let theirs = Arc::clone(&found);
            let known = tokio::task::spawn_blocking(move || known_offsets(&theirs));
            let failed = |source| unreadable(&donor.repository, &other.key, source);
            let known = joined(known.await).map_err(failed)?;
            let known = known.map_err(|error| failed(error.into()))?;
            let offsets = self.lost.and(&known);
            if offsets.is_empty() {
                let why = "what is lost here was lost or removed there, too";
                self.refuse(donor, other, why);
            }
            self.lost = self.lost.without(&offsets);
            let source = found;
            for (offsets, is_certain) in [
                (offsets.and(&certain), true),
                (offsets.without(&certain), false),
            ] {
                if !offsets.is_empty() {
                    self.fills.push(Fill {
                        source: Arc::clone(&source),
                        offsets,
                        is_certain,
                    });
                }
            }
        }
        self.explain_rest(entry, donor, partition);
        Ok(())
    }

    /// Says why nothing else fills what is left, where the other repository has no other segments of these offsets.
    fn explain_rest(&mut self, entry: &SegmentEntry, donor: &Donor, partition: &DonorPartition) {
        let covered = partition.entries.iter();
        let covered = Offsets::of(covered.map(|it| it.base_offset..it.end_offset));
        let copies = partition.entries.iter();
        let copies = copies.filter(|it| it.segment_id == entry.segment_id);
        let copied = Offsets::of(copies.map(|it| it.base_offset..it.end_offset));
        let url = donor.url();
        if let Some(first) = self.lost.without(&covered).spans().first() {
            let message = format!(
                "{url} does not have {first} of what is lost of {}",
                entry.key
            );
            self.refused.push(message);
        }
        if self.refused.is_empty()
            && let Some(first) = self.lost.and(&copied).spans().first()
        {
            let message = format!("{} of {url} is damaged at {first}, too", entry.key);
            self.refused.push(message);
        }
    }

    fn refuse(&mut self, donor: &Donor, entry: &SegmentEntry, why: &str) {
        let (url, key) = (donor.url(), &entry.key);
        self.refused
            .push(format!("{key} of {url} was not used: {why}"));
    }

    /// Adds up what is there, and compares it with what rows state.
    async fn finish(
        mut self,
        repository: &Repository,
        entry: &SegmentEntry,
        stated: Option<(u64, Option<u128>)>,
    ) -> Result<Salvaged, RepoError> {
        self = self.summed(repository, entry).await?;
        // A row without a digest states the number of records, and each batch that was found has proved itself.
        let is_stated = |it: &Salvaged| {
            stated.is_some_and(|(records, digest)| {
                records == it.records && digest.is_none_or(|digest| digest == it.digests.content)
            })
        };
        // As many records of what may be another log prove nothing.
        let is_proved =
            |it: &Salvaged| is_stated(it) && stated.is_some_and(|(_, digest)| digest.is_some());
        if !is_proved(&self) && self.fills.iter().any(|fill| !fill.is_certain) {
            let why = "nothing proves that it is of the same log";
            self.drop_fills(|fill| !fill.is_certain, why);
            self = self.summed(repository, entry).await?;
        }
        let is_first_loss = self.lost_before.is_empty();
        if is_first_loss && self.lost.is_empty() && !is_stated(&self) && !self.fills.is_empty() {
            let why = "together with what is left here, it is not what the index states";
            self.drop_fills(|_| true, why);
            self = self.summed(repository, entry).await?;
        }
        // What the segment had before an earlier recovery may not be known any more.
        self.is_whole = is_stated(&self) || (!is_first_loss && self.lost.is_empty());
        if self.is_whole {
            self.lost = Offsets::default();
        }
        Ok(self)
    }

    /// Leaves out what was taken, so that it is lost again.
    fn drop_fills(&mut self, which: impl Fn(&Fill) -> bool, why: &str) {
        let (dropped, kept) = std::mem::take(&mut self.fills)
            .into_iter()
            .partition::<Vec<Fill>, _>(which);
        self.fills = kept;
        let offsets = dropped.iter().flat_map(|fill| fill.offsets.iter());
        self.lost = Offsets::of(self.lost.iter().chain(offsets));
        let mut keys: Vec<&String> = dropped
            .iter()
            .flat_map(|fill| fill.source.from.iter().map(|(_, key)| key))
            .collect();
        keys.dedup();
        let refused = keys
            .into_iter()
            .map(|key| format!("{key} was not used: {why}"));
        self.refused.extend(refused.collect::<Vec<_>>());
    }

    async fn summed(
        self,
        repository: &Repository,
        entry: &SegmentEntry,
    ) -> Result<Salvaged, RepoError> {
        let timestamp_type = entry.timestamp_type;
        let summed = tokio::task::spawn_blocking(move || {
            let sums = self.with_parts(|parts| sums(parts, timestamp_type));
            (self, sums)
        });
        let failed = |source| unreadable(repository, &entry.key, source);
        let (mut salvaged, sums) = joined(summed.await).map_err(failed)?;
        (salvaged.records, salvaged.digests) = sums.map_err(|error| failed(error.into()))?;
        Ok(salvaged)
    }

    /// Returns whether nothing is lost of what its bytes state, and the row states something else.
    pub(super) fn contradicts_row(&self) -> bool {
        self.lost.is_empty() && !self.is_whole
    }

    /// Returns whether something was found that an earlier recovery had lost.
    pub(super) fn is_filled(&self) -> bool {
        !self.fills.is_empty()
    }

    /// Calls a function with the parts of the new segment, in order.
    pub(super) fn with_parts<T>(&self, work: impl FnOnce(&[Part<'_>]) -> T) -> T {
        let own = self.own.slices();
        let fills: Vec<Vec<&[u8]>> = self.fills.iter().map(|fill| fill.source.slices()).collect();
        let mut parts = Vec::new();
        let coverage = Offsets::one(self.own.salvage.coverage());
        let filled = self.fills.iter().flat_map(|fill| fill.offsets.iter());
        let filled = Offsets::of(filled);
        // Its own blocks say of what was lost before that it is damaged, which it may be no more.
        let rest = coverage
            .without(&filled)
            .without(&self.lost)
            .without(&self.lost_before);
        let taken = rest.iter().map(|offsets| Part {
            salvage: &self.own.salvage,
            copies: &own,
            offsets,
        });
        parts.extend(taken);
        for (fill, copies) in self.fills.iter().zip(&fills) {
            parts.extend(fill.offsets.iter().map(|offsets| Part {
                salvage: &fill.source.salvage,
                copies,
                offsets,
            }));
        }
        parts.sort_by_key(|part| part.offsets.start);
        work(&parts)
    }

    /// Returns what its own objects prove.
    pub(super) fn own(&self) -> &Salvage {
        &self.own.salvage
    }

    /// Returns the number of bytes that were searched.
    pub(super) fn searched(&self) -> u64 {
        let fills = self.fills.iter().map(|fill| &*fill.source);
        let copies = std::iter::once(&*self.own).chain(fills);
        let bytes = copies.flat_map(|source| source.copies.iter().map(|it| it.len() as u64));
        bytes.fold(0, u64::saturating_add)
    }

    /// Returns which losses are left, each cut to the offsets that nothing else has.
    pub(super) fn losses(&self) -> Vec<Loss> {
        let mut left = Vec::new();
        for loss in &self.own.salvage.losses {
            let all = loss.offsets.base_offset..loss.offsets.end_offset;
            let offsets = Offsets::one(all.clone()).and(&self.lost);
            left.extend(offsets.iter().map(|part| Loss {
                records: loss.records.filter(|_| part == all),
                offsets: part.into(),
                ..loss.clone()
            }));
        }
        left
    }

    /// Returns what was taken from which object.
    pub(super) fn taken(&self) -> Vec<Taken> {
        let mut taken = Vec::new();
        for (copy, (repository, key)) in self.own.from.iter().enumerate() {
            let pieces = self.own.salvage.pieces.iter();
            let blocks = count_blocks(pieces.filter(|it| it.copy == copy));
            taken.push(Taken {
                repository: repository.clone(),
                key: key.clone(),
                blocks,
            });
        }
        for Fill {
            source, offsets, ..
        } in &self.fills
        {
            let within = |piece: &&Piece| {
                let covered = Offsets::one(piece.base_offset..piece.end_offset);
                !covered.and(offsets).is_empty()
            };
            let blocks = count_blocks(source.salvage.pieces.iter().filter(within));
            for (repository, key) in &source.from {
                taken.push(Taken {
                    repository: repository.clone(),
                    key: key.clone(),
                    blocks,
                });
            }
        }
        taken.retain(|it| it.blocks > 0);
        taken
    }
}

/// Returns the offsets of which a segment has the record, or a reason why there never was one.
fn known_offsets(source: &Source) -> Result<Offsets, FormatError> {
    let salvage = &source.salvage;
    // Without a footer, no reason is known.
    let is_gone = |reason| match reason {
        GapReason::Damaged | GapReason::Compacted => true,
        GapReason::Unknown => !salvage.has_footer,
        _ => false,
    };
    let gaps = |gone: bool| {
        let gaps = salvage.gaps().iter();
        let gaps = gaps.filter(move |gap| is_gone(gap.reason) == gone);
        Offsets::of(gaps.map(|gap| gap.from_offset..gap.to_offset))
    };
    let pieces = salvage.pieces.iter();
    let covered = Offsets::of(pieces.map(|it| it.base_offset..it.end_offset));
    if !is_gone(salvage.default_reason()) {
        return Ok(covered.without(&gaps(true)));
    }
    // Offsets without a name and without a record are gone, too.
    let mut reader = Reader::new(source);
    let mut known: Vec<Range<i64>> = gaps(false).and(&covered).iter().collect();
    for piece in &salvage.pieces {
        let offsets = reader.offsets(piece)?;
        known.extend(offsets.iter());
    }
    Ok(Offsets::of(known))
}

/// Searches copies of a segment on a thread of its own.
/// Reads an object of the other repository; the inner error is why that is of no use, for people.
async fn fetch_of(
    donor: &Donor,
    entry: &SegmentEntry,
    limit: u64,
) -> Result<Result<ObjectBytes, String>, RepoError> {
    let store = donor.repository.store();
    match fetch(store, &entry.key, limit).await {
        Ok(Some(bytes)) => Ok(Ok(bytes)),
        Ok(None) => Ok(Err("it is missing there".to_owned())),
        Err(error) if store.is_about_one_object(&error).await => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

async fn search(
    repository: &Repository,
    entry: &SegmentEntry,
    copies: Vec<Arc<ObjectBytes>>,
    known: Known,
) -> Result<Source, RepoError> {
    let searched = tokio::task::spawn_blocking(move || {
        let slices: Vec<&[u8]> = copies.iter().map(|copy| &***copy).collect();
        let salvage = Salvage::of_copies(&slices, &known);
        Source {
            salvage,
            copies,
            from: Vec::new(),
        }
    });
    joined(searched.await).map_err(|source| unreadable(repository, &entry.key, source))
}

fn unreadable(repository: &Repository, key: &str, source: BoxedError) -> RepoError {
    RepoError::of_store(Operation::Read, repository.store().url(), key, source)
}

/// How what two segments prove compares where they overlap.
pub(super) enum Agreement {
    /// Nothing differs; the offset of the last record that is in both, if there is one.
    Equal(Option<i64>),
    /// They differ at this offset.
    Contradictory(i64),
}

/// Compares the records that both have proved, offset by offset. `may_lack` says whether one of them, the first where it is true, may lack a
/// record at an offset that the other has, for the reason that it states.
pub(super) fn agreement(
    own: &Source,
    other: &Source,
    mut may_lack: impl FnMut(bool, i64, GapReason) -> bool,
) -> Result<Agreement, FormatError> {
    let (mut ours, mut theirs) = (Reader::new(own), Reader::new(other));
    let mut equal = None;
    let mut rest = other.salvage.pieces.as_slice();
    for piece in &own.salvage.pieces {
        while let Some((first, after)) = rest.split_first()
            && first.end_offset <= piece.base_offset
        {
            rest = after;
        }
        for found in rest
            .iter()
            .take_while(|it| it.base_offset < piece.end_offset)
        {
            let start = piece.base_offset.max(found.base_offset);
            let within = start..piece.end_offset.min(found.end_offset);
            let (a, b) = (
                ours.records(piece, &within)?,
                theirs.records(found, &within)?,
            );
            let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
            loop {
                let (source, offset) = match (a.peek(), b.peek()) {
                    (None, None) => break,
                    (Some(x), Some(y)) if x.0 == y.0 => {
                        if x.1 != y.1 {
                            return Ok(Agreement::Contradictory(x.0));
                        }
                        equal = Some(x.0);
                        a.next();
                        b.next();
                        continue;
                    }
                    (Some(x), Some(y)) if y.0 < x.0 => (own, y.0),
                    (Some(x), _) => (other, x.0),
                    (None, Some(y)) => (own, y.0),
                };
                let reason = source.salvage.gap_reason(offset);
                let is_own = std::ptr::eq(source, own);
                if !may_lack(is_own, offset, reason) {
                    return Ok(Agreement::Contradictory(offset));
                }
                match is_own {
                    true => drop(b.next()),
                    false => drop(a.next()),
                }
            }
        }
    }
    Ok(Agreement::Equal(equal))
}

/// Reads the digests of records out of blocks.
struct Reader<'a> {
    source: &'a Source,
    blocks: DecodedBlocks<'a>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source) -> Reader<'a> {
        Reader {
            source,
            blocks: DecodedBlocks::default(),
        }
    }

    /// Returns the offsets of the records of a piece.
    fn offsets(&mut self, piece: &Piece) -> Result<Offsets, FormatError> {
        let block = self.blocks.get(piece, self.source.bytes(piece))?;
        let within = piece.base_offset..piece.end_offset;
        let offsets = block.columns().offsets().iter().copied();
        let offsets = offsets.filter(|offset| within.contains(offset));
        Ok(Offsets::of(offsets.map(|it| it..it.saturating_add(1))))
    }

    fn records(
        &mut self,
        piece: &Piece,
        within: &Range<i64>,
    ) -> Result<Vec<(i64, u128)>, FormatError> {
        let block = self.blocks.get(piece, self.source.bytes(piece))?;
        let records = block.records(within);
        let digest = |record: kbk_format::Record<'_>| {
            let digests = Digests::of(&record, TimestampType::CreateTime);
            (record.offset, digests.content)
        };
        Ok(records.map(digest).collect())
    }
}
