//! The options that several commands share, each group defined once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, ValueEnum, ValueHint};

use kbk_format::repo::Location;

use super::error::CliError;
use super::repo_url::{RepoUrl, RepoUrlParser};
use super::store_options::{self, StoreOption, StoreOptionParser};
use super::time::{TimeArg, parse_duration};
use crate::kafka::ClientSettings;
use crate::kafka::wire::WireSettings;
use crate::records::ClientChoice;
use crate::select::{
    NamePattern, PartitionSet, TopicMapping, TopicPartitions, TopicRef, TopicRewrite,
    TopicSelection, rename_topics,
};

const GLOBAL: &str = "Global options";
pub(super) const KAFKA: &str = "Kafka options";
const TOPICS: &str = "Topic selection";
const RECORDS: &str = "Record selection";

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Repository: a folder, as a path or file:// URL, or a bucket, as s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or gs://BUCKET/PREFIX
    #[arg(short, long, global = true, env = "KBK_REPO", hide_env_values = true, value_name = "URL", value_parser = RepoUrlParser, value_hint = ValueHint::DirPath, help_heading = GLOBAL)]
    pub repo: Option<RepoUrl>,

    /// Configuration file (TOML), in place of /etc/kbk/kbk.toml and ~/.config/kbk/kbk.toml; the command line and the environment take
    /// precedence
    #[arg(short, long, global = true, env = "KBK_CONFIG", hide_env_values = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,

    /// How to reach and write a bucket: `endpoint`, `region` and others that docs/stores.md lists; in the configuration file they are
    /// keys of the table `[store]`; repeatable
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = StoreOptionParser, help_heading = GLOBAL)]
    pub store_option: Vec<StoreOption>,

    /// Write the result to stdout as one JSON document, failures included
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Write only errors to stderr: no progress, notices or warnings; results and exit codes stay
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,

    /// Write more to stderr: settings, partitions, files, retries; twice for the messages of libraries, too
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", help_heading = GLOBAL)]
    pub verbose: u8,

    /// Format of messages on stderr [default: text]
    #[arg(
        long, global = true, value_enum, value_name = "text|json",
        hide_possible_values = true, help_heading = GLOBAL
    )]
    pub log_format: Option<LogFormat>,

    /// When to colour messages on stderr
    #[arg(
        long, global = true, value_enum, value_name = "auto|always|never", default_value_t,
        hide_possible_values = true, help_heading = GLOBAL
    )]
    pub color: ColorWhen,
}

/// The repository that `kbk copy` reads.
#[derive(Args, Clone, Debug)]
pub struct FromArgs {
    /// Repository to copy from; forms as of --repo
    #[arg(long, value_name = "URL", value_parser = RepoUrlParser, value_hint = ValueHint::DirPath)]
    pub from: RepoUrl,

    /// How to reach the bucket to copy from, as --store-option does for the one to copy to; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = StoreOptionParser)]
    pub from_store_option: Vec<StoreOption>,
}

impl FromArgs {
    /// Returns where it is and how to reach it.
    pub fn location(&self) -> Result<Location, CliError> {
        other_location(&self.from, &self.from_store_option, "from")
    }
}

/// The repository that `kbk recover` takes records from.
#[derive(Args, Clone, Debug, Default)]
pub struct DonorArgs {
    /// Another repository that has the same topics, such as a copy: what is lost is taken from there; forms as of --repo
    #[arg(long, value_name = "URL", value_parser = RepoUrlParser, value_hint = ValueHint::DirPath, conflicts_with = "files")]
    pub from: Option<RepoUrl>,

    /// How to reach the bucket of --from, as --store-option does for --repo; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = StoreOptionParser, requires = "from")]
    pub from_store_option: Vec<StoreOption>,
}

impl DonorArgs {
    /// Returns where it is and how to reach it; `None` where it was not given.
    pub fn location(&self) -> Result<Option<Location>, CliError> {
        let from = self.from.as_ref();
        from.map(|from| other_location(from, &self.from_store_option, "from"))
            .transpose()
    }
}

/// The repository to compare with, beside `--repo`.
#[derive(Args, Clone, Debug, Default)]
pub struct WithArgs {
    /// Repository that B is in, if not in --repo; forms as of --repo
    #[arg(long, value_name = "URL", value_parser = RepoUrlParser, value_hint = ValueHint::DirPath, conflicts_with = "live")]
    pub with: Option<RepoUrl>,

    /// How to reach the bucket of --with, as --store-option does for --repo; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = StoreOptionParser, requires = "with")]
    pub with_store_option: Vec<StoreOption>,
}

