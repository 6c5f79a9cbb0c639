//! The command line: what the words of a call mean, and how the program speaks.
//!
//! | to know | look in |
//! |---|---|
//! | the options of all commands, and groups of options | `args` |
//! | the options of one command | [`crate::commands`] |
//! | how a word becomes a value | `compression`, `offset`, `offset_ranges`, `partition_map`, `partitions`, `pattern`, `repo_url`, `rewrite`, `size`, `snapshot`, `time`, `topic` |
//! | the configuration file | `config` |
//! | results on stdout | `output` |
//! | asking before something is deleted | `confirm` |
//! | messages and progress on stderr | `stderr`, `logging`, `progress`, `error` |
//! | how the process ends | `exit`, `signals` |

mod args;
mod config;
mod confirm;
mod context;
mod error;
mod exit;
pub mod human;
mod logging;
mod nearest;
mod offset;
mod offset_ranges;
mod output;
mod partition_map;
mod partitions;
mod pattern;
mod progress;
mod repo_url;
mod rewrite;
mod signals;
mod size;
mod snapshot;
mod stderr;
pub mod time;
mod topic;

use std::ffi::OsString;
use std::process::{self, ExitCode};

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser};
use tokio::runtime::Runtime;

pub use self::args::{
    ChoiceArgs, ColorWhen, GlobalArgs, KafkaArgs, LogFormat, Property, RenameArgs, TopicArgs,
};
pub use self::config::{Config, ConfigError};
pub use self::context::Context;
pub use self::error::CliError;
pub use self::exit::{Exit, Outcome};
pub use self::offset::OffsetArg;
pub use self::offset_ranges::{OffsetRange, OffsetRanges};
pub use self::output::{Column, Lines, Output, Report, Table};
pub use self::partition_map::PartitionMap;
pub use self::partitions::PartitionSet;
pub use self::pattern::{NamePattern, SelectError, TopicSelection, select_groups};
pub use self::progress::{PartitionProgress, Progress, Totals};
pub use self::repo_url::{RepoUrl, RepoUrlError};
pub use self::rewrite::TopicRewrite;
pub use self::signals::Cancel;
pub use self::size::{BlockSize, ByteRate, CacheSize, MemorySize, PrefetchSize, SegmentSize};
pub use self::snapshot::{SnapshotArg, SnapshotsArg};
pub use self::time::{TimeArg, offset_times, time_range};
pub use self::topic::{TopicMapping, TopicName, TopicPlace};
pub use kbk_format::Compression;

use self::signals::FirstSignal;
use self::stderr::Stderr;
use crate::commands::{Command, words_of_mount};

/// Back up and restore Apache Kafka
#[derive(Parser, Clone, Debug)]
#[command(
    name = "kbk",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 finished, and something is damaged, lost or
different; 130 or 143 interrupted, with what was durable committed.

Try it without a cluster: kbk demo")]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let mut cli = parse();
    let stderr = Stderr::new(cli.global.color);
    let configured = cli.configure();
    logging::init(&cli.global, &stderr);
    match configured.and_then(|()| run(&cli, &stderr)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            logging::report(&error, &cli.global, &stderr);
            error.exit().into()
        }
    }
}

/// Ends the process here for `--help` (0) and for words that make no call (2).
fn parse() -> Cli {
    let words: Vec<OsString> = std::env::args_os().collect();
    let words = match words_of_mount(&words) {
        Some(rehearsal) if rehearsal.is_empty() => process::exit(Exit::Done.code().into()),
        Some(translated) => translated,
        None => words,
    };
    let matches = Cli::command()
        .color(help_color(&words))
        .get_matches_from(words);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Help and usage errors are written before `--color` is parsed, so it is looked for.
fn help_color(words: &[OsString]) -> ColorChoice {
    let given = |when: &str| {
        words.iter().any(|word| *word == *format!("--color={when}"))
            || words
                .windows(2)
                .any(|pair| pair[0] == "--color" && *pair[1] == *when)
    };
    if given("never") {
        ColorChoice::Never
    } else if given("always") {
        ColorChoice::Always
    } else {
        ColorChoice::Auto
    }
}

impl Cli {
    /// Brings in the `--config` file, if there is one.
    fn configure(&mut self) -> Result<(), CliError> {
        let Some(path) = &self.global.config else {
            return Ok(());
        };
        let config = Config::load(path).map_err(|error| match error {
            ConfigError::Read { .. } => CliError::from(error),
            ConfigError::UnknownKey { .. } | ConfigError::Invalid { .. } => {
                CliError::usage(error.to_string())
            }
        })?;
        config.merge(&mut self.global, &mut self.command);
        Ok(())
    }
}

fn run(cli: &Cli, stderr: &Stderr) -> Result<Exit, CliError> {
    for note in cli.command.times().filter_map(TimeArg::note) {
        tracing::info!("{note}");
    }
    let first = match cli.command.when_stopped() {
        Some(work) => FirstSignal::Asks(work),
        None => FirstSignal::Ends,
    };
    let cancel = signals::install(first, stderr)?;
    let context = Context::new(&cli.global, stderr, cancel.clone());
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(cli.command.run(&context));
    // Whatever still runs has been given up by the command; nobody waits for it.
    runtime.shutdown_background();
    Ok(match outcome? {
        Outcome::Clean => Exit::Done,
        Outcome::Findings => Exit::Findings,
        Outcome::Interrupted => cancel.exit(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["kbk"], words].concat())
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_words_exit_with_2_and_help_with_0() {
        for words in [
            &["--no-such-option"][..],
            &["no-such-command"],
            &["ls", "-q", "-v"],
            &["cat"],
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        for words in [&["--help"][..], &["--version"], &["backup", "--help"]] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 0, "{words:?}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for words in [
            ["-r", "/data", "--json", "ls"],
            ["ls", "--json", "-r", "/data"],
        ] {
            let global = parse(&words).unwrap().global;
            assert!(global.json);
            assert_eq!(global.repo.unwrap().to_string(), "/data");
        }
    }

    #[test]
    fn a_bucket_is_refused_with_its_reason() {
        let error = parse(&["-r", "s3://bucket", "ls"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains("no bucket support yet"),
            "{error}"
        );
    }

    #[test]
    fn secrets_are_shown_neither_by_debug_nor_by_errors() {
        let cli = parse(&["backup", "-X", "sasl.password=hunter2"]).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
        let error = parse(&["backup", "-X", "hunter2"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("KEY=VALUE"), "{error}");
    }

    #[test]
    fn a_property_keeps_its_value_as_it_is() {
        let cli = parse(&["restore", "-X", "a.b= x=y "]).unwrap();
        let Command::Restore(args) = cli.command else {
            panic!("not restore")
        };
        assert_eq!(
            args.kafka.properties,
            [Property {
                key: "a.b".to_owned(),
                value: " x=y ".to_owned()
            }]
        );
    }

    #[test]
    fn colour_is_chosen_before_parsing() {
        let choice = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            help_color(&words)
        };
        assert_eq!(choice(&["kbk", "--color=never", "ls"]), ColorChoice::Never);
        assert_eq!(choice(&["kbk", "--color", "always"]), ColorChoice::Always);
        assert_eq!(choice(&["kbk", "--color"]), ColorChoice::Auto);
        assert_eq!(choice(&["kbk", "never"]), ColorChoice::Auto);
    }

    #[test]
    fn a_command_without_a_repository_is_a_usage_error() {
        let global = GlobalArgs::default();
        let context = Context::new(&global, &Stderr::new(ColorWhen::Never), Cancel::default());
        let error = context.repo().unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.next_step().unwrap().contains("KBK_REPO"));
    }
}
