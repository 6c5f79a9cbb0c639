//! Which records of a range are superseded: a later record of the range has the same key.
//!
//! Keys are counted by hashes, in a table of a fixed size. Where there are more keys than it has room for, the space of hashes is cut: one pass
//! over the range takes the keys whose hashes are in the first part, the next pass those in the second, and so on. A part that turns out
//! to be too large is halved in the middle of its pass. Passes, and not a file that keys are spilled to: nothing but the repository's
//! own disk is needed, nothing is left behind by a kill, and no plain key is written anywhere. A pass reads the range once more.
//!
//! A hash is the first 16 bytes of a SHA-256: whoever chooses keys cannot make two of them count as one.

use kbk_format::repo::{PartitionId, RepoError, SegmentEntry, Store};
use kbk_format::{BlockDecoder, Columns, FormatError, Streams};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::source::{self, Part};
use crate::maintenance::MaintenanceEvents;
use crate::task::joined;

/// Records of a range, at most: their numbers fit into a slot, and their bits into 256 MiB.
pub(super) const MOST_RECORDS: u64 = 1 << 31;
/// The smallest table.
const FEWEST_SLOTS: usize = 64;

/// A sum over keys and the offsets of their latest records, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeySum(u128);

impl KeySum {
    /// Adds a key whose latest record has this offset.
    pub(super) fn add(&mut self, key: &[u8], offset: i64) {
        self.add_hash(hash(key), offset);
    }

    fn add_hash(&mut self, hash: u128, offset: i64) {
        let mut sha256 = Sha256::new();
        sha256.update(hash.to_le_bytes());
        sha256.update(offset.to_le_bytes());
        self.0 = self.0.wrapping_add(first_bytes(sha256));
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: KeySum) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// Returns the sum without what is in another one.
    pub(super) fn without(self, other: KeySum) -> KeySum {
        KeySum(self.0.wrapping_sub(other.0))
    }
}

fn hash(key: &[u8]) -> u128 {
    first_bytes(Sha256::new().chain_update(key))
}

fn first_bytes(sha256: Sha256) -> u128 {
    let digest: [u8; 32] = sha256.finalize().into();
    let first = digest.first_chunk::<16>();
    first.map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

/// Which records of a range are superseded.
#[derive(Clone, Debug, Default)]
pub(super) struct Superseded {
    bits: Vec<u64>,
    /// By segment of the range: the latest records that are in it.
    pub(super) latest: Vec<KeySum>,
    /// By segment: records that are superseded, and tombstones that are not and are old enough to go.
    pub(super) removed: Vec<u64>,
    /// By segment: the tombstones among these.
    pub(super) old_tombstones: Vec<u64>,
    /// The offset of the range's last record; -1 where it has none.
    pub(super) last_offset: i64,
    /// How many passes were made.
    pub(super) passes: u64,
}

impl Superseded {
    /// Returns whether the record with this number, from the first of the range on, is superseded.
    pub(super) fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        let word = self.bits.get(word).copied().unwrap_or(0);
        word & bit != 0
    }

    /// Marks a record of a segment. Returns whether it was not marked before.
    fn mark(&mut self, number: u64, segment: u32) {
        let (word, bit) = place(number);
        if let Some(word) = self.bits.get_mut(word)
            && *word & bit == 0
        {
            *word |= bit;
            count(&mut self.removed, segment);
        }
    }

    /// Counts a tombstone that no later record supersedes, and that is old enough to go.
    fn count_old_tombstone(&mut self, segment: u32) {
        count(&mut self.removed, segment);
        count(&mut self.old_tombstones, segment);
    }
}

/// Counts one more in a segment.
fn count(by_segment: &mut [u64], segment: u32) {
    if let Some(number) = by_segment.get_mut(segment as usize) {
        *number = number.saturating_add(1);
    }
}

fn place(number: u64) -> (usize, u64) {
    let word = usize::try_from(number / 64).unwrap_or(usize::MAX);
    (word, 1 << (number % 64))
}

/// A range of segments whose superseded records are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    pub(super) id: &'a PartitionId,
    pub(super) segments: &'a [SegmentEntry],
    /// Bytes of the table of keys.
    pub(super) key_memory: usize,
    /// Tombstones with an earlier timestamp in milliseconds go, too.
    pub(super) tombstones_from: Option<i64>,
}

/// Why they were not found.
#[derive(Debug)]
pub(super) enum FindError {
    /// The segment in this place cannot be read.
    Unread(source::Unread),
    /// The segment in this place is damaged.
    Damaged(usize, FormatError),
    /// The runtime ended.
    Ended(RepoError),
}