impl WithArgs {
    /// Returns where it is and how to reach it; `None` where it was not given.
    pub fn location(&self) -> Result<Option<Location>, CliError> {
        let with = self.with.as_ref();
        with.map(|with| other_location(with, &self.with_store_option, "with"))
            .transpose()
    }
}

/// Returns where a repository beside `--repo` is and how to reach it.
fn other_location(
    url: &RepoUrl,
    options: &[StoreOption],
    option: &str,
) -> Result<Location, CliError> {
    if !options.is_empty() && url.folder().is_some() {
        let message = format!("--{option}-store-option is for buckets, and --{option} is a folder");
        return Err(CliError::usage(message));
    }
    store_options::apply(url.location(), options)
}

/// The format of messages on stderr.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// When messages are coloured.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// In files and pipes, too.
    Always,
    /// Never.
    Never,
}

/// How to reach Kafka.
#[derive(Args, Clone, Debug, Default)]
pub struct KafkaArgs {
    /// Bootstrap brokers, as host:port,host:port
    #[arg(short, long, env = "KBK_BOOTSTRAP_SERVER", hide_env_values = true, value_name = "HOST:PORT", help_heading = KAFKA)]
    pub bootstrap_server: Option<String>,

    /// Client .properties file, as for Kafka's own tools; the place for secrets
    #[arg(long, env = "KBK_COMMAND_CONFIG", hide_env_values = true, value_name = "FILE", help_heading = KAFKA)]
    pub command_config: Option<PathBuf>,

    /// Any librdkafka property, which overrides the file's; repeatable
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = PropertyParser, help_heading = KAFKA)]
    pub properties: Vec<Property>,

    /// How long the cluster may not answer before the command ends, with the broker and the request named
    /// [default: 2m for reading and writing records, 30s for other requests]
    #[arg(long, value_name = "SPAN", value_parser = parse_timeout, help_heading = KAFKA)]
    pub timeout: Option<Duration>,
}

/// Parses a timeout. Below a second, a cluster that is well might not answer in time.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_secs(1);
    match parse_duration(text).map_err(|error| error.to_string())? {
        timeout if timeout < SHORTEST => Err("at least 1s is required".to_owned()),
        timeout => Ok(timeout),
    }
}

impl KafkaArgs {
    /// Returns the checked settings of these options and the file together.
    pub fn settings(&self) -> Result<ClientSettings, CliError> {
        let (server, file) = (
            self.bootstrap_server.as_deref(),
            self.command_config.as_deref(),
        );
        ClientSettings::new(server, file, &self.overrides())
            .map(|settings| settings.with_timeout(self.timeout))
            .map_err(|error| CliError::usage(error.to_string()))
    }

    /// Returns the same, for commands that read or write records with this client, which must honour all of them.
    pub fn settings_for(&self, client: ClientChoice) -> Result<ClientSettings, CliError> {
        let settings = self.settings()?;
        if client == ClientChoice::Wire {
            let checked = WireSettings::check(&settings);
            checked.map_err(|error| CliError::usage(error.to_string()))?;
        }
        Ok(settings)
    }

    /// Adds the properties of the configuration file. Of two equal keys the later one wins, so these come first.
    pub(crate) fn prepend_properties(&mut self, mut properties: Vec<Property>) {
        properties.append(&mut self.properties);
        self.properties = properties;
    }

    /// Returns the `-X` properties as pairs, in order: of two equal keys the later one wins.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let pair = |property: &Property| (property.key.clone(), property.value.clone());
        self.properties.iter().map(pair).collect()
    }
}

/// A client property. Its value may be a secret and is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// librdkafka's name of the property.
    pub key: String,
    /// The value, untrimmed.
    pub value: String,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=[redacted]", self.key)
    }
}

/// Parses `key=value`. Written by hand because clap's own errors repeat the text, which may be a secret.
#[derive(Clone)]
struct PropertyParser;

impl TypedValueParser for PropertyParser {
    type Value = Property;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&clap::Arg>,
        text: &std::ffi::OsStr,
    ) -> Result<Property, clap::Error> {
        match text.to_str().and_then(|text| text.split_once('=')) {
            Some((key, value)) if !key.trim().is_empty() => Ok(Property {
                key: key.trim().to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(bad_property(command)),
        }
    }
}

fn bad_property(command: &clap::Command) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
    error.insert(
        ContextKind::InvalidArg,
        ContextValue::String("-X <KEY=VALUE>".to_owned()),
    );
    error.insert(
        ContextKind::InvalidValue,
        ContextValue::String("[not shown]".to_owned()),
    );
    error
}

