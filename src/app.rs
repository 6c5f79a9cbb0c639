//! The program: from the arguments of the process to its exit code.

use std::ffi::OsString;
use std::process::{self, ExitCode};

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser};
use tokio::runtime::Runtime;

use crate::cli::{
    CliError, Config, ConfigError, Context, Exit, FirstSignal, GlobalArgs, Outcome, RepoMode,
    RepoUrl, Stderr, TimeArg, exit_after, install, logging,
};
use crate::commands::{Command, translate_mount_arguments};

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
Exit codes: 0 done; 1 failed; 2 invalid arguments; 3 finished, but something is damaged,
lost or different; 130 or 143 interrupted, with everything durable committed.

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

/// Ends the process here for `--help` (exit code 0) and for invalid arguments (2).
fn parse() -> Cli {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let arguments = match translate_mount_arguments(&arguments) {
        Some(fake) if fake.is_empty() => process::exit(Exit::Done.code().into()),
        Some(translated) => translated,
        None => arguments,
    };
    let matches = Cli::command()
        .color(help_color(&arguments))
        .get_matches_from(arguments);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Finds `--color` by hand: help and usage errors are written before arguments are parsed.
fn help_color(arguments: &[OsString]) -> ColorChoice {
    let given = |when: &str| {
        arguments
            .iter()
            .any(|argument| *argument == *format!("--color={when}"))
            || arguments
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
    /// Fills in what the `--config` file sets, if there is one.
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
        self.fill(config);
        Ok(())
    }

    fn fill(&mut self, config: Config) {
        let backup = config.fill(&mut self.global, self.command.kafka_mut());
        if let Command::Backup(args) = &mut self.command {
            args.fill(backup);
        }
    }
}

/// Returns the mode of what the command creates: that of the repository, or else the one that it is to get.
fn repo_mode(cli: &Cli) -> RepoMode {
    if matches!(cli.command, Command::Demo(_)) {
        return RepoMode::default();
    }
    let existing = cli.global.repo.as_ref().map(RepoUrl::path);
    let existing = existing.and_then(RepoMode::of);
    existing.or(cli.command.repo_mode()).unwrap_or_default()
}

fn run(cli: &Cli, stderr: &Stderr) -> Result<Exit, CliError> {
    repo_mode(cli).apply();
    for note in cli.command.times().filter_map(TimeArg::note) {
        tracing::info!("{note}");
    }
    let first = match cli.command.when_stopped() {
        Some(work) => FirstSignal::Asks(work),
        None => FirstSignal::Ends,
    };
    let cancel = install(first, stderr)?;
    let context = Context::new(&cli.global, stderr, cancel.clone());
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(cli.command.run(&context));
    // Whatever still runs was abandoned by the command, so nothing waits for it.
    runtime.shutdown_background();
    // A command that a signal has stopped may fail on the way to its end, as when the cluster does not answer.
    let outcome = outcome.map_err(|error| match cancel.is_set() {
        true => error.with_exit(exit_after(&cancel)),
        false => error,
    });
    Ok(match outcome? {
        Outcome::Clean => Exit::Done,
        Outcome::Findings => Exit::Findings,
        Outcome::Interrupted => exit_after(&cancel),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use kbk_format::Compression;

    use super::*;
    use crate::cli::{BlockSize, ColorWhen, LogFormat, Property};
    use crate::commands::backup;
    use crate::run::Cancel;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["kbk"], words].concat())
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn invalid_arguments_exit_with_2_and_help_with_0() {
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
    fn global_options_come_before_or_after_the_command() {
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
    fn a_bucket_is_rejected_with_a_reason() {
        let error = parse(&["-r", "s3://bucket", "ls"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains("no bucket support yet"),
            "{error}"
        );
    }

    #[test]
    fn neither_debug_nor_errors_show_secrets() {
        let cli = parse(&["backup", "-X", "sasl.password=hunter2"]).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
        let error = parse(&["backup", "-X", "hunter2"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("KEY=VALUE"), "{error}");
    }

    #[test]
    fn the_value_of_a_property_is_not_trimmed() {
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
    fn colour_is_known_before_parsing() {
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

    fn merged(config: &str, words: &[&str]) -> Cli {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(config.as_bytes()).unwrap();
        let mut cli = parse(words).unwrap();
        cli.fill(Config::load(file.path()).unwrap());
        cli
    }

    const FULL: &str = r#"
repo = "/backup"
bootstrap-server = "b:9092"
command-config = "client.properties"
log-format = "json"
[properties]
sasl.username = "me"
"linger.ms" = 5
enable.idempotence = true
[backup]
topic = ["orders*", "audit"]
exclude = "*-test"
compression = "zstd:9"
block-size = "256KiB"
segment-size = "64MiB"
no-groups = true
no-acls = true
"#;

    fn backup_args(cli: &Cli) -> &backup::Args {
        match &cli.command {
            Command::Backup(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_key_of_the_configuration_file_takes_effect() {
        let cli = merged(FULL, &["backup"]);
        assert_eq!(
            cli.global.repo.as_ref().unwrap().path(),
            Path::new("/backup")
        );
        assert_eq!(cli.global.log_format, Some(LogFormat::Json));
        let args = backup_args(&cli);
        assert_eq!(args.kafka.bootstrap_server.as_deref(), Some("b:9092"));
        assert_eq!(
            args.kafka.command_config.as_deref(),
            Some(Path::new("client.properties"))
        );
        let properties: Vec<_> = args
            .kafka
            .properties
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str()))
            .collect();
        assert!(
            properties.contains(&("sasl.username", "me")),
            "{properties:?}"
        );
        assert!(properties.contains(&("linger.ms", "5")), "{properties:?}");
        assert!(
            properties.contains(&("enable.idempotence", "true")),
            "{properties:?}"
        );
        assert_eq!(args.topics.topic.len(), 2);
        assert_eq!(args.topics.exclude.len(), 1);
        assert_eq!(args.compression, Some(Compression::Zstd(9)));
        assert_eq!(args.block_size.unwrap().bytes(), 256 << 10);
        assert_eq!(args.segment_size.unwrap().bytes(), 64 << 20);
        assert!(args.no_groups && args.no_acls);
    }

    #[test]
    fn the_command_line_wins_over_the_configuration_file() {
        let words = [
            "-r",
            "/mine",
            "--log-format",
            "text",
            "backup",
            "-b",
            "c:1",
            "--topic",
            "x",
            "--compression",
            "lz4",
            "--block-size",
            "1MiB",
            "--segment-size",
            "1MiB",
            "-X",
            "linger.ms=9",
        ];
        let cli = merged(FULL, &words);
        assert_eq!(cli.global.repo.as_ref().unwrap().path(), Path::new("/mine"));
        assert_eq!(cli.global.log_format, Some(LogFormat::Text));
        let args = backup_args(&cli);
        assert_eq!(args.kafka.bootstrap_server.as_deref(), Some("c:1"));
        assert_eq!(args.topics.topic.len(), 1);
        assert_eq!(args.topics.exclude.len(), 1);
        assert_eq!(args.compression, Some(Compression::Lz4));
        assert_eq!(args.block_size, Some(BlockSize::default()));
        let last = args.kafka.properties.last().unwrap();
        assert_eq!((last.key.as_str(), last.value.as_str()), ("linger.ms", "9"));
    }
}
