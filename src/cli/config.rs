//! The `--config` file: the options that stay the same from run to run.
//!
//! ```toml
//! repo = "/backup/kafka"
//! bootstrap-server = "broker-1:9092,broker-2:9092"
//! command-config = "/etc/kbk/client.properties"
//! log-format = "json"
//!
//! [properties]                # as -X key=value
//! fetch.message.max.bytes = 1048576
//!
//! [backup]
//! topic = ["orders*"]
//! exclude = ["*-test"]
//! compression = "zstd:9"
//! block-size = "1MiB"
//! segment-size = "128MiB"
//! no-groups = true
//! no-acls = true
//! ```
//!
//! A key is the name of a long option, and has the values of that option. An option on the command
//! line or in the environment takes precedence; relative paths start at the working directory.

use std::fmt::Display;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::de::{DeTable, DeValue};

use super::args::{GlobalArgs, KafkaArgs, LogFormat, Property};
use super::repo_url::RepoUrl;
use super::size::{BlockSize, SegmentSize};
use crate::select::{NamePattern, nearest};
use kbk_format::Compression;

/// The contents of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    #[serde(deserialize_with = "option")]
    repo: Option<RepoUrl>,
    bootstrap_server: Option<String>,
    command_config: Option<PathBuf>,
    #[serde(deserialize_with = "log_format")]
    log_format: Option<LogFormat>,
    #[serde(deserialize_with = "properties")]
    properties: Vec<Property>,
    backup: BackupConfig,
}

/// The options of `kbk backup`, each under the long option's name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BackupConfig {
    #[serde(deserialize_with = "patterns")]
    pub(crate) topic: Vec<NamePattern>,
    #[serde(deserialize_with = "patterns")]
    pub(crate) exclude: Vec<NamePattern>,
    #[serde(deserialize_with = "option")]
    pub(crate) compression: Option<Compression>,
    #[serde(deserialize_with = "option")]
    pub(crate) block_size: Option<BlockSize>,
    #[serde(deserialize_with = "option")]
    pub(crate) segment_size: Option<SegmentSize>,
    pub(crate) no_groups: bool,
    pub(crate) no_acls: bool,
}

/// The keys of each table, to suggest the nearest one. A test compares them with the structs.
const KEYS: [&str; 6] = [
    "repo",
    "bootstrap-server",
    "command-config",
    "log-format",
    "properties",
    "backup",
];
const BACKUP_KEYS: [&str; 7] = [
    "topic",
    "exclude",
    "compression",
    "block-size",
    "segment-size",
    "no-groups",
    "no-acls",
];

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// As it was given.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An unknown key.
    #[error("{path}, line {line}: unknown key `{key}`; {suggestion}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// With its table, as in `backup.compresion`.
        key: String,
        /// The nearest valid key, or all of them.
        suggestion: String,
    },
    /// Invalid TOML, or an invalid value.
    #[error("{path}, line {line}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}

impl Config {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let file = File { path, text: &text };
        file.check_keys()?;
        toml::from_str(&text).map_err(|error| file.invalid(&error))
    }

    /// Fills in the options that neither the command line nor the environment gives.
    pub fn fill(self, global: &mut GlobalArgs, kafka: Option<&mut KafkaArgs>) -> BackupConfig {
        fill(&mut global.repo, self.repo);
        fill(&mut global.log_format, self.log_format);
        if let Some(kafka) = kafka {
            fill(&mut kafka.bootstrap_server, self.bootstrap_server);
            fill(&mut kafka.command_config, self.command_config);
            prepend_properties(kafka, self.properties);
        }
        self.backup
    }
}

/// Sets an option that was not given.
pub(crate) fn fill<T>(option: &mut Option<T>, default: Option<T>) {
    if option.is_none() {
        *option = default;
    }
}

/// Sets a repeatable option that was not given.
pub(crate) fn fill_list<T>(list: &mut Vec<T>, default: Vec<T>) {
    if list.is_empty() {
        *list = default;
    }
}

/// Of two equal keys the later one wins, so the file's come first.
fn prepend_properties(kafka: &mut KafkaArgs, mut properties: Vec<Property>) {
    properties.append(&mut kafka.properties);
    kafka.properties = properties;
}

/// The file, to report where in it an error is.
///
/// Errors never show the line itself, which may contain a secret.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn check_keys(&self) -> Result<(), ConfigError> {
        let root = DeTable::parse(self.text).map_err(|error| self.invalid(&error))?;
        self.check_table(root.get_ref(), "", &KEYS)?;
        if let Some(DeValue::Table(backup)) =
            root.get_ref().get("backup").map(toml::Spanned::get_ref)
        {
            self.check_table(backup, "backup.", &BACKUP_KEYS)?;
        }
        Ok(())
    }

    fn check_table(
        &self,
        table: &DeTable<'_>,
        prefix: &str,
        keys: &[&'static str],
    ) -> Result<(), ConfigError> {
        match table
            .keys()
            .find(|key| !keys.contains(&key.get_ref().as_ref()))
        {
            Some(key) => Err(ConfigError::UnknownKey {
                path: self.path.to_owned(),
                line: self.line(Some(key.span())),
                key: format!("{prefix}{}", key.get_ref()),
                suggestion: suggestion(key.get_ref(), prefix, keys),
            }),
            None => Ok(()),
        }
    }

    fn invalid(&self, error: &toml::de::Error) -> ConfigError {
        ConfigError::Invalid {
            path: self.path.to_owned(),
            line: self.line(error.span()),
            reason: error.message().to_owned(),
        }
    }

    fn line(&self, span: Option<Range<usize>>) -> usize {
        let position = span.map_or(0, |span| span.start.min(self.text.len()));
        1 + self.text.as_bytes()[..position]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }
}