/// Selects topics.
#[derive(Args, Clone, Debug, Default)]
pub struct TopicArgs {
    /// Topics to select: a name, a glob, or /a regular expression/ for the whole name; of a backup also NAME@ID, with 8 digits of its
    /// id or more, for a topic whose name another one has; repeatable
    /// [default: all except internal ones; verify, copy and mount include those]
    #[arg(long, value_name = "PATTERN", value_parser = NamePattern::of_topics, help_heading = TOPICS)]
    pub topic: Vec<NamePattern>,

    /// Topics to exclude from the selection; repeatable
    #[arg(long, value_name = "PATTERN", value_parser = NamePattern::of_topics, help_heading = TOPICS)]
    pub exclude: Vec<NamePattern>,
}

impl TopicArgs {
    /// Returns the selection that these options make together.
    pub fn selection(&self) -> TopicSelection {
        TopicSelection::new(self.topic.clone(), self.exclude.clone())
    }
}

/// Selects topics of a backup, or some of their partitions.
#[derive(Args, Clone, Debug, Default)]
pub struct TopicPartitionArgs {
    /// Topics to select, or partitions of them, as in orders/0-3,7: a name, a glob, or /a regular expression/ for the whole name; also
    /// NAME@ID, with 8 digits of its id or more, for a topic whose name another one has; repeatable
    /// [default: all except internal ones]
    #[arg(long, value_name = "PATTERN[/PARTITIONS]", help_heading = TOPICS)]
    pub topic: Vec<TopicPartitions>,

    /// Topics to exclude from the selection; repeatable
    #[arg(long, value_name = "PATTERN", value_parser = NamePattern::of_topics, help_heading = TOPICS)]
    pub exclude: Vec<NamePattern>,
}

impl TopicPartitionArgs {
    /// Returns the selection of topics that these options make together.
    pub fn selection(&self) -> TopicSelection {
        let topics = self.topic.iter().map(|topic| topic.topics.clone());
        TopicSelection::new(topics.collect(), self.exclude.clone())
    }

    /// Returns whether partitions are given with any of the topics.
    pub fn has_partitions(&self) -> bool {
        self.topic.iter().any(|topic| topic.partitions.is_some())
    }
}

/// Gives topics other names in the cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct RenameArgs {
    /// Give a topic (or NAME@ID) another name in the cluster; repeatable
    #[arg(long, value_name = "SOURCE=TARGET")]
    pub map: Vec<TopicMapping>,

    /// Give topics whose whole name matches a regular expression another name, in which $1 is its first group; repeatable, the
    /// first match wins, and --map wins over all
    #[arg(long, value_name = "PATTERN=REPLACEMENT")]
    pub map_regex: Vec<TopicRewrite>,
}

impl RenameArgs {
    /// Returns the name in the cluster of each of these topics.
    pub fn targets(&self, topics: &[TopicRef]) -> Result<BTreeMap<TopicRef, String>, CliError> {
        rename_topics(topics, &self.map, &self.map_regex).map_err(|error| {
            let usage = CliError::usage(error.to_string());
            match error.hint() {
                Some(hint) => usage.hint(hint),
                None => usage,
            }
        })
    }
}

/// Selects among the topics' records. A record must satisfy all of the given options.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectionArgs {
    /// Only these partitions of each topic: numbers and ranges, as in 0-3,7; repeatable
    #[arg(short, long, value_name = "LIST", help_heading = RECORDS)]
    pub partition: Vec<PartitionSet>,

    /// Only records with this timestamp or a later one
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub since: Option<TimeArg>,

    /// Only records with this timestamp or an earlier one, wherever they are in the partition
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub until: Option<TimeArg>,

    /// Start at Kafka's offset for this time: each partition begins with its first record of this timestamp or a later one, and
    /// includes everything after it, late records with older timestamps too (--since tests each record's own timestamp)
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub since_offset_of: Option<TimeArg>,

    /// End at Kafka's offset for this time: each partition ends before its first record of this timestamp or a later one, and late
    /// records with older timestamps after it are not included (--until includes them)
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub until_offset_of: Option<TimeArg>,

    /// Only the offsets in a CSV file of lines `topic,partition,from,to`; `to` is exclusive, either may be empty, and the topic may be
    /// given as TOPIC@ID
    #[arg(
        long, value_name = "FILE", help_heading = RECORDS,
        conflicts_with_all = ["topic", "exclude", "partition"]
    )]
    pub offsets: Option<PathBuf>,
}

impl SelectionArgs {
    /// Returns the times that were given.
    pub fn times(&self) -> impl Iterator<Item = &TimeArg> {
        [
            &self.since,
            &self.until,
            &self.since_offset_of,
            &self.until_offset_of,
        ]
        .into_iter()
        .flatten()
    }
}
