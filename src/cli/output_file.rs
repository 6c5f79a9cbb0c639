//! Files that options name to be written, and what they may replace: a file of the same kind, an empty one, or nothing. A report must not take the
//! place of a key because of a slip in a script.
//!
//! A file is written as a whole, at the end: it is opened beside its place before the work begins, so that a folder that does not exist or
//! may not be written is an error at once. A crash leaves the file that was there before, and `.NAME.<process>.part`, which may be removed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::CliError;

/// Bytes of an existing file that are searched for the mark of its kind.
const LOOKED_AT: u64 = 16 << 10;

/// What is written to a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileKind {
    /// What it is, in messages, such as `the report`.
    pub(crate) name: &'static str,
    /// What every file of the kind has near its beginning, and no other file.
    pub(crate) mark: &'static str,
}

impl FileKind {
    /// Metrics for node_exporter.
    pub(crate) const METRICS: FileKind = FileKind {
        name: "the metrics",
        mark: "# HELP kbk_",
    };
    /// A page of the manual.
    pub(crate) const MANUAL: FileKind = FileKind {
        name: "the manual page",
        mark: "\n.TH kbk",
    };

    /// Returns the path that is written for `path`, which may be a link, unless something else is there.
    pub(crate) fn place(&self, path: &Path) -> Result<PathBuf, CliError> {
        let failed = |error: io::Error| self.failed(path).caused_by(error);
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
            Err(error) => return Err(failed(error)),
        };
        let (place, metadata) = match metadata.is_symlink() {
            // A rename would replace the link, and not the file that it refers to.
            true => {
                let place = fs::canonicalize(path).map_err(failed)?;
                let metadata = fs::metadata(&place).map_err(failed)?;
                (place, metadata)
            }
            false => (path.to_owned(), metadata),
        };
        if metadata.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        if !metadata.is_file() {
            return Err(self.refused(path, "is not a regular file"));
        }
        let mut found = Vec::new();
        let opened = File::open(&place).map_err(failed)?;
        let read = opened.take(LOOKED_AT).read_to_end(&mut found);
        read.map_err(failed)?;
        let mark = self.mark.as_bytes();
        let is_of_kind = found.windows(mark.len()).any(|window| window == mark);
        match is_of_kind || found.is_empty() {
            true => Ok(place),
            false => Err(self.refused(path, "exists and is something else")),
        }
    }

    fn refused(&self, path: &Path, why: &str) -> CliError {
        let (name, shown) = (self.name, path.display());
        let error = CliError::new(format!("cannot write {name}: {shown} {why}"));
        error.hint(
            "name a new file, or one that this command wrote before: nothing else is replaced",
        )
    }

    fn failed(&self, path: &Path) -> CliError {
        let error = CliError::new(format!("cannot write {} {}", self.name, path.display()));
        error.hint("name a file in a folder that exists and may be written")
    }
}

/// A file that does not have its name yet.
#[derive(Debug)]
pub(crate) struct OutputFile {
    kind: FileKind,
    given: PathBuf,
    unfinished: PathBuf,
    file: File,
}

impl OutputFile {
    /// Opens a file that will replace `path`, if that may be replaced.
    pub(crate) fn create(path: &Path, kind: FileKind) -> Result<OutputFile, CliError> {
        let place = kind.place(path)?;
        let opened = open_beside(&place);
        let (unfinished, file) = opened.map_err(|error| kind.failed(path).caused_by(error))?;
        Ok(OutputFile {
            kind,
            given: path.to_owned(),
            unfinished,
            file,
        })
    }

    /// Writes the file, and gives it its name.
    pub(crate) fn finish(mut self, bytes: &[u8]) -> Result<(), CliError> {
        // Something else may have been put there since.
        let place = self.kind.place(&self.given)?;
        let written = self.file.write_all(bytes).and_then(|()| {
            self.file.sync_all()?;
            fs::rename(&self.unfinished, &place)?;
            let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        });
        written.map_err(|error| self.kind.failed(&self.given).caused_by(error))
    }
}

fn open_beside(place: &Path) -> io::Result<(PathBuf, File)> {
    let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let part = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
    let unfinished = place.with_file_name(part);
    // Left by a process that was killed and had the same number.
    let _ = fs::remove_file(&unfinished);
    // New, so that nobody else has put a link there.
    let mut options = File::options();
    let file = options.write(true).create_new(true).open(&unfinished)?;
    Ok((unfinished, file))
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        // It is gone already where it got its name.
        let _ = fs::remove_file(&self.unfinished);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const KIND: FileKind = FileKind {
        name: "the notes",
        mark: "kbk notes",
    };

    #[test]
    fn only_a_file_of_the_kind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, found, replaced) in [
            ("new", None, true),
            ("empty", Some(&b""[..]), true),
            ("old", Some(b"kbk notes 1\n"), true),
            ("key", Some(b"-----BEGIN PRIVATE KEY-----\n"), false),
            ("binary", Some(&[0, 255, 254]), false),
        ] {
            if let Some(found) = found {
                fs::write(at(name), found).unwrap();
            }
            let written =
                OutputFile::create(&at(name), KIND).and_then(|it| it.finish(b"kbk notes 2"));
            assert_eq!(written.is_ok(), replaced, "{name}");
            let now = fs::read(at(name)).unwrap();
            match replaced {
                true => assert_eq!(now, b"kbk notes 2"),
                false => assert_eq!(Some(&now[..]), found),
            }
        }
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 5, "nothing else is left behind");
    }

    #[test]
    fn a_link_is_followed_and_devices_and_folders_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("target"), "kbk notes 1").unwrap();
        symlink("target", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        OutputFile::create(&at("link"), KIND)
            .unwrap()
            .finish(b"kbk notes 2")
            .unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("target")).unwrap(), b"kbk notes 2");
        for path in [
            at("dangling"),
            at(""),
            at("none/x"),
            "/dev/null".into(),
            "/".into(),
        ] {
            assert!(
                OutputFile::create(&path, KIND).is_err(),
                "{}",
                path.display()
            );
        }
        let metadata = fs::metadata("/dev/null").unwrap();
        assert!(!metadata.is_file());
    }

    #[test]
    fn what_comes_to_be_there_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let output = OutputFile::create(&path, KIND).unwrap();
        fs::write(&path, "a key").unwrap();
        output.finish(b"kbk notes").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"a key");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
