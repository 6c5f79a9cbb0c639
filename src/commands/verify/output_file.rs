//! A file that is written as a whole, at the end: it is opened beside its place before the work begins, so that a folder that does not exist or
//! may not be written is an error at once. A crash leaves the file that was there before, and `.NAME.<process>.part`, which may be removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::CliError;

/// A file that does not have its name yet.
#[derive(Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
}

impl OutputFile {
    /// Opens a file that will replace `path`; `what` says what it will hold.
    pub(super) fn create(path: &Path, what: &str) -> Result<OutputFile, CliError> {
        Self::open(path).map_err(|error| {
            let message = format!("cannot write {what} {}", path.display());
            let error = CliError::new(message).caused_by(error);
            error.hint("name a file in a folder that exists and may be written")
        })
    }

    fn open(path: &Path) -> io::Result<OutputFile> {
        if path.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let part = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let unfinished = path.with_file_name(part);
        // Left by a process that was killed and had the same number.
        let _ = fs::remove_file(&unfinished);
        // New, so that nobody else has put a link there.
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&unfinished)?;
        Ok(OutputFile {
            path: path.to_owned(),
            unfinished,
            file,
        })
    }

    /// Writes the file, and gives it its name.
    pub(super) fn finish(mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.file.write_all(bytes).and_then(|()| {
            self.file.sync_all()?;
            fs::rename(&self.unfinished, &self.path)?;
            let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        });
        written.map_err(|error| {
            CliError::new(format!("cannot write {}", self.path.display())).caused_by(error)
        })
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        // It is gone already where it got its name.
        let _ = fs::remove_file(&self.unfinished);
    }
}
