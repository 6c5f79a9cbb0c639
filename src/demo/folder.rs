//! The folder of a demo: what it may contain before, and what the demo replaces.
//!
//! Only the output of an earlier demo is replaced, and only if there is nothing else: the folder must contain the marker, every
//! file must be one of a demo's repository, and every snapshot must be of an embedded broker. Anything else is refused and
//! left untouched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kbk_format::repo::{Id, Identity, Key, Location, RepoError, Repository, Store};
use serde::{Deserialize, Serialize};

use super::shop::TOPICS;

/// The file that marks the folder as a demo's, for people and for the next demo.
const MARKER: &str = "kbk-demo.json";
/// The folder of the claims.
const CLAIMS: &str = "claims";
const IDENTITY: &str = "kbk.json";
/// The prefix of the ids of embedded clusters.
const EMBEDDED: &str = "mockCluster";

/// The contents of the marker.
#[derive(Serialize, Deserialize)]
struct Marker {
    note: String,
    repository_id: Id,
}

/// Why the demo cannot use a folder. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It contains something else.
    #[error("{dir} contains {found}, which is not from a demo; name a new folder: kbk demo DIR", dir = dir.display())]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The folder, or something in it, cannot be read or written.
    #[error("cannot use {path} for the demo: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It contains the output of an earlier demo, which is damaged.
    #[error(
        "{dir} contains the damaged repository of an earlier demo; delete the folder, or name a new one: kbk demo DIR",
        dir = dir.display()
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        source: Box<RepoError>,
    },
    /// The repository cannot be created.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

type Result<T> = std::result::Result<T, FolderError>;

/// Creates an empty repository. Returns whether it replaced that of an earlier demo.
pub(super) async fn prepare(dir: &Path) -> Result<bool> {
    let files = files(dir)?;
    let replaces = !files.is_empty();
    if replaces {
        check_is_of_a_demo(dir, &files).await?;
        remove(dir, files)?;
    }
    let identity = Identity::fresh();
    let marker = Marker {
        note: "made by `kbk demo`, which replaces it when run here again".to_owned(),
        repository_id: identity.repository_id,
    };
    let store = Store::open_or_create_at(&Location::folder(dir))?;
    Repository::create(store, identity).await?;
    let path = dir.join(MARKER);
    let written = serde_json::to_vec(&marker)
        .map_err(io::Error::from)
        .and_then(|text| fs::write(&path, text));
    written.map_err(io_error(&path))?;
    Ok(replaces)
}

/// Returns every file below `dir`, by its path in it; none if the folder does not exist.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        // Joining an empty path would append a slash.
        let path = if folder.as_os_str().is_empty() {
            dir.to_owned()
        } else {
            dir.join(&folder)
        };
        let entries = match fs::read_dir(&path) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && folder.as_os_str().is_empty() =>
            {
                break;
            }
            entries => entries.map_err(io_error(&path))?,
        };
        for entry in entries {
            let entry = entry.map_err(io_error(&path))?;
            let kind = entry.file_type().map_err(io_error(&entry.path()))?;
            let list = if kind.is_dir() {
                &mut folders
            } else {
                &mut files
            };
            list.push(folder.join(entry.file_name()));
        }
    }
    Ok(files)
}

async fn check_is_of_a_demo(dir: &Path, files: &[PathBuf]) -> Result<()> {
    let foreign = |found: String| FolderError::Foreign {
        dir: dir.to_owned(),
        found,
    };
    let marker = dir.join(MARKER);
    let Ok(text) = fs::read(&marker) else {
        return Err(foreign(what_is_there(files)));
    };
    if let Some(other) = files.iter().find(|file| !is_of_a_demo(file)) {
        return Err(foreign(other.display().to_string()));
    }
    if let [_marker] = files {
        return Ok(());
    }
    match other_owner(dir, &text).await {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(foreign(found)),
        Err(source) => Err(FolderError::Damaged {
            dir: dir.to_owned(),
            source: Box::new(source),
        }),
    }
}

/// Returns what in the repository is not from the demo that wrote this marker.
async fn other_owner(dir: &Path, marker: &[u8]) -> std::result::Result<Option<String>, RepoError> {
    let repository = Repository::open(Store::open_at(&Location::folder(dir))?).await?;
    let id = repository.identity().repository_id;
    if !serde_json::from_slice(marker).is_ok_and(|marker: Marker| marker.repository_id == id) {
        return Ok(Some(format!("the repository {id}")));
    }
    for sequence in repository.sequences().await? {
        let manifest = repository.manifest(sequence).await?;
        if !manifest
            .cluster_id
            .as_ref()
            .is_some_and(|id| id.starts_with(EMBEDDED))
        {
            return Ok(Some(format!("snapshot {sequence}")));
        }
    }
    Ok(None)
}

fn what_is_there(files: &[PathBuf]) -> String {
    match files.iter().min() {
        _ if files.iter().any(|file| file == Path::new(IDENTITY)) => "a repository".to_owned(),
        Some(first) => first.display().to_string(),
        None => String::new(),
    }
}

/// Returns whether a demo creates files of this name.
fn is_of_a_demo(file: &Path) -> bool {
    let Some(name) = file.to_str() else {
        return false;
    };
    // An interrupted write leaves the name of its object with a number appended.
    let name = name.rsplit_once('#').map_or(name, |(object, _)| object);
    match Key::parse(name) {
        Some(Key::Segment {
            partition: place, ..
        }) => TOPICS.iter().any(|(topic, _)| *topic == &*place.topic),
        Some(
            Key::Identity
            | Key::Table { .. }
            | Key::Cluster { .. }
            | Key::Snapshot { .. }
            | Key::LatestSnapshot
            | Key::RestoreBegun { .. }
            | Key::RestoreTargets { .. }
            | Key::MapPage { .. }
            | Key::RestoreDone { .. }
            | Key::RestoreDiscarded { .. }
            | Key::GroupsChange { .. }
            | Key::WriteClaim { .. },
        ) => true,
        None => name == MARKER,
    }
}

/// Removes these files, and the folders that are then empty. The files that prove them to be a demo's are removed last, so that the
/// next demo can finish after a crash.
fn remove(dir: &Path, mut files: Vec<PathBuf>) -> Result<()> {
    files.sort_by_key(|file| (file == Path::new(MARKER), file == Path::new(IDENTITY)));
    for file in files {
        let path = dir.join(&file);
        fs::remove_file(&path).map_err(io_error(&path))?;
        for folder in file
            .ancestors()
            .skip(1)
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            // A folder that still contains something stays.
            if fs::remove_dir(dir.join(folder)).is_err() {
                break;
            }
        }
    }
    // Backups remove their claims and leave the folder, which is then empty; with anything in it, it stays.
    let _ = fs::remove_dir(dir.join(CLAIMS));
    Ok(())
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path, source }
}
