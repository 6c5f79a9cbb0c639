//! The file for node_exporter's textfile collector: complete or unchanged, and readable by other users.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// node_exporter reads no other files.
const SUFFIX: &str = "prom";
/// node_exporter runs as a user of its own, and there is nothing secret in the file.
const MODE: u32 = 0o644;

/// The path of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile(PathBuf);

/// Why a path cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a name that ends in .{SUFFIX}, because node_exporter reads no other files")]
pub struct TextFileError;

impl FromStr for TextFile {
    type Err = TextFileError;

    fn from_str(text: &str) -> Result<TextFile, TextFileError> {
        let path = PathBuf::from(text);
        match path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            true => Ok(TextFile(path)),
            false => Err(TextFileError),
        }
    }
}

impl TextFile {
    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the same file by its absolute path, for a process that changes its folder.
    ///
    /// # Errors
    ///
    /// If the folder of the process is not known.
    pub fn absolute(&self) -> io::Result<TextFile> {
        std::path::absolute(&self.0).map(TextFile)
    }

    /// Replaces the file: a reader finds the old text or the new one.
    ///
    /// # Errors
    ///
    /// If it cannot be written; it is unchanged then.
    pub fn write(&self, text: &str) -> io::Result<()> {
        // Another suffix, so that node_exporter does not read it before it is complete.
        let unfinished = self
            .0
            .with_extension(format!("{SUFFIX}.{}", std::process::id()));
        let written = write_new(&unfinished, text).and_then(|()| fs::rename(&unfinished, &self.0));
        if written.is_err() {
            // What failed is reported; the rest of it is not worth a second message.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // Left by a process that was killed and had the same number.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // New, so that nobody else has put a link there.
    let mut file = File::options().write(true).create_new(true).open(path)?;
    // The mode of a repository may be stricter, and is that of every file that the process creates.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kbk.prom");
        let file: TextFile = path.to_str().unwrap().parse().unwrap();
        for text in ["kbk_a 1\n", "kbk_a 2\n"] {
            file.write(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kbk.prom");
        fs::create_dir(&path).unwrap();
        let file: TextFile = path.to_str().unwrap().parse().unwrap();
        file.write("kbk_a 1\n").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_names_that_node_exporter_reads_are_accepted() {
        assert!("/var/lib/x/kbk.prom".parse::<TextFile>().is_ok());
        for text in ["", "kbk", "kbk.prom.txt", ".prom", "/var/lib/x/"] {
            assert!(text.parse::<TextFile>().is_err(), "{text}");
        }
    }
}
