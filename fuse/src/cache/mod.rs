//! Memory: one budget for everything that is cached or in flight, and the caches that spend it.
//!
//! ```text
//! Budget            --Lease-->     every value that is cached, and every byte that is in flight
//! SingleFlightCache --LoadGuard--> the one task that loads a value, while the others wait for it
//! ```
//!
//! `disk` is a second level for stored blocks, in a folder.

pub(crate) mod budget;
pub(crate) mod disk;
pub(crate) mod leased_bytes;
pub(crate) mod single_flight;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, poisoned or not: no lock here is held across a call that can panic, so the value is consistent.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
