//! Lists the objects of a folder on a local disk by name.
//!
//! `object_store` fails as a whole at the first name that is not UTF-8, and at a symbolic link that leads back to where it is. Since
//! every command begins with a listing, one stray file would block them all. Here, only folders that can hold objects are entered,
//! and whatever is not a file with the name of an object is left alone.

use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::keys::Key;

/// An object, as a listing shows it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) key: Key,
    /// Its length.
    pub(super) bytes: u64,
    /// When the store received it, in milliseconds since the epoch.
    pub(super) written_ms: i64,
}

/// Files that interrupted writes of objects left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnfinishedFiles {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is among the objects of a repository and is none, such as a file in the place of a folder. Nothing reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignFiles {
    /// How many files, and folders that no object can be in.
    pub files: u64,
    /// The first of their names, at most [`ForeignFiles::NAMED`], ordered; that of a folder ends in `/`. What is not UTF-8 in them is replaced.
    pub names: Vec<String>,
}

impl ForeignFiles {
    /// How many are named.
    pub const NAMED: usize = 1000;

    fn add(&mut self, name: String) {
        self.files = self.files.saturating_add(1);
        if self.names.len() < Self::NAMED {
            self.names.push(name);
        }
    }
}

/// A file that an interrupted write left.
#[derive(Debug)]
struct Unfinished {
    name: String,
    bytes: u64,
    written: SystemTime,
}

/// Lists the objects of `folder`, in no order.
pub(super) fn objects(root: &Path, folder: &str) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    files(root, folder, &mut |name, metadata| {
        found.extend(Key::parse(&name).map(|key| Listed {
            key,
            bytes: metadata.len(),
            written_ms: milliseconds(metadata.modified().unwrap_or(UNIX_EPOCH)),
        }));
    })?;
    Ok(found)
}

/// Lists the files in `folder`, and in all folders below it, that are no objects of a repository, with their lengths.
pub(super) fn others(root: &Path, folder: &str) -> io::Result<Vec<(String, u64)>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in entries(root, &folder)? {
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            // A link is not followed: it may lead to a folder above.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(name);
            } else if kind.is_file() && Key::parse(&name).is_none() && !is_unfinished(&name) {
                let metadata = metadata(&entry)?;
                found.extend(metadata.map(|metadata| (name, metadata.len())));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Lists the names in `folder`, files and folders; what is not UTF-8 in them is replaced.
pub(super) fn names(root: &Path, folder: &str) -> io::Result<Vec<String>> {
    let entries = entries(root, folder)?;
    let name = |entry: &DirEntry| entry.file_name().to_string_lossy().into_owned();
    Ok(entries.iter().map(name).collect())
}

/// Removes the files that interrupted writes left, if they were last written `age` or more before the object `newest`. Returns
/// what was removed.
///
/// The times of both are the file system's, so that no other clock decides.
pub(super) fn remove_unfinished(
    root: &Path,
    newest: &Key,
    age: Duration,
) -> io::Result<UnfinishedFiles> {
    let newest = File::open(root.join(newest.to_string()))?
        .metadata()?
        .modified()?;
    let mut found = Vec::new();
    for folder in Key::FOLDERS {
        files(root, folder, &mut |name, metadata| {
            if is_unfinished(&name) {
                found.push(Unfinished {
                    name,
                    bytes: metadata.len(),
                    // A time that is unknown is taken for a recent one.
                    written: metadata.modified().unwrap_or(newest),
                });
            }
        })?;
    }
    found.retain(|file| {
        newest
            .duration_since(file.written)
            .is_ok_and(|since| since >= age)
    });
    let mut removed = UnfinishedFiles::default();
    for file in found {
        match fs::remove_file(root.join(&file.name)) {
            Ok(()) => {
                removed.files += 1;
                removed.bytes += file.bytes;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Lists the objects whose writes were interrupted or are in progress, with the bytes that are there.
pub(super) fn unfinished_objects(root: &Path, folder: &str) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    files(root, folder, &mut |name, metadata| {
        let key = name.rsplit_once('#').and_then(|(key, _)| Key::parse(key));
        if let Some(key) = key.filter(|_| is_unfinished(&name)) {
            found.push(Listed {
                key,
                bytes: metadata.len(),
                written_ms: milliseconds(metadata.modified().unwrap_or(UNIX_EPOCH)),
            });
        }
    })?;
    Ok(found)
}

/// Lists what is in the folders of a repository and is none of its objects.
pub(super) fn foreign_files(root: &Path) -> io::Result<ForeignFiles> {
    let mut found = ForeignFiles::default();
    for folder in Key::FOLDERS {
        add_foreign(root, folder, &mut found)?;
    }
    found.names.sort();
    Ok(found)
}

/// Reports whether a write of an object has this name until it is done: `object_store` adds `#` and a number.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(key, number)| {
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && Key::parse(key).is_some()
    })
}

/// Passes each file below `folder` to `visit`, by its name in the repository. Symbolic links are followed.
fn files(root: &Path, folder: &str, visit: &mut dyn FnMut(String, &Metadata)) -> io::Result<()> {
    for entry in entries(root, folder)? {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{folder}/{name}");
        let Some(metadata) = metadata(&entry)? else {
            continue;
        };
        if metadata.is_file() {
            visit(name, &metadata);
        } else if metadata.is_dir() && Key::is_folder(&name) {
            files(root, &name, visit)?;
        }
    }
    Ok(())
}

/// Returns the entries of a folder; none if it does not exist, or if a file has its name below one of the folders of a repository: as in a bucket,
/// where such a file is in no folder. A file in the place of one of these folders themselves is an error: nothing could be stored in it.
fn entries(root: &Path, folder: &str) -> io::Result<Vec<DirEntry>> {
    let is_below = folder.contains('/');
    match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && is_below => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Adds what is in a folder and is neither an object, nor one that is being written, nor a folder that can hold one. Those are entered.
fn add_foreign(root: &Path, folder: &str, found: &mut ForeignFiles) -> io::Result<()> {
    for entry in entries(root, folder)? {
        let own = entry.file_name();
        let name = format!("{folder}/{}", own.to_string_lossy());
        let Some(metadata) = metadata(&entry)? else {
            continue;
        };
        let is_text = own.to_str().is_some();
        match metadata.is_dir() {
            true if is_text && Key::is_folder(&name) => add_foreign(root, &name, found)?,
            true => found.add(format!("{name}/")),
            false if is_text && (Key::parse(&name).is_some() || is_unfinished(&name)) => {}
            false => found.add(name),
        }
    }
    Ok(())
}

/// Returns what an entry is; `None` for one that has been removed since, and for a link that leads nowhere or to itself.
fn metadata(entry: &DirEntry) -> io::Result<Option<Metadata>> {
    match fs::metadata(entry.path()) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) if entry.file_type().is_ok_and(|kind| kind.is_symlink()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let signed = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => signed(after),
        Err(before) => -signed(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_unfinished;

    #[test]
    fn only_unfinished_objects_have_such_names() {
        let snapshot = "snapshots/00000000000000000001.json";
        assert!(is_unfinished(&format!("{snapshot}#1")));
        assert!(is_unfinished("kbk.json#20"));
        let names = [
            "snapshots/notes.txt#1",
            "kbk.json#1a",
            "kbk.json#",
            "kbk.json#1#",
            "#1",
        ];
        for other in [&[snapshot], &names[..]].concat() {
            assert!(!is_unfinished(other), "{other}");
        }
    }
}