/// Finds the superseded records of a range.
pub(super) async fn find(
    store: &Store,
    range: Range<'_>,
    events: &std::sync::Arc<dyn MaintenanceEvents>,
) -> Result<Superseded, FindError> {
    let records: u64 = range.segments.iter().map(|it| it.records).sum();
    let words = usize::try_from(records.div_ceil(64)).unwrap_or(usize::MAX);
    let mut finder = Finder {
        table: KeyTable::new(records, range.key_memory),
        part: Part64 {
            first: 0,
            last: u64::MAX,
        },
        tombstones_from: range.tombstones_from,
        found: Superseded {
            bits: vec![0; words],
            latest: vec![KeySum::default(); range.segments.len()],
            removed: vec![0; range.segments.len()],
            old_tombstones: vec![0; range.segments.len()],
            last_offset: -1,
            passes: 0,
        },
    };
    loop {
        let (sender, receiver) = source::channel();
        let listener = std::sync::Arc::clone(events);
        let pass = tokio::task::spawn_blocking(move || finder.pass(receiver, &*listener));
        let sent = source::send(store, range.id, range.segments, sender).await;
        let passed = joined(pass.await).map_err(|error| {
            let name = range.id.to_string();
            let read = kbk_format::repo::Operation::Read;
            FindError::Ended(RepoError::of_store(read, store.url(), &name, error))
        })?;
        sent.map_err(FindError::Unread)?;
        finder = match passed {
            Ok(finder) => finder,
            Err(Some((at, error))) => return Err(FindError::Damaged(at, error)),
            // Cannot be: whoever sends has sent all.
            Err(None) => return Ok(Superseded::default()),
        };
        if finder.part.last == u64::MAX {
            return Ok(finder.found);
        }
        finder.part = finder.part.next();
    }
}

/// Hashes from one to another, by their first 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part64 {
    first: u64,
    last: u64,
}

impl Part64 {
    fn has(self, hash: u128) -> bool {
        (self.first..=self.last).contains(&((hash >> 64) as u64))
    }

    fn halve(&mut self) {
        self.last = self.first + (self.last - self.first) / 2;
    }

    /// Returns the part that follows, of the same width.
    fn next(self) -> Part64 {
        let first = self.last.saturating_add(1);
        Part64 {
            first,
            last: first.saturating_add(self.last - self.first),
        }
    }
}

struct Finder {
    table: KeyTable,
    part: Part64,
    tombstones_from: Option<i64>,
    found: Superseded,
}

/// A segment that is damaged, by its place; `None` where whoever sends ended early.
type PassError = Option<(usize, FormatError)>;

impl Finder {
    /// Takes the keys of one part. Blocks.
    fn pass(
        mut self,
        mut parts: mpsc::Receiver<Part>,
        events: &dyn MaintenanceEvents,
    ) -> Result<Finder, PassError> {
        self.found.passes = self.found.passes.saturating_add(1);
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        let mut segment = None;
        let mut number = 0;
        loop {
            match parts.blocking_recv() {
                None => return Err(None),
                Some(Part::End) => break,
                Some(Part::Segment(at, reader)) => segment = Some((at, reader)),
                Some(Part::Blocks(range, bytes)) => {
                    let Some((at, reader)) = &segment else {
                        return Err(None);
                    };
                    events.received(bytes.len() as u64);
                    for block in reader.segment().blocks(range, &bytes) {
                        let damaged = |error| Some((*at, error));
                        let block = block.map_err(damaged)?;
                        // A record may supersede others only if all of it can be read.
                        block.check(&mut decoder).map_err(damaged)?;
                        block
                            .decode(&mut decoder, Streams::Keys, &mut columns)
                            .map_err(damaged)?;
                        let place = u32::try_from(*at).unwrap_or(u32::MAX);
                        number = self.block(&columns, place, number);
                    }
                }
            }
        }
        let found = &mut self.found;
        self.table.drain(|slot| {
            if let Some(latest) = found.latest.get_mut(slot.segment as usize) {
                latest.add_hash(slot.hash, slot.offset);
            }
            if slot.is_old_tombstone && slot.offset != found.last_offset {
                found.count_old_tombstone(slot.segment);
            }
        });
        Ok(self)
    }

    fn block(&mut self, columns: &Columns, segment: u32, mut number: u64) -> u64 {
        for (at, record) in columns.iter().enumerate() {
            let this = number;
            number = number.saturating_add(1);
            self.found.last_offset = record.offset;
            let Some(key) = record.key.filter(|_| !record.control) else {
                continue;
            };
            let hash = hash(key);
            if !self.part.has(hash) {
                continue;
            }
            let is_old = |from| record.timestamp != -1 && record.timestamp < from;
            let slot = Slot {
                hash,
                offset: record.offset,
                // Ranges are cut so that this fits.
                number: this as u32,
                segment,
                is_used: true,
                is_old_tombstone: self.tombstones_from.is_some_and(is_old)
                    && !columns.has_value(at),
            };
            if let Some(before) = self.table.put(slot) {
                self.found.mark(before.number.into(), before.segment);
            }
            while self.table.is_full() {
                self.part.halve();
                let part = self.part;
                self.table.retain(|slot| part.has(slot.hash));
            }
        }
        number
    }
}

