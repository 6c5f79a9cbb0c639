//! How a repository is mounted: as options of the command line, and as the words of `mount -o`, which mean the same.

use std::path::{self, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use kbk_format::repo::{Repository, Snapshot};
use kbk_fuse::kernel::MountOptions;
use kbk_fuse::{CacheDir, Snapshots, TopicFilter, ViewOptions};

use crate::cli::{CacheSize, CliError, MemorySize, PrefetchSize, SnapshotsArg, TopicArgs};
use crate::commands::snapshot;

/// How large the folder of --cache-dir may become, unless it is said.
const CACHE_BYTES: u64 = 10 << 30;

/// Everything that can be said both ways.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Settings {
    /// Snapshot number, latest or all [default: all, and new ones as they appear]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotsArg>,

    /// Which topics.
    #[command(flatten)]
    topics: TopicArgs,

    /// Give other users access, too; requires user_allow_other in /etc/fuse.conf unless root mounts
    #[arg(long)]
    allow_other: bool,

    /// The owner of the files [default: the mounting user]
    #[arg(long, value_name = "NUMBER")]
    uid: Option<u32>,

    /// The group of the files [default: that of the mounting user]
    #[arg(long, value_name = "NUMBER")]
    gid: Option<u32>,

    /// Memory for cached, prefetched and pending reads [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<MemorySize>,

    /// How far to read ahead of a sequential reader; 0 to disable [default: 32MiB]
    #[arg(long, value_name = "SIZE")]
    prefetch: Option<PrefetchSize>,

    /// Cache what was read from the repository in this folder, too
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// The largest size of that folder [default: 10GiB]
    #[arg(long, value_name = "SIZE", requires = "cache_dir")]
    cache_size: Option<CacheSize>,

    /// Time out reads from the repository after this many seconds [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    deadline: Option<u64>,

    /// How far the kernel reads ahead, if root mounts [default: 128]
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(4..=16384))]
    readahead_kb: Option<u32>,

    /// Without extended attributes
    #[arg(long)]
    no_xattr: bool,
}

/// The settings alone, as a command without a name.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Words {
    #[command(flatten)]
    settings: Settings,
}

/// Words of `mount -o` that every mount of kbk's fulfils, and those of fstab that are for other programs.
const UNDERSTOOD: [&str; 21] = [
    "ro",
    "rw",
    "defaults",
    "nodev",
    "dev",
    "nosuid",
    "suid",
    "noexec",
    "exec",
    "default_permissions",
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "noatime",
    "relatime",
];

impl Settings {
    /// These, completed by the words of `mount -o`. What both say, the command line decides.
    pub(super) fn with(self, options: &[String]) -> Result<Settings, CliError> {
        let words: Vec<String> = options
            .iter()
            .filter(|word| !is_understood(word))
            .map(|word| flag(word))
            .collect();
        let matches = Words::command().try_get_matches_from(&words);
        let words = matches.and_then(|matches| Words::from_arg_matches(&matches));
        let other = words.map_err(|error| unknown(&error))?.settings;
        Ok(Settings {
            snapshot: self.snapshot.or(other.snapshot),
            topics: TopicArgs {
                topic: [self.topics.topic, other.topics.topic].concat(),
                exclude: [self.topics.exclude, other.topics.exclude].concat(),
            },
            allow_other: self.allow_other || other.allow_other,
            uid: self.uid.or(other.uid),
            gid: self.gid.or(other.gid),
            memory: self.memory.or(other.memory),
            prefetch: self.prefetch.or(other.prefetch),
            cache_dir: self.cache_dir.or(other.cache_dir),
            cache_size: self.cache_size.or(other.cache_size),
            deadline: self.deadline.or(other.deadline),
            readahead_kb: self.readahead_kb.or(other.readahead_kb),
            no_xattr: self.no_xattr || other.no_xattr,
        })
    }

    /// What of the repository is shown, and what that may take.
    ///
    /// A snapshot that is not there and a pattern that chooses nothing are errors now, rather than an empty folder later.
    pub(super) async fn view_options(
        &self,
        repository: &Repository,
    ) -> Result<ViewOptions, CliError> {
        let (shown, newest) = match self.snapshot.unwrap_or(SnapshotsArg::All) {
            SnapshotsArg::All => (Snapshots::All, repository.latest().await?),
            SnapshotsArg::One(which) => {
                let snapshot = snapshot(repository, which).await?;
                (Snapshots::One(snapshot.sequence), Some(snapshot))
            }
        };
        let usual = ViewOptions::default();
        Ok(ViewOptions {
            snapshots: shown,
            topics: self.topic_filter(newest.as_deref())?,
            memory_bytes: self.memory.map_or(usual.memory_bytes, MemorySize::bytes),
            prefetch_bytes: self
                .prefetch
                .map_or(usual.prefetch_bytes, PrefetchSize::bytes),
            deadline: self.deadline.map_or(usual.deadline, Duration::from_secs),
            growing: true,
            cache_dir: self.cache_dir()?,
        })
    }

    /// Its path is made absolute: a process in the background leaves the folder that it was started in.
    fn cache_dir(&self) -> Result<Option<CacheDir>, CliError> {
        let Some(folder) = &self.cache_dir else {
            return Ok(None);
        };
        Ok(Some(CacheDir {
            folder: path::absolute(folder)?,
            bytes: self.cache_size.map_or(CACHE_BYTES, CacheSize::bytes),
        }))
    }

    fn topic_filter(&self, newest: Option<&Snapshot>) -> Result<Option<TopicFilter>, CliError> {
        if self.topics.topic.is_empty() && self.topics.exclude.is_empty() {
            return Ok(None);
        }
        let selection = self.topics.selection().internal_too();
        if let Some(snapshot) = newest {
            let topics = snapshot.topics.iter();
            selection.select(topics.map(|topic| (&*topic.name, topic.internal)))?;
        }
        Ok(Some(Arc::new(move |name: &str| selection.matches(name))))
    }

    /// What the kernel is to be told.
    pub(super) fn mount_options(&self, source: &str) -> MountOptions {
        let usual = MountOptions::new(source.to_owned());
        MountOptions {
            allow_other: self.allow_other,
            uid: self.uid.unwrap_or(usual.uid),
            gid: self.gid.unwrap_or(usual.gid),
            extended_attributes: !self.no_xattr,
            readahead_kb: self.readahead_kb,
            ..usual
        }
    }
}

/// What is wrong with the words of `-o`, in words of `-o`.
fn unknown(error: &clap::Error) -> CliError {
    let said = error.to_string();
    let said = said.lines().next().unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let names = Words::command();
    let names: Vec<&str> = names
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    CliError::usage(format!("-o: {said}")).hint(format!(
        "its options are those of `kbk mount`, such as {}",
        names.join(", ")
    ))
}

fn is_understood(word: &str) -> bool {
    UNDERSTOOD.contains(&word)
        || word.is_empty()
        || word.starts_with("x-")
        || word.starts_with("comment=")
}

/// `readahead_kb=512` as `--readahead-kb=512`.
fn flag(word: &str) -> String {
    match word.split_once('=') {
        Some((name, value)) => format!("--{}={value}", name.replace('_', "-")),
        None => format!("--{}", word.replace('_', "-")),
    }
}
