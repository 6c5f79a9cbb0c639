//! Folders of a local disk, created and flushed so that a crash does not take their names.

use std::fs::File;
use std::io;
use std::path::Path;

/// Creates a folder and those above it, durably.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|path| !path.exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    // Each parent of a new folder has a new entry.
    let mut changed = missing.iter().filter_map(|path| path.parent());
    changed.try_for_each(sync_folder)
}

/// Flushes a folder. Only Unix can open one for that; elsewhere the file system is trusted.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}
