//! Finds the logs in folders.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kbk_format::PartitionNumber;
use kbk_format::kafka_log::{
    CLEANED_OFFSETS_FILE, LogFile, METADATA_FILE, START_OFFSETS_FILE, partition_of_folder,
    read_start_offsets, read_topic_id,
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
    /// Up to where compaction has gone, as far as the folder of the broker says; 0 where it says nothing.
    pub cleaned_to: i64,
    /// First offset and path of each segment's log, in order.
    pub files: Vec<(i64, PathBuf)>,
    /// Their bytes.
    pub bytes: u64,
    /// Whether a compaction was not finished.
    pub has_swap: bool,
    /// Why nothing can be read of it, if so: there are no files then.
    pub problem: Option<String>,
}

impl FoundLog {
    /// Returns where the log begins.
    #[must_use]
    pub fn first_offset(&self) -> i64 {
        let first = self.first_of_files();
        first.max(self.start_offset.unwrap_or(0))
    }

    /// Returns where its files begin: below are offsets that were deleted with their files.
    pub(super) fn first_of_files(&self) -> i64 {
        self.files.first().map_or(0, |(offset, _)| *offset)
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
    let files = log_in(folder)?;
    if !files.files.is_empty() {
        let place = place_of(folder)?;
        let Some((topic, partition)) = partition_of(&place) else {
            return Err(ImportError::NoPartition {
                path: folder.to_owned(),
            });
        };
        // Its own folder says where it begins only by its files; that of the broker, above it, may say more.
        let checkpoints = Checkpoints::of(place.parent().unwrap_or(folder))?;
        return Ok(vec![files.of(topic, partition, &checkpoints)]);
    }
    let checkpoints = Checkpoints::of(folder)?;
    let mut logs = Vec::new();
    for path in entries(folder)? {
        // Folders of other names are of partitions that are being deleted or moved, or that are none.
        if let Some((topic, partition)) = partition_of(&path) {
            // What cannot be read of one partition is no reason to store nothing of the others.
            let files = log_in(&path).unwrap_or_else(|error| Files::unreadable(&path, &error));
            logs.push(files.of(topic, partition, &checkpoints));
        }
    }
    match logs.iter().all(|log| log.files.is_empty()) {
        true => Err(ImportError::NoLogs {
            path: folder.to_owned(),
        }),
        false => Ok(logs),
    }
}

type Offsets = Vec<(String, PartitionNumber, i64)>;

/// What a broker has noted of all partitions of a folder.
struct Checkpoints {
    /// Where logs begin.
    starts: Offsets,
    /// Up to where compaction has gone.
    cleaned: Offsets,
}

impl Checkpoints {
    fn of(folder: &Path) -> Result<Checkpoints, ImportError> {
        Ok(Checkpoints {
            starts: offsets(&folder.join(START_OFFSETS_FILE))?,
            cleaned: offsets(&folder.join(CLEANED_OFFSETS_FILE))?,
        })
    }
}

/// The files of a log, before its partition is known.
#[derive(Default)]
struct Files {
    folder: PathBuf,
    topic_id: Option<Id>,
    files: Vec<(i64, PathBuf)>,
    bytes: u64,
    has_swap: bool,
    problem: Option<String>,
}

impl Files {
    fn unreadable(folder: &Path, error: &ImportError) -> Files {
        Files {
            folder: folder.to_owned(),
            problem: Some(format!("nothing of it can be read: {error}")),
            ..Files::default()
        }
    }

    fn of(self, topic: TopicName, partition: PartitionNumber, known: &Checkpoints) -> FoundLog {
        let of = |offsets: &Offsets| {
            let mut offsets = offsets.iter();
            let found = offsets.find(|(name, number, _)| **name == *topic && *number == partition);
            found.map(|(_, _, offset)| *offset)
        };
        FoundLog {
            start_offset: of(&known.starts),
            cleaned_to: of(&known.cleaned).unwrap_or(0),
            topic,
            partition,
            folder: self.folder,
            topic_id: self.topic_id,
            files: self.files,
            bytes: self.bytes,
            has_swap: self.has_swap,
            problem: self.problem,
        }
    }
}

/// Returns the log whose files are in a folder; it says so where there are none.
fn log_in(folder: &Path) -> Result<Files, ImportError> {
    let mut found = Files {
        folder: folder.to_owned(),
        ..Files::default()
    };
    let mut is_half_compacted = false;
    for path in entries(folder)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        found.has_swap |= name.ends_with(".log.swap");
        is_half_compacted |= name.ends_with(".log.cleaned");
        if let Some(LogFile::Log(offset)) = LogFile::parse(name) {
            let metadata = fs::metadata(&path).map_err(ImportError::io("look at", &path))?;
            found.bytes += metadata.len();
            found.files.push((offset, path));
        }
    }
    found.files.sort();
    let metadata = read(&folder.join(METADATA_FILE))?;
    found.topic_id = metadata.and_then(|text| read_topic_id(&text)).map(Hex);
    if found.files.is_empty() {
        let place = folder.display();
        found.problem = Some(match found.has_swap || is_half_compacted {
            true => format!(
                "{place} holds only what a compaction left that was not finished, in files that end in .swap or .cleaned; start the broker once, \
                 which finishes or undoes it"
            ),
            false => {
                format!("{place} holds no .log file, of which a broker has one of every partition")
            }
        });
    }
    Ok(found)
}

/// Returns the path whose last name is that of a folder, which may have been given as `.`; a link has its own name where that is a partition's.
fn place_of(folder: &Path) -> Result<PathBuf, ImportError> {
    match partition_of(folder) {
        Some(_) => Ok(folder.to_owned()),
        None => fs::canonicalize(folder).map_err(ImportError::io("look at", folder)),
    }
}

/// Returns the partition that a folder is named after; tiered storage adds the topic's id. `None` for any other name.
fn partition_of(folder: &Path) -> Option<(TopicName, PartitionNumber)> {
    const ID_LENGTH: usize = 22;
    let name = folder.file_name()?.to_str()?;
    let at = name.len().saturating_sub(ID_LENGTH + 1);
    let without_id = name
        .get(at..)
        .filter(|id| id.len() == ID_LENGTH + 1 && id.starts_with('-'))
        .and_then(|_| partition_of_folder(name.get(..at)?));
    let (topic, partition) = partition_of_folder(name).or(without_id)?;
    Some((topic.parse().ok()?, partition))
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

/// Reads a checkpoint; nothing where there is none, or where it is damaged.
fn offsets(path: &Path) -> Result<Offsets, ImportError> {
    let text = read(path)?;
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