fn suggestion(key: &str, prefix: &str, keys: &[&'static str]) -> String {
    match nearest(key, keys.iter().copied()).first() {
        Some(near) => format!("did you mean `{prefix}{near}`?"),
        None if prefix.is_empty() && BACKUP_KEYS.contains(&key) => {
            "it belongs under [backup]".to_owned()
        }
        None => format!("the keys here are {}", keys.join(", ")),
    }
}

/// Parses a value like the option of the same name.
fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

fn option<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    from_text(deserializer).map(Some)
}

fn log_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LogFormat>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let format = LogFormat::from_str(&text, false);
    format.map(Some).map_err(|_| {
        D::Error::custom(format!(
            "`{text}` is not a log format; give `text` or `json`"
        ))
    })
}

/// One pattern or a list of them.
fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NamePattern>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a pattern or a list of patterns")]
    enum Patterns {
        One(String),
        Many(Vec<String>),
    }
    let texts = match Patterns::deserialize(deserializer)? {
        Patterns::One(text) => vec![text],
        Patterns::Many(texts) => texts,
    };
    texts
        .iter()
        .map(|text| text.parse().map_err(D::Error::custom))
        .collect()
}

fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Property>, D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    let mut properties = Vec::new();
    flatten("", table, &mut properties).map_err(D::Error::custom)?;
    Ok(properties)
}

/// TOML reads `sasl.username = "x"` as a table in a table; to Kafka it is one key.
fn flatten(prefix: &str, table: toml::Table, properties: &mut Vec<Property>) -> Result<(), String> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let value = match value {
            toml::Value::Table(inner) => {
                flatten(&format!("{key}."), inner, properties)?;
                continue;
            }
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(_) | toml::Value::Datetime(_) => {
                return Err(format!(
                    "the property `{key}` must be a string, a number, true or false"
                ));
            }
        };
        properties.push(Property { key, value });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::load(file.path())
    }

    fn message(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        let error = message("repo = \"/x\"\n\nbootstrap_server = \"b\"\n");
        assert!(
            error.contains(
                "line 3: unknown key `bootstrap_server`; did you mean `bootstrap-server`?"
            ),
            "{error}"
        );
        let error = message("[backup]\ncompresion = \"lz4\"\n");
        assert!(
            error.contains(
                "line 2: unknown key `backup.compresion`; did you mean `backup.compression`?"
            ),
            "{error}"
        );
        let error = message("block-size = \"1MiB\"\n");
        assert!(error.contains("belongs under [backup]"), "{error}");
        let error = message("zzz = 1\n");
        assert!(error.contains("the keys here are repo, "), "{error}");
    }

    #[test]
    fn bad_values_are_named_with_their_line() {
        for (text, line, reason) in [
            ("[backup]\n\nblock-size = \"1\"\n", 3, "64KiB to 8MiB"),
            (
                "[backup]\ncompression = \"gzip\"\n",
                2,
                "`gzip` is not a compression",
            ),
            ("[backup]\ntopic = [\"ok\", \"\"]\n", 2, "empty pattern"),
            ("[backup]\ntopic = 7\n", 2, "a list of patterns"),
            ("\nrepo = \"s3://bucket\"\n", 2, "no bucket support yet"),
            ("log-format = \"xml\"\n", 1, "`text` or `json`"),
            ("repo = \n", 1, ""),
            ("repo = \"a\"\nrepo = \"b\"\n", 2, "duplicate"),
        ] {
            let error = message(text);
            assert!(error.contains(&format!("line {line}: ")), "{text}: {error}");
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn neither_errors_nor_debug_show_secrets() {
        let error = message("[properties]\nsasl.password = [\"hunter2\"]\n");
        assert!(
            error.contains("sasl.password") && !error.contains("hunter2"),
            "{error}"
        );
        let config = load("[properties]\nsasl.password = \"hunter2\"\n").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_key_lists_match_the_structs() {
        for (keys, error) in [
            (&KEYS[..], toml::from_str::<Config>("zzz = 1").unwrap_err()),
            (
                &BACKUP_KEYS[..],
                toml::from_str::<BackupConfig>("zzz = 1").unwrap_err(),
            ),
        ] {
            let quoted: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
            assert!(
                error.message().ends_with(&quoted.join(", ")),
                "{}",
                error.message()
            );
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = Config::load(Path::new("/nowhere/kbk.toml")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/kbk.toml"));
    }
}
