//! Damage, and what is left after it by the block indexes of the originals.

use std::collections::BTreeMap;
use std::ops::Range;

use kbk_format::Segment;
use kbk_format::batch::RecordBatches;
use kbk_format::block::{BlockHeader, BlockKind};
use kbk_format::index::IndexEntry;
use kbk_format::repo::{PartitionId, SegmentEntry};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::compact::tests::world::{Record, World};
use crate::recover::ranges::Offsets;
use crate::testing::random::Random;

/// What is done to the segments of a repository.
pub(super) struct Harm {
    random: Random,
    /// Of ten segments, this many are damaged.
    in_ten: u64,
    /// Only this partition, of which every object is removed.
    gone: Option<PartitionId>,
}

/// The blocks that are damaged, or of those whose batches prove themselves, the damaged batches.
#[derive(Clone, Debug, Default)]
pub(super) struct Harmed {
    /// Of each partition, by segment: the offsets of the blocks or batches, and how many records they have.
    segments: BTreeMap<PartitionId, Vec<HarmedSegment>>,
}

#[derive(Clone, Debug)]
struct HarmedSegment {
    blocks: Vec<(Range<i64>, u64)>,
}

impl Harm {
    pub(super) fn random(random: &mut Random) -> Harm {
        Harm {
            in_ten: 1 + random.below(6),
            random: Random::new(random.below(1 << 40)),
            gone: None,
        }
    }

    /// Damages every segment.
    pub(super) fn all(seed: u64) -> Harm {
        Harm {
            random: Random::new(seed),
            in_ten: 10,
            gone: None,
        }
    }

    pub(super) fn gone(partition: PartitionId) -> Harm {
        Harm {
            random: Random::new(0),
            in_ten: 10,
            gone: Some(partition),
        }
    }

    pub(super) async fn apply(mut self, world: &World) -> Harmed {
        let mut harmed = Harmed::default();
        for (id, entries) in world.segments().await {
            if self.gone.as_ref().is_some_and(|gone| *gone != id) {
                continue;
            }
            for entry in entries {
                if self.random.below(10) < self.in_ten {
                    let blocks = self.segment(world, &entry).await;
                    let of_partition = harmed.segments.entry(id.clone()).or_default();
                    of_partition.push(HarmedSegment { blocks });
                }
            }
        }
        harmed
    }

    /// Damages a segment, and returns its blocks and batches that are no longer there as they were.
    async fn segment(&mut self, world: &World, entry: &SegmentEntry) -> Vec<(Range<i64>, u64)> {
        let path = Path::from(entry.key.as_str());
        let original = read(world, &path).await.unwrap();
        // What a later version wrote, as it seems, was damaged before and left as it is.
        let Ok(segment) = Segment::open_whole(&original) else {
            return Vec::new();
        };
        let mut bytes = original.clone();
        let length = bytes.len();
        let at = self.random.below(length as u64) as usize;
        let end = length.min(at + 1 + self.random.below(400) as usize);
        let kind = match self.gone {
            Some(_) => 5,
            None => self.random.below(7),
        };
        match kind {
            0 => {
                for _ in 0..1 + self.random.below(6) {
                    let at = self.random.below(length as u64) as usize;
                    bytes[at] ^= 1 << self.random.below(8);
                }
            }
            1 => {
                bytes[at..end].fill(0);
            }
            2 => {
                bytes.truncate(at);
            }
            3 => {
                bytes.drain(at..end);
            }
            4 => {
                // Something else is in between.
                bytes.splice(at..at, vec![0xa5; end - at]);
            }
            5 => {
                world.objects.delete(&path).await.unwrap();
            }
            _ => {
                // Its end alone.
                let footer = segment.footer_position() as usize;
                let at = footer + self.random.below((length - footer) as u64) as usize;
                bytes[at] ^= 1;
            }
        }
        if kind == 5 {
            bytes.clear();
        } else {
            let damaged = bytes.clone().into();
            world.objects.put(&path, damaged).await.unwrap();
        }
        // The same bit may be flipped twice, and zeros take the place of zeros: what counts is whether its bytes are still there.
        let is_left = |place: &Range<usize>| is_in(&bytes, &original[place.clone()]).is_some();
        let blocks = segment.index().entries().iter();
        let blocks = blocks.map(|block| {
            let start = block.position as usize;
            (start..start + block.block_length as usize, block)
        });
        blocks
            .filter(|(place, _)| !is_left(place))
            .flat_map(|(place, block)| {
                let salt = segment.header().salt();
                let batches = damaged_batches(&original[place], (block, salt), &bytes);
                let all = (
                    block.base_offset..block.end_offset,
                    u64::from(block.record_count),
                );
                batches.unwrap_or_else(|| vec![all])
            })
            .collect()
    }
}

/// Returns where these bytes are in others.
fn is_in(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|it| it == part)
}

