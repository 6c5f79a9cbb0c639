//! What is kept in memory: one budget over everything, and the caches that it is spent on.
//!
//! ```text
//! Budget --Lease--> every value that is kept, and every byte that is in flight
//! SingleFlightCache  --LoadGuard--> who loads a value, while the others wait for it
//! ```

pub(crate) mod budget;
pub(crate) mod disk;
pub(crate) mod leased_bytes;
pub(crate) mod single_flight;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a panic elsewhere left behind is whole: no lock here is held across a call that can fail.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
