//! The settings of a mount: options of the command line, each of which can also be given in `mount -o`.

use std::path::{self, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use kbk_format::repo::{Digested, RepoErrorKind, Repository, Snapshot, TopicState};
use kbk_fuse::kernel::MountOptions;
use kbk_fuse::{CacheDir, Part, Snapshots, TopicFilter, ViewOptions};

use crate::cli::{CacheSize, CliError, MemorySize, PrefetchSize, SnapshotsArg, TopicArgs, time};
use crate::commands::snapshot;

/// The default of --show: one part, so that programs that read whole trees find each record once.
const DEFAULT_PARTS: [Part; 1] = [Part::Records];

/// The parts of --show.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts(Vec<Part>);

/// The default of --cache-size.
const CACHE_BYTES: u64 = 10 << 30;

/// The settings that can be given both ways.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Settings {
    /// Snapshot number, latest or all [default: all, and new ones as they appear]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotsArg>,

    /// The topics to show.
    #[command(flatten)]
    topics: TopicArgs,

    /// What the folder of a partition lists, of records, values, keys, by-offset, by-time, segments, log and by-key, or all; the rest is
    /// opened by its name [default: records]
    #[arg(long, value_name = "PARTS", value_parser = parts)]
    show: Option<Parts>,

    /// Also give other users access; requires user_allow_other in /etc/fuse.conf unless root mounts
    #[arg(long)]
    allow_other: bool,

    /// The owner of the files [default: the mounting user]
    #[arg(long, value_name = "NUMBER")]
    uid: Option<u32>,

    /// The group of the files [default: that of the mounting user]
    #[arg(long, value_name = "NUMBER")]
    gid: Option<u32>,

    /// The permissions of files, in octal [default: 0440; 0444 with --allow-other]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    file_mode: Option<u16>,

    /// The permissions of folders, in octal [default: 0550; 0555 with --allow-other]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    dir_mode: Option<u16>,

    /// Permissions to remove from files and folders, in octal, such as 0077
    #[arg(long, value_name = "MODE", value_parser = mode)]
    umask: Option<u16>,

    /// Memory for cached, prefetched and pending reads [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<MemorySize>,

    /// How far to read ahead of a sequential reader; 0 to disable [default: 32MiB]
    #[arg(long, value_name = "SIZE")]
    prefetch: Option<PrefetchSize>,

    /// Also cache what is read from the repository in this folder
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// Maximum size of that folder [default: 10GiB]
    #[arg(long, value_name = "SIZE", requires = "cache_dir")]
    cache_size: Option<CacheSize>,

    /// Time out reads from the repository after this time, 1s to 1h [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = parse_deadline)]
    deadline: Option<Duration>,

    /// How far the kernel reads ahead; takes effect if root mounts [default: 128]
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(4..=16384))]
    readahead_kb: Option<u32>,

    /// Let a Kafka broker open the files of log/, which it opens for writing, too, although each write fails
    #[arg(long)]
    for_broker: bool,

    /// Without extended attributes
    #[arg(long)]
    no_xattr: bool,

    /// With --daemon: append messages to this file once it is mounted [default: discard them]
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
}

fn parse_deadline(text: &str) -> Result<Duration, String> {
    let deadline = time::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_secs(1)..=Duration::from_hours(1);
    match allowed.contains(&deadline) {
        true => Ok(deadline),
        false => Err("give 1s to 1h".to_owned()),
    }
}

/// The settings alone, as a command without a name, to parse those of `mount -o`.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct MountOptionArgs {
    #[command(flatten)]
    settings: Settings,
}

/// Options of `mount -o` that hold for every mount of kbk or have no effect on read-only files, and options that are for mount(8)
/// and other programs.
const ACCEPTED: &[&str] = &[
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
    "async",
    "sync",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "symfollow",
    "nosymfollow",
];

/// Options with a value that are for other programs.
const ACCEPTED_PREFIXES: &[&str] = &["x-", "X-", "comment=", "user=", "helper=", "uhelper="];