/// The latest record of a key so far.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u128,
    offset: i64,
    number: u32,
    segment: u32,
    is_used: bool,
    is_old_tombstone: bool,
}

/// Keys by their hashes: open addressing in one piece of memory, which is never exceeded.
struct KeyTable {
    slots: Vec<Slot>,
    used: usize,
}

impl KeyTable {
    /// Creates a table with room for this many keys, or for as many as fit into the memory.
    fn new(keys: u64, memory: usize) -> KeyTable {
        let wanted = usize::try_from(keys.saturating_mul(4) / 3).unwrap_or(usize::MAX);
        let most = memory / size_of::<Slot>();
        let slots = wanted.saturating_add(1).min(most).max(FEWEST_SLOTS);
        KeyTable {
            slots: vec![Slot::default(); slots],
            used: 0,
        }
    }

    fn is_full(&self) -> bool {
        // Searches get long in a table that is fuller.
        self.used >= self.slots.len() / 8 * 7
    }

    /// The slot where the search for a hash begins.
    fn home(&self, hash: u128) -> usize {
        // The upper half decides about the part, so it says little here.
        let slots = self.slots.len().max(1) as u64;
        ((hash as u64) % slots) as usize
    }

    fn after(&self, at: usize) -> usize {
        match at.saturating_add(1) {
            next if next < self.slots.len() => next,
            _ => 0,
        }
    }

    /// Puts a slot in the place of that of the same key, which is returned.
    fn put(&mut self, new: Slot) -> Option<Slot> {
        let mut at = self.home(new.hash);
        loop {
            let next = self.after(at);
            let slot = self.slots.get_mut(at)?;
            if !slot.is_used {
                *slot = new;
                self.used = self.used.saturating_add(1);
                return None;
            }
            if slot.hash == new.hash {
                return Some(std::mem::replace(slot, new));
            }
            at = next;
        }
    }

    /// Removes all other slots.
    fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        // Removing one moves others back, possibly from the beginning to the end: hence twice.
        for _ in 0..2 {
            for at in 0..self.slots.len() {
                while self
                    .slots
                    .get(at)
                    .is_some_and(|slot| slot.is_used && !keep(slot))
                {
                    self.remove(at);
                }
            }
        }
    }

    /// Empties a slot, and moves back those that were put behind it for want of it.
    fn remove(&mut self, mut hole: usize) {
        self.used = self.used.saturating_sub(1);
        let mut at = self.after(hole);
        while let Some(slot) = self.slots.get(at).copied().filter(|slot| slot.is_used) {
            let home = self.home(slot.hash);
            // Whether its search begins at the hole or before it, so that it may be there.
            let distance = |from: usize, to: usize| {
                let slots = self.slots.len();
                (to + slots - from) % slots.max(1)
            };
            if distance(home, at) >= distance(hole, at) {
                if let Some(place) = self.slots.get_mut(hole) {
                    *place = slot;
                }
                hole = at;
            }
            at = self.after(at);
        }
        if let Some(place) = self.slots.get_mut(hole) {
            *place = Slot::default();
        }
    }

    /// Passes on each slot that is used, and empties the table.
    fn drain(&mut self, mut each: impl FnMut(Slot)) {
        // In place: a list of them would take as much memory again.
        for slot in &mut self.slots {
            let slot = std::mem::take(slot);
            if slot.is_used {
                each(slot);
            }
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_table_holds_the_latest_of_each_key() {
        let mut table = KeyTable::new(1_000, usize::MAX);
        let mut model: HashMap<u128, u32> = HashMap::new();
        for number in 0..3_000_u32 {
            // Few homes, so that searches are long.
            let hash = u128::from(number * 7 % 500) << 64 | u128::from(number * 7 % 500 % 13);
            let slot = Slot {
                hash,
                number,
                is_used: true,
                ..Slot::default()
            };
            let before = table.put(slot).map(|slot| slot.number);
            assert_eq!(before, model.insert(hash, number));
            if number % 100 == 99 {
                let keep = |hash: u128| (hash >> 64) as u32 % 3 != number / 100 % 3;
                table.retain(|slot| keep(slot.hash));
                model.retain(|hash, _| keep(*hash));
                assert_eq!(table.used, model.len());
            }
        }
        let mut left = HashMap::new();
        table.drain(|slot| assert!(left.insert(slot.hash, slot.number).is_none()));
        assert_eq!(left, model);
        assert_eq!(table.used, 0);
    }

    #[test]
    fn parts_cover_all_hashes_once() {
        let mut part = Part64 {
            first: 0,
            last: u64::MAX,
        };
        for _ in 0..5 {
            part.halve();
        }
        let mut parts = vec![part];
        while part.last != u64::MAX {
            part = part.next();
            parts.push(part);
        }
        assert_eq!(parts.len(), 32);
        assert!(parts.array_windows().all(|[a, b]| a.last + 1 == b.first));
    }
}
