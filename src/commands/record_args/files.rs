//! Opens segment files, past those that cannot be opened.
//!
//! A file that is damaged beyond its footer is left out and named, as an object of a repository is, and so is one that is missing, cannot be
//! read, or is not a segment beside others that are. Only where no file was ever a segment is there nothing to continue with: then the first
//! one is the error.

use std::path::{Path, PathBuf};

use kbk_tools::{SegmentFile, SegmentFileError};

use super::operand;
use crate::cli::CliError;
use crate::commands;

/// Opens the files of one command.
#[derive(Default)]
pub(crate) struct FileOpener {
    /// Whether one was a segment, be it a damaged one.
    has_segment: bool,
    /// Why the first one cannot be opened that was none.
    failure: Option<SegmentFileError>,
    /// Those that were left out and are not named yet, each with the reason.
    left_out: Vec<(String, String)>,
}

impl FileOpener {
    /// Opens a file; `None` where it is left out.
    pub(crate) async fn open(&mut self, path: &Path) -> Result<Option<SegmentFile>, CliError> {
        let (name, path) = (path.display().to_string(), PathBuf::from(path));
        let error = match tokio::task::spawn_blocking(move || SegmentFile::open(&path)).await? {
            Ok(file) => {
                self.has_segment = true;
                return Ok(Some(file));
            }
            Err(error) => error,
        };
        let mut reason = error.cause();
        if let Some(hint) = hint(&error) {
            reason = format!("{reason}; {hint}");
        }
        self.left_out.push((name, reason));
        match error {
            SegmentFileError::Damaged { .. } => self.has_segment = true,
            error => drop(self.failure.get_or_insert(error)),
        }
        Ok(None)
    }

    /// Takes the files to name as left out, each with the reason: none before there is anything to continue with.
    pub(crate) fn left_out(&mut self) -> Vec<(String, String)> {
        match self.has_segment {
            true => std::mem::take(&mut self.left_out),
            false => Vec::new(),
        }
    }

    /// Ends it after the last file.
    ///
    /// # Errors
    ///
    /// Why the first file could not be opened, where none was a segment.
    pub(crate) fn end(self) -> Result<(), CliError> {
        match self.failure.filter(|_| !self.has_segment) {
            Some(error) => {
                let hint = hint(&error);
                Err(commands::with_hint(CliError::from(error), hint))
            }
            None => Ok(()),
        }
    }
}

/// Returns what to try where a file cannot be opened.
fn hint(error: &SegmentFileError) -> Option<String> {
    match error {
        SegmentFileError::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            // A path with a folder is hardly a topic.
            let alone = path.parent() == Some(Path::new(""));
            alone.then(|| operand::RULE.to_owned())
        }
        SegmentFileError::Io { .. } => None,
        SegmentFileError::NotAFile { .. } => Some("save it to a file first".to_owned()),
        SegmentFileError::NotASegment { .. } => Some(
            "give the path of a .kseg file; `kbk ls --segments` lists those of a repository"
                .to_owned(),
        ),
        SegmentFileError::Damaged { path, .. } => Some(format!(
            "`kbk recover` writes a new segment of what is left of it, and `kbk inspect {}` shows it",
            path.display()
        )),
    }
}