impl Settings {
    /// Returns the options that name what is written.
    pub(super) fn written(&self) -> [(&'static str, Option<&PathBuf>); 2] {
        let (log_file, cache_dir) = (self.log_file.as_ref(), self.cache_dir.as_ref());
        [("--log-file", log_file), ("--cache-dir", cache_dir)]
    }

    /// Adds the settings of `mount -o`. Where both have a value, that of the command line wins.
    pub(super) fn with(self, options: &[String]) -> Result<Settings, CliError> {
        let arguments: Vec<String> = options
            .iter()
            .filter(|option| !is_accepted(option))
            .map(|option| argument(option))
            .collect();
        let matches = MountOptionArgs::command().try_get_matches_from(&arguments);
        let parsed = matches.and_then(|matches| MountOptionArgs::from_arg_matches(&matches));
        let other = parsed.map_err(|error| invalid_option(&error))?.settings;
        Ok(Settings {
            snapshot: self.snapshot.or(other.snapshot),
            topics: TopicArgs {
                topic: [self.topics.topic, other.topics.topic].concat(),
                exclude: [self.topics.exclude, other.topics.exclude].concat(),
            },
            show: self.show.or(other.show),
            allow_other: self.allow_other || other.allow_other,
            uid: self.uid.or(other.uid),
            gid: self.gid.or(other.gid),
            file_mode: self.file_mode.or(other.file_mode),
            dir_mode: self.dir_mode.or(other.dir_mode),
            umask: self.umask.or(other.umask),
            memory: self.memory.or(other.memory),
            prefetch: self.prefetch.or(other.prefetch),
            cache_dir: self.cache_dir.or(other.cache_dir),
            cache_size: self.cache_size.or(other.cache_size),
            deadline: self.deadline.or(other.deadline),
            readahead_kb: self.readahead_kb.or(other.readahead_kb),
            for_broker: self.for_broker || other.for_broker,
            no_xattr: self.no_xattr || other.no_xattr,
            log_file: self.log_file.or(other.log_file),
        })
    }

    /// Returns what the mount shows of the repository, and its bounds of memory and time.
    ///
    /// A missing snapshot, or a pattern that selects nothing, is an error here rather than an empty folder later.
    pub(super) async fn view_options(
        &self,
        repository: &Repository,
    ) -> Result<ViewOptions, CliError> {
        let (shown, newest) = match self.snapshot.unwrap_or(SnapshotsArg::All) {
            SnapshotsArg::All => (Snapshots::All, newest_intact(repository).await?),
            SnapshotsArg::One(which) => {
                let snapshot = snapshot(repository, which).await?;
                (Snapshots::One(snapshot.sequence), Some(snapshot))
            }
        };
        let default = ViewOptions::default();
        Ok(ViewOptions {
            snapshots: shown,
            topics: self.topic_filter(newest.as_deref())?,
            listed: self
                .show
                .clone()
                .map_or(DEFAULT_PARTS.to_vec(), |parts| parts.0),
            memory_bytes: self.memory.map_or(default.memory_bytes, MemorySize::bytes),
            prefetch_bytes: self
                .prefetch
                .map_or(default.prefetch_bytes, PrefetchSize::bytes),
            deadline: self.deadline.unwrap_or(default.deadline),
            growing: true,
            cache_dir: self.cache_dir()?,
        })
    }

    /// Returns the cache folder by its absolute path: a process in the background leaves its working directory.
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
            selection.select_every(snapshot.topics.iter())?;
        }
        Ok(Some(Arc::new(move |topic: &TopicState| {
            selection.matches_saved(topic)
        })))
    }

    /// Returns the options that are passed to the kernel.
    pub(super) fn mount_options(&self, source: &str) -> MountOptions {
        let default = MountOptions::new(source.to_owned());
        let others = if self.allow_other { 0o005 } else { 0 };
        let masked = |mode: u16| mode & !self.umask.unwrap_or(0);
        MountOptions {
            file_mode: masked(self.file_mode.unwrap_or(0o440 | others & 0o004)),
            folder_mode: masked(self.dir_mode.unwrap_or(0o550 | others)),
            allow_other: self.allow_other,
            uid: self.uid.unwrap_or(default.uid),
            gid: self.gid.unwrap_or(default.gid),
            extended_attributes: !self.no_xattr,
            for_broker: self.for_broker,
            readahead_kb: self.readahead_kb,
            ..default
        }
    }
}

/// Returns the newest snapshot that is not damaged. The others are mounted nevertheless, so each that is damaged is named.
async fn newest_intact(repository: &Repository) -> Result<Option<Digested<Snapshot>>, CliError> {
    if let Some(missing) = repository.missing_newest().await? {
        tracing::warn!(
            "`latest` is not the newest snapshot: {}",
            repository.newest_missing(missing)
        );
    }
    for sequence in repository.sequences().await?.into_iter().rev() {
        match repository.snapshot(sequence).await {
            Err(error) if is_damage(error.kind()) => {
                tracing::warn!("snapshot {sequence} has only errors.jsonl: {error}");
            }
            found => return Ok(Some(found?)),
        }
    }
    Ok(None)
}

fn is_damage(kind: &RepoErrorKind) -> bool {
    matches!(
        kind,
        RepoErrorKind::Damaged(_) | RepoErrorKind::NewerVersion { .. }
    )
}

/// Rewords an error of the command line for options of `-o`.
fn invalid_option(error: &clap::Error) -> CliError {
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let names = MountOptionArgs::command();
    let names: Vec<&str> = names
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    CliError::usage(format!("-o: {message}")).hint(format!(
        "its options are those of `kbk mount`, such as {}",
        names.join(", ")
    ))
}

fn is_accepted(option: &str) -> bool {
    let mut prefixes = ACCEPTED_PREFIXES.iter();
    option.is_empty()
        || ACCEPTED.contains(&option)
        || prefixes.any(|prefix| option.starts_with(prefix))
}

/// Parses permission bits in octal.
fn mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok();
    mode.filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "expected permissions in octal, from 0 to 0777".to_owned())
}

/// Parses words such as `records,values`. In `mount -o`, where a comma ends the option, `+` separates them.
fn parts(text: &str) -> Result<Parts, String> {
    const EVERY: &str = "all";
    let mut found = Vec::new();
    for word in text.split([',', '+']) {
        if word == EVERY {
            found.extend(Part::ALL);
            continue;
        }
        let part = Part::ALL.into_iter().find(|part| part.word() == word);
        found.push(part.ok_or_else(|| {
            let words = Part::ALL.map(Part::word).join(", ");
            format!("`{word}` is not a part of a partition; the parts are {words}, and {EVERY}")
        })?);
    }
    Ok(Parts(found))
}

/// Returns `readahead_kb=512` as `--readahead-kb=512`.
fn argument(option: &str) -> String {
    match option.split_once('=') {
        Some((name, value)) => format!("--{}={value}", name.replace('_', "-")),
        None => format!("--{}", option.replace('_', "-")),
    }
}
