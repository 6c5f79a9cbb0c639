//! Finds the logs in folders.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kbk_format::PartitionNumber;
use kbk_format::kafka_log::{
    LogFile, METADATA_FILE, START_OFFSETS_FILE, partition_of_folder, read_start_offsets,
    read_topic_id,
};
use kbk_format::repo::{Hex, Id, TopicName};

use super::error::ImportError;

/// The log of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionNumber,
    /// Its folder.
    pub folder: PathBuf,
    /// Kafka's id of the topic, where `partition.metadata` states one.
    pub topic_id: Option<Id>,
    /// The first offset that counts, where records below were deleted.
    pub start_offset: Option<i64>,
    /// First offset and path of each segment's log, in order.
    pub files: Vec<(i64, PathBuf)>,
    /// Their bytes.
    pub bytes: u64,
    /// Whether a compaction was not finished.
    pub has_swap: bool,
}

impl FoundLog {
    /// Returns where the log begins.
    #[must_use]
    pub fn first_offset(&self) -> i64 {
        let first = self.files.first().map_or(0, |(offset, _)| *offset);
        first.max(self.start_offset.unwrap_or(0))
    }
}

/// The logs in some folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundLogs {
    /// By topic and partition.
    pub logs: Vec<FoundLog>,
    /// The id of the cluster, where a folder states it.
    pub cluster_id: Option<String>,
}

/// Finds the logs in folders: each is one that `log.dirs` of a broker names, or that of one partition.
///
/// # Errors
///
/// If one cannot be read, is used by a broker, has no logs, or two hold the same partition, or are of different clusters.
pub fn find(folders: &[PathBuf]) -> Result<FoundLogs, ImportError> {
    let mut logs: BTreeMap<(TopicName, PartitionNumber), FoundLog> = BTreeMap::new();
    let mut cluster: Option<(PathBuf, String)> = None;
    for folder in folders {
        check_unused(folder)?;
        if let Some(found) = cluster_id(folder)? {
            match &cluster {
                Some((first, stored)) if *stored != found => {
                    return Err(ImportError::OtherCluster {
                        what: first.display().to_string(),
                        stored: stored.clone(),
                        found,
                    });
                }
                _ => cluster = Some((folder.clone(), found)),
            }
        }
        for log in logs_in(folder)? {
            let key = (log.topic.clone(), log.partition);
            if let Some(other) = logs.get(&key) {
                return Err(ImportError::Twice {
                    partition: super::name(&log.topic, log.partition),
                    first: other.folder.clone(),
                    second: log.folder,
                });
            }
            logs.insert(key, log);
        }
    }
    Ok(FoundLogs {
        logs: logs.into_values().collect(),
        cluster_id: cluster.map(|(_, id)| id),
    })
}

fn logs_in(folder: &Path) -> Result<Vec<FoundLog>, ImportError> {
    let starts = start_offsets(folder)?;
    if let Some(log) = log_in(folder)? {
        let named = partition_of(folder)?;
        let Some((topic, partition)) = named else {
            return Err(ImportError::NoPartition {
                path: folder.to_owned(),
            });
        };
        // Its own folder says where it begins only by its files; that of the broker, above it, may say more.
        let starts = match folder.parent() {
            Some(parent) => start_offsets(parent)?,
            None => starts,
        };
        return Ok(vec![log.of(topic, partition, &starts)]);
    }
    let mut logs = Vec::new();
    for path in entries(folder)? {
        // Folders of other names are of partitions that are being deleted or moved, or that are none.
        let Some((topic, partition)) = partition_of(&path)? else {
            continue;
        };
        if let Some(log) = log_in(&path)? {
            logs.push(log.of(topic, partition, &starts));
        }
    }
    match logs.is_empty() {
        true => Err(ImportError::NoLogs {
            path: folder.to_owned(),
        }),
        false => Ok(logs),
    }
}

type StartOffsets = Vec<(String, PartitionNumber, i64)>;

/// The files of a log, before its partition is known.
struct Files {
    folder: PathBuf,
    topic_id: Option<Id>,
    files: Vec<(i64, PathBuf)>,
    bytes: u64,
    has_swap: bool,
}