/// Returns the offsets and the number of records of the batches of a block that are no longer as they were; `None` where the block is of another kind,
/// or not all is left that batches state of themselves.
fn damaged_batches(
    block: &[u8],
    (entry, salt): (&IndexEntry, [u8; 8]),
    damaged: &[u8],
) -> Option<Vec<(Range<i64>, u64)>> {
    let (header, stream) = block.split_at(entry.header_length as usize);
    let length = match entry.kind {
        BlockKind::Batches => {
            let decoded = BlockHeader::decode(block, entry.position, salt).unwrap();
            decoded.meta_length()
        }
        BlockKind::Records => return None,
    };
    let there = damaged.get(is_in(damaged, header)? + header.len()..)?;
    let (stream, there) = (&stream[..length as usize], there.get(..length as usize)?);
    let (mut at, mut batches) = (0, Vec::new());
    for batch in RecordBatches::new(stream, 0) {
        // Where the block compressed them, there is no batch.
        let batch = batch.ok()?;
        let place = at..at + batch.bytes().len();
        at = place.end;
        // Up to its checksum, which covers the rest of it.
        let stated = place.start..place.start + 21;
        if there[stated.clone()] != stream[stated] {
            return None;
        }
        let (base, records) = (batch.header().base_offset, batch.header().record_count);
        let is_left = there[place.clone()] == stream[place];
        batches.push((base, u64::from(records?), is_left));
    }
    let starts = batches.iter().skip(1).map(|(base, ..)| *base);
    let ends: Vec<i64> = starts.chain([entry.end_offset]).collect();
    let mut from = entry.base_offset;
    let mut lost = Vec::new();
    for ((_, records, is_left), end) in batches.into_iter().zip(ends) {
        if !is_left {
            lost.push((from..end, records));
        }
        from = end;
    }
    Some(lost)
}

async fn read(world: &World, path: &Path) -> Option<Vec<u8>> {
    let found = world.objects.get(path).await.ok()?;
    Some(found.bytes().await.unwrap().to_vec())
}

/// Returns whether an object is the same in two worlds.
pub(super) async fn same(one: &World, other: &World, key: &str) -> bool {
    let path = Path::from(key);
    key == "snapshots/latest.json" || read(one, &path).await == read(other, &path).await
}

impl HarmedSegment {
    fn is_lossy(&self) -> bool {
        self.blocks.iter().any(|(_, records)| *records > 0)
    }
}

impl Harmed {
    fn blocks(&self, id: &PartitionId) -> Vec<Range<i64>> {
        let segments = self.segments.get(id).into_iter().flatten();
        // Where no damaged block has a record, the index proves that nothing is lost.
        let lossy = segments.filter(|it| it.is_lossy());
        let blocks = lossy.flat_map(|it| it.blocks.iter().map(|(offsets, _)| offsets.clone()));
        blocks.collect()
    }

    /// Returns the number of records of the damaged blocks and batches.
    pub(super) fn lost_records(&self) -> u64 {
        let segments = self.segments.values().flatten();
        segments
            .flat_map(|it| it.blocks.iter().map(|(_, records)| records))
            .sum()
    }

    /// Returns the records that are left.
    pub(super) fn left(
        &self,
        id: &PartitionId,
        records: &BTreeMap<i64, Record>,
    ) -> BTreeMap<i64, Record> {
        let blocks = self.blocks(id);
        let is_left = |offset: &i64| !blocks.iter().any(|it| it.contains(offset));
        let left = records.iter().filter(|(offset, _)| is_left(offset));
        left.map(|(offset, record)| (*offset, record.clone()))
            .collect()
    }

    /// Returns the offsets that are lost, but for those that the source had deleted.
    pub(super) async fn lost(&self, world: &World, id: &PartitionId) -> Offsets {
        let snapshot = world.latest().await;
        let deleted = snapshot.partition(id).unwrap().lost.iter();
        let deleted = deleted.filter(|lost| !lost.is_damaged());
        let deleted = Offsets::of(deleted.map(|lost| lost.from..lost.to));
        Offsets::of(self.blocks(id)).without(&deleted)
    }

    /// Returns what is damaged in both, of the records.
    pub(super) fn and(&self, other: &Harmed, world: &World) -> Harmed {
        let segments = self.segments.iter().map(|(id, segments)| {
            let theirs = other.segments.get(id).into_iter().flatten();
            let theirs = theirs.flat_map(|it| it.blocks.iter().map(|(offsets, _)| offsets.clone()));
            let theirs = Offsets::of(theirs);
            let lossy = segments.iter().filter(|it| it.is_lossy());
            let segments = lossy.map(|it| {
                let ours = Offsets::of(it.blocks.iter().map(|(offsets, _)| offsets.clone()));
                let records = &world.model[id].records;
                let blocks = ours.and(&theirs);
                let blocks = blocks.iter().map(|offsets| {
                    let lost = records.range(offsets.clone()).count() as u64;
                    (offsets, lost)
                });
                HarmedSegment {
                    blocks: blocks.collect(),
                }
            });
            (id.clone(), segments.collect())
        });
        Harmed {
            segments: segments.collect(),
        }
    }
}
