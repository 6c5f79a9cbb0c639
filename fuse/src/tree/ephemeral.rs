//! Inode numbers of files that no listing shows: ranges of offsets that a program looked up, remembered while the kernel knows
//! them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Mutex;

use crate::attributes::Attributes;
use crate::cache::locked;
use crate::content::offsets::OffsetQuery;
use crate::error::ViewError;

/// A range that was looked up, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EphemeralRange {
    pub(crate) sequence: u64,
    /// Its ordinal among all partitions of the snapshot.
    pub(crate) partition: u64,
    pub(crate) query: OffsetQuery,
    /// Where its records are in the partition's text.
    pub(crate) text: Range<u64>,
    pub(crate) attributes: Attributes,
}

/// Ranges by number, each with the count of lookups that the kernel has not forgotten.
#[derive(Debug, Default)]
pub(crate) struct EphemeralInodes(Mutex<HashMap<u64, (EphemeralRange, u64)>>);

impl EphemeralInodes {
    /// Bits of a number that a hash may use: the top bit marks ephemeral numbers.
    const MASK: u64 = !(1 << 63);

    /// Counts one lookup of a range, and returns its number.
    ///
    /// The number is a hash of the query, so it is nearly always the same after a remount; on a collision, the next free number.
    pub(crate) fn looked_up(&self, range: EphemeralRange) -> u64 {
        let mut hasher = DefaultHasher::new();
        (range.sequence, range.partition, range.query).hash(&mut hasher);
        let mut number = hasher.finish() & Self::MASK;
        let mut known = locked(&self.0);
        loop {
            match known.entry(number) {
                Slot::Vacant(slot) => {
                    slot.insert((range, 1));
                    return number;
                }
                Slot::Occupied(mut slot) if slot.get().0 == range => {
                    slot.get_mut().1 += 1;
                    return number;
                }
                Slot::Occupied(_) => number = (number + 1) & Self::MASK,
            }
        }
    }

    pub(crate) fn get(&self, number: u64) -> Result<EphemeralRange, ViewError> {
        let known = locked(&self.0);
        known
            .get(&number)
            .map(|(range, _)| range.clone())
            .ok_or(ViewError::Stale)
    }

    /// Uncounts lookups; a range that has none left is dropped.
    pub(crate) fn forget(&self, number: u64, lookups: u64) {
        let mut known = locked(&self.0);
        if let Slot::Occupied(mut slot) = known.entry(number) {
            let left = slot.get().1.saturating_sub(lookups);
            if left == 0 {
                slot.remove();
            } else {
                slot.get_mut().1 = left;
            }
        }
    }
}
