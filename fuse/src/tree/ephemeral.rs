//! Inode numbers of files that no listing shows: ranges of offsets or times that a program looked up, remembered while the kernel
//! knows them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use super::inode::HASH_MASK;
use crate::cache::locked;
use crate::error::ViewError;

/// What was looked up, by number, each with the count of lookups that the kernel has not forgotten.
#[derive(Debug)]
pub(crate) struct EphemeralInodes<T>(Mutex<HashMap<u64, (T, u64)>>);

impl<T> Default for EphemeralInodes<T> {
    fn default() -> Self {
        EphemeralInodes(Mutex::default())
    }
}

impl<T: Clone + PartialEq> EphemeralInodes<T> {
    /// Counts one lookup of a file, and returns its number.
    ///
    /// The number is a hash of what was asked for, so it is nearly always the same after a remount; on a collision, the next free
    /// number.
    pub(crate) fn looked_up(&self, query: impl Hash, found: T) -> u64 {
        let mut hasher = DefaultHasher::new();
        query.hash(&mut hasher);
        let mut number = hasher.finish() & HASH_MASK;
        let mut known = locked(&self.0);
        loop {
            match known.entry(number) {
                Slot::Vacant(slot) => {
                    slot.insert((found, 1));
                    return number;
                }
                Slot::Occupied(mut slot) if slot.get().0 == found => {
                    slot.get_mut().1 += 1;
                    return number;
                }
                Slot::Occupied(_) => number = (number + 1) & HASH_MASK,
            }
        }
    }

    pub(crate) fn get(&self, number: u64) -> Result<T, ViewError> {
        let known = locked(&self.0);
        known
            .get(&number)
            .map(|(found, _)| found.clone())
            .ok_or(ViewError::Stale)
    }

    /// Uncounts lookups; a file that has none left is dropped.
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