impl Files {
    fn of(self, topic: TopicName, partition: PartitionNumber, starts: &StartOffsets) -> FoundLog {
        let mut starts = starts.iter();
        let start = starts.find(|(name, number, _)| **name == *topic && *number == partition);
        FoundLog {
            topic,
            partition,
            folder: self.folder,
            topic_id: self.topic_id,
            start_offset: start.map(|(_, _, offset)| *offset),
            files: self.files,
            bytes: self.bytes,
            has_swap: self.has_swap,
        }
    }
}

/// Returns the log whose files are in a folder; `None` where there are none.
fn log_in(folder: &Path) -> Result<Option<Files>, ImportError> {
    let (mut files, mut bytes, mut has_swap) = (Vec::new(), 0, false);
    if !folder.is_dir() {
        return Ok(None);
    }
    for path in entries(folder)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        has_swap |= name.ends_with(".log.swap");
        if let Some(LogFile::Log(offset)) = LogFile::parse(name) {
            let metadata = fs::metadata(&path).map_err(ImportError::io("look at", &path))?;
            bytes += metadata.len();
            files.push((offset, path));
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    files.sort();
    let metadata = read(&folder.join(METADATA_FILE))?;
    let topic_id = metadata.and_then(|text| read_topic_id(&text)).map(Hex);
    Ok(Some(Files {
        folder: folder.to_owned(),
        topic_id,
        files,
        bytes,
        has_swap,
    }))
}

/// Returns the partition that a folder is named after; tiered storage adds the topic's id. `None` for any other name.
fn partition_of(folder: &Path) -> Result<Option<(TopicName, PartitionNumber)>, ImportError> {
    const ID_LENGTH: usize = 22;
    // The folder may have been given as `.`.
    let whole = fs::canonicalize(folder).map_err(ImportError::io("look at", folder))?;
    let Some(name) = whole.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let at = name.len().saturating_sub(ID_LENGTH + 1);
    let without_id = name
        .get(at..)
        .filter(|id| id.len() == ID_LENGTH + 1 && id.starts_with('-'))
        .and_then(|_| partition_of_folder(name.get(..at)?));
    let found = partition_of_folder(name).or(without_id);
    Ok(found.and_then(|(topic, partition)| Some((topic.parse().ok()?, partition))))
}

/// Fails if a broker uses the folder. It locks a file in it as `fcntl` does.
fn check_unused(folder: &Path) -> Result<(), ImportError> {
    use nix::fcntl::{FcntlArg, fcntl};
    let path = folder.join(".lock");
    let lock = match fs::OpenOptions::new().write(true).read(true).open(&path) {
        Ok(lock) => lock,
        // There is none, or it cannot be opened: a folder that is not writable is no broker's.
        Err(_) => return Ok(()),
    };
    let mut wanted = libc_lock();
    match fcntl(&lock, FcntlArg::F_GETLK(&mut wanted)) {
        Ok(_) if i32::from(wanted.l_type) != nix::libc::F_UNLCK => Err(ImportError::InUse {
            path: folder.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// A lock of a whole file.
fn libc_lock() -> nix::libc::flock {
    nix::libc::flock {
        l_type: nix::libc::F_WRLCK as _,
        l_whence: nix::libc::SEEK_SET as _,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Reads the id of the cluster from `meta.properties`.
fn cluster_id(folder: &Path) -> Result<Option<String>, ImportError> {
    let text = read(&folder.join("meta.properties"))?.unwrap_or_default();
    let mut lines = text.lines();
    let id = lines.find_map(|line| line.strip_prefix("cluster.id="));
    Ok(id.map(|id| id.trim().to_owned()))
}

fn start_offsets(folder: &Path) -> Result<StartOffsets, ImportError> {
    let text = read(&folder.join(START_OFFSETS_FILE))?;
    Ok(text
        .and_then(|text| read_start_offsets(&text))
        .unwrap_or_default())
}

/// Reads a small text file; `None` where there is none, or where it is no text.
fn read(path: &Path) -> Result<Option<String>, ImportError> {
    const LARGEST: u64 = 64 << 20;
    let read = fs::metadata(path).and_then(|metadata| match metadata.len() {
        0..=LARGEST => fs::read(path),
        _ => Err(io::Error::other(format!(
            "it is larger than {LARGEST} bytes"
        ))),
    });
    match read {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ImportError::io("read", path)(error)),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let list = || {
        let entries = fs::read_dir(folder)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    list().map_err(ImportError::io("list", folder))
}
