//! Open files, by the handles that the kernel knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fuser::FileHandle;

use crate::OpenFile;

/// The files that programs have open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    files: RwLock<HashMap<u64, Arc<OpenFile>>>,
    next: AtomicU64,
}

impl Handles {
    pub(super) fn insert(&self, file: Arc<OpenFile>) -> FileHandle {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.insert(number, file);
        FileHandle(number)
    }

    pub(super) fn get(&self, handle: FileHandle) -> Option<Arc<OpenFile>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&handle.0).cloned()
    }

    pub(super) fn remove(&self, handle: FileHandle) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.remove(&handle.0);
    }

    /// The number of open files.
    pub(super) fn count(&self) -> usize {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.len()
    }
}
