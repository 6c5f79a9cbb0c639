//! The options that several commands share, each group defined once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, ValueEnum};

use super::error::CliError;
use super::repo_url::RepoUrl;
use super::time::TimeArg;
use crate::kafka::ClientSettings;
use crate::select::{
    NamePattern, PartitionSet, TopicMapping, TopicRewrite, TopicSelection, rename_topics,
};

const GLOBAL: &str = "Global options";
const KAFKA: &str = "Kafka options";
const TOPICS: &str = "Topic choice";
const RECORDS: &str = "Record choice";

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Repository: a folder, as a path or file:// URL
    #[arg(short, long, global = true, env = "KBK_REPO", hide_env_values = true, value_name = "URL", help_heading = GLOBAL)]
    pub repo: Option<RepoUrl>,

    /// Configuration file (TOML); the command line and the environment win over it
    #[arg(short, long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,

    /// Results on stdout as one JSON document, or JSON lines for records
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,

    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", help_heading = GLOBAL)]
    pub verbose: u8,

    /// How messages on stderr are written [default: text]
    #[arg(
        long, global = true, value_enum, value_name = "text|json",
        hide_possible_values = true, help_heading = GLOBAL
    )]
    pub log_format: Option<LogFormat>,

    /// Whether messages on stderr are coloured
    #[arg(
        long, global = true, value_enum, value_name = "auto|always|never", default_value_t,
        hide_possible_values = true, help_heading = GLOBAL
    )]
    pub color: ColorWhen,
}

/// How messages on stderr are written.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// When messages are coloured.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Into files and pipes too.
    Always,
    /// Nowhere.
    Never,
}

/// How to reach Kafka.
#[derive(Args, Clone, Debug, Default)]
pub struct KafkaArgs {
    /// Brokers to ask first, as host:port,host:port
    #[arg(short, long, env = "KBK_BOOTSTRAP_SERVER", hide_env_values = true, value_name = "HOST:PORT", help_heading = KAFKA)]
    pub bootstrap_server: Option<String>,

    /// Client .properties file, as Kafka's own tools take it; the place for secrets
    #[arg(long, value_name = "FILE", help_heading = KAFKA)]
    pub command_config: Option<PathBuf>,

    /// Any librdkafka property, over the file's; repeatable
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = PropertyParser, help_heading = KAFKA)]
    pub properties: Vec<Property>,
}

impl KafkaArgs {
    /// What they say together, with the file's properties, checked.
    pub fn settings(&self) -> Result<ClientSettings, CliError> {
        let (server, file) = (
            self.bootstrap_server.as_deref(),
            self.command_config.as_deref(),
        );
        ClientSettings::new(server, file, &self.overrides())
            .map_err(|error| CliError::usage(error.to_string()))
    }

    /// The `-X` properties as pairs, in their order: of two equal keys the later one counts.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let pair = |property: &Property| (property.key.clone(), property.value.clone());
        self.properties.iter().map(pair).collect()
    }
}

/// A client property. Its value may be a secret and is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// librdkafka's name of it.
    pub key: String,
    /// Taken as it was given.
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

/// Which topics.
#[derive(Args, Clone, Debug, Default)]
pub struct TopicArgs {
    /// Topics to take: a name, a glob, or /a regular expression/ for the whole name; repeatable
    /// [default: all but internal ones; verify and mount take those, too]
    #[arg(long, value_name = "PATTERN", help_heading = TOPICS)]
    pub topic: Vec<NamePattern>,

    /// Topics to leave out, of those taken; repeatable
    #[arg(long, value_name = "PATTERN", help_heading = TOPICS)]
    pub exclude: Vec<NamePattern>,
}

impl TopicArgs {
    /// The choice that they make together.
    pub fn selection(&self) -> TopicSelection {
        TopicSelection::new(self.topic.clone(), self.exclude.clone())
    }
}

/// What the topics are called in the cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct RenameArgs {
    /// A topic has another name in the cluster; repeatable
    #[arg(long, value_name = "SOURCE=TARGET")]
    pub map: Vec<TopicMapping>,

    /// Topics whose whole name a regular expression matches have another name, in which $1 is its first group; repeatable,
    /// the first one that matches counts, and --map before all
    #[arg(long, value_name = "PATTERN=REPLACEMENT")]
    pub map_regex: Vec<TopicRewrite>,
}

impl RenameArgs {
    /// The name of each of these topics of the backup there.
    pub fn targets(&self, topics: &[String]) -> Result<BTreeMap<String, String>, CliError> {
        rename_topics(topics, &self.map, &self.map_regex).map_err(|error| {
            let usage = CliError::usage(error.to_string());
            match error.hint() {
                Some(hint) => usage.hint(hint),
                None => usage,
            }
        })
    }
}

/// Which of the topics' records. What is given holds together: a record must pass all of it.
#[derive(Args, Clone, Debug, Default)]
pub struct ChoiceArgs {
    /// Only these partitions of each topic: numbers and ranges of them
    #[arg(long, value_name = "LIST", help_heading = RECORDS)]
    pub partition: Option<PartitionSet>,

    /// Only records with this timestamp or a later one
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub since: Option<TimeArg>,

    /// Only records with this timestamp or an earlier one, wherever they stand in the partition
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub until: Option<TimeArg>,

    /// From Kafka's offset for this time on: each partition begins with its first record of this timestamp or a later one, and
    /// has everything behind it, older records that came late too. (--since looks at every record's own timestamp)
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub since_offset_of: Option<TimeArg>,

    /// Up to Kafka's offset for this time: each partition ends in front of its first record of this timestamp or a later one,
    /// and older records that came late, behind it, are left out. (--until has them)
    #[arg(long, value_name = "TIME", help_heading = RECORDS)]
    pub until_offset_of: Option<TimeArg>,

    /// Only the offsets that a CSV file names: lines `topic,partition,from,to`, without `to` itself; either may be empty
    #[arg(
        long, value_name = "FILE", help_heading = RECORDS,
        conflicts_with_all = ["topic", "exclude", "partition"]
    )]
    pub offsets: Option<PathBuf>,
}

impl ChoiceArgs {
    /// The times that were given.
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
