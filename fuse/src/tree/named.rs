//! Files that no listing shows: ranges of offsets that somebody named, remembered while a kernel knows them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Mutex;

use crate::attributes::Attributes;
use crate::cache::locked;
use crate::error::ViewError;
use crate::tree::names::Asked;

/// What was named, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedRange {
    pub(crate) sequence: u64,
    /// Its place among all partitions of the snapshot.
    pub(crate) partition: u64,
    pub(crate) asked: Asked,
    /// Where its records stand in the partition's text.
    pub(crate) text: Range<u64>,
    pub(crate) attributes: Attributes,
}

/// Ranges by number, each with the lookups that were not forgotten.
#[derive(Debug, Default)]
pub(crate) struct Named(Mutex<HashMap<u64, (NamedRange, u64)>>);

impl Named {
    /// The number of a range, which was looked up once more.
    ///
    /// A hash of what was named, so that it is mostly the same after a remount; the next one that is free, where another has it.
    pub(crate) fn looked_up(&self, range: NamedRange) -> u64 {
        let mut hasher = DefaultHasher::new();
        (range.sequence, range.partition, range.asked).hash(&mut hasher);
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

    /// Bits of a number that are not its mark.
    const MASK: u64 = !(1 << 63);

    pub(crate) fn get(&self, number: u64) -> Result<NamedRange, ViewError> {
        let known = locked(&self.0);
        known
            .get(&number)
            .map(|(range, _)| range.clone())
            .ok_or(ViewError::Stale)
    }

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
