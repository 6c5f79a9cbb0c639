//! The program: from the arguments of the process to its exit code.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ColorChoice, CommandFactory, FromArgMatches};
use kbk_format::repo::observe_stores;
use tokio::runtime::Runtime;

use crate::cli::{
    CliError, Config, ConfigError, Context, EndGuard, Exit, FirstSignal, Given, GlobalArgs, Head,
    LastWords, Monitor, Outcome, Output, RepoMode, RepoUrl, Stderr, TimeArg, exit_after, install,
    is_long, logging, replace_store_options, shaped,
};
use crate::commands::{Cli, Command, translate_mount_arguments};
use crate::memory;

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    memory::one_arena_per_core();
    let arguments = arguments();
    let definitions = Cli::command();
    // Without the configuration file, which these arguments name; errors are for the second time.
    let first = definitions.clone().ignore_errors(true);
    let first = first.try_get_matches_from(&arguments).ok();
    let given = first.as_ref().map(Given::of);
    let given = given.unwrap_or_else(|| Given::nothing(command_names(&definitions, &arguments)));
    let global = first.and_then(|matches| GlobalArgs::from_arg_matches(&matches).ok());
    let configured = configured(definitions, &arguments, global.as_ref(), &given);
    let global = match &configured {
        Ok((cli, _)) => cli.global.clone(),
        Err(_) => global.unwrap_or_default(),
    };
    let stderr = Stderr::new(global.color);
    logging::init(&global, &stderr);
    let command = configured.as_ref().ok().map(|(cli, _)| &cli.command);
    let head = head(&given, &global, command);
    let output = Arc::new(Output::stdout(global.json, head.clone()));
    let ended = configured.and_then(|(cli, origins)| {
        for origin in origins {
            tracing::debug!("{origin}");
        }
        guarded(|| run(&cli, &head, &output, &stderr))
    });
    let ended = ended.or_else(|error| {
        logging::report(&error, &global, &stderr);
        output.failed(&error).map(|()| error.exit())
    });
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            logging::report(&error, &global, &stderr);
            error.exit().into()
        }
    }
}

/// Turns a panic, whose message the standard library has written, into an error.
fn guarded(work: impl FnOnce() -> Result<Exit, CliError>) -> Result<Exit, CliError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let error = CliError::new("kbk panicked, which is a bug in kbk");
        Err(error.hint("report it with the lines before this one"))
    })
}

/// Returns what the JSON of the command begins with. `command` is `None` if the arguments are invalid.
fn head(given: &Given, global: &GlobalArgs, command: Option<&Command>) -> Head {
    let global = || global.repo.as_ref().map(ToString::to_string);
    let repository = match command {
        Some(command) if command.is_without_repository() => None,
        command => command.and_then(Command::repository).or_else(global),
    };
    Head {
        command: given.names.join(" "),
        repository,
    }
}

/// Returns the arguments of the process. Ends it here for a fake mount of mount(8), which does nothing.
fn arguments() -> Vec<OsString> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match translate_mount_arguments(&arguments) {
        Some(fake) if fake.is_empty() => process::exit(Exit::Done.code().into()),
        Some(translated) => translated,
        None => arguments,
    }
}

/// Parses the arguments with what the configuration file says as defaults, and returns where the options come from. Ends the process here for `--help` (exit code 0) and
/// for invalid arguments (2). `global` is `None` for arguments that ask for help.
fn configured(
    definitions: clap::Command,
    arguments: &[OsString],
    global: Option<&GlobalArgs>,
    given: &Given,
) -> Result<(Cli, Vec<String>), CliError> {
    let config = match global {
        Some(global) => {
            let given = global.config.as_deref();
            Config::find(given, &definitions).map_err(|error| invalid(error, given))?
        }
        None => Config::default(),
    };
    let parse = |definitions| {
        let definitions = config.defaults(definitions, given);
        definitions.try_get_matches_from(arguments)
    };
    let matches = parse(definitions)
        // Only help and errors show the shape of the help. It takes milliseconds for all commands, which is why others do without.
        .or_else(|_| parse(in_shape(arguments)))
        .unwrap_or_else(|error| exit_for(&error, arguments, global, given));
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let is_repo_given = matches.value_source("repo") == Some(ValueSource::CommandLine);
    if let Some(operand) = cli.command.repository().filter(|_| is_repo_given) {
        let message = format!("the repository is given twice: as `{operand}`, and with -r/--repo");
        return Err(CliError::usage(message).hint("give it in one of the two ways"));
    }
    let on_command_line = on_command_line(&matches);
    cli.command
        .check_all_used(&|option| on_command_line.contains(option))?;
    set_store_options(&mut cli, &config)?;
    if let Some(kafka) = cli.command.kafka_mut() {
        kafka.prepend_properties(config.properties(&given.names));
    }
    Ok((cli, config.origins(&matches)))
}

/// Returns the definitions for whoever reads their help.
fn in_shape(arguments: &[OsString]) -> clap::Command {
    shaped(Cli::command(), is_long(arguments)).color(help_color(arguments))
}

/// Returns the ids of the options that the command line has.
fn on_command_line(matches: &clap::ArgMatches) -> BTreeSet<String> {
    let mut given = BTreeSet::new();
    let mut level = Some(matches);
    while let Some(matches) = level {
        let is_given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let ids = matches.ids().map(clap::Id::as_str);
        given.extend(ids.filter(is_given).map(str::to_owned));
        level = matches.subcommand().map(|(_, below)| below);
    }
    given
}

/// Adds the store options of the file to those of the command line.
fn set_store_options(cli: &mut Cli, config: &Config) -> Result<(), CliError> {
    let given = std::mem::take(&mut cli.global.store_option);
    let repo = cli.global.repo.as_ref();
    if !given.is_empty() && repo.is_some_and(|repo| repo.folder().is_some()) {
        let message = "--store-option is for buckets, and the repository is a folder";
        return Err(CliError::usage(message));
    }
    cli.global.store_option = config.store_options();
    replace_store_options(&mut cli.global.store_option, given);
    Ok(())
}

/// Ends the process as clap does, with a document for `--json`: before the error, or instead of the help.
fn exit_for(
    error: &clap::Error,
    arguments: &[OsString],
    global: Option<&GlobalArgs>,
    given: &Given,
) -> ! {
    // Found by hand, since what follows an invalid argument is not parsed.
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let global = global.cloned().unwrap_or_default();
    if !global.json && !options.any(|argument| argument == "--json") {
        error.exit();
    }
    let output = Output::stdout(true, head(given, &global, None));
    if !error.use_stderr() {
        let written = output.help(&error.to_string());
        let exit = written.map_or(Exit::Failed, |()| Exit::Done);
        process::exit(exit.code().into());
    }
    let text = error.to_string();
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is required",
        // Up to the usage: what is missing or valid may be on lines of its own.
        _ => text.split("\n\n").next().unwrap_or_default(),
    };
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    // The process ends with 2 in either case.
    let failure = CliError::usage(message.trim_start_matches("error: "));
    let tip = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("tip: "));
    let failure = match (tip, failure.next_step()) {
        (Some(tip), _) => failure.hint(tip),
        (None, Some(_)) => failure,
        (None, None) => {
            let names = full_name(given);
            failure.hint(format!("`{names} --help` describes the arguments"))
        }
    };
    let _ = output.failed(&failure);
    error.exit()
}

/// Returns the command as it is called.
fn full_name(given: &Given) -> String {
    let names = given.names.iter().map(String::as_str);
    let names: Vec<&str> = std::iter::once("kbk").chain(names).collect();
    names.join(" ")
}

/// Returns the command and its subcommand for arguments that clap answers itself, as for `--help`.
fn command_names(definitions: &clap::Command, arguments: &[OsString]) -> Vec<String> {
    let mut names = Vec::new();
    let mut command = definitions;
    for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(below) = command.find_subcommand(word) {
            names.push(below.get_name().to_owned());
            command = below;
        }
    }
    names
}

fn invalid(error: ConfigError, given: Option<&Path>) -> CliError {
    match (error, given) {
        (error @ ConfigError::Read { .. }, Some(_)) => CliError::from(error).with_exit(Exit::Usage),
        (error @ ConfigError::Read { .. }, None) => {
            CliError::from(error).with_exit(Exit::Usage).hint(
                "it is read because it is in a default place; `--config /dev/null` runs without it",
            )
        }
        (error, _) => CliError::usage(error.to_string()),
    }
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

/// Returns the mode of what the command creates: that of the repository, or else the one that it is to get. `None` if what the
/// command writes has nothing of a repository.
fn repo_mode(cli: &Cli) -> Option<RepoMode> {
    let existing = match cli.command {
        Command::Completions(_) | Command::Man(_) => return None,
        Command::Demo(_) => None,
        _ => cli.global.repo.as_ref().and_then(RepoUrl::folder),
    };
    let existing = existing.and_then(RepoMode::of);
    Some(existing.or(cli.command.repo_mode()).unwrap_or_default())
}

/// Runs the command, with its metrics where they were asked for.
fn run(cli: &Cli, head: &Head, output: &Arc<Output>, stderr: &Stderr) -> Result<Exit, CliError> {
    cli.command.check_written()?;
    let monitor = match cli.command.metrics() {
        Some(args) => Monitor::begin(args, head)?,
        None => None,
    };
    if let Some(monitor) = &monitor {
        observe_stores(monitor.metrics().clone());
    }
    let guard = EndGuard(monitor.clone());
    let ended = run_watched(cli, output, stderr, monitor);
    guard.end(match &ended {
        Ok(exit) => (*exit).into(),
        Err(error) => error.exit().into(),
    });
    ended
}

fn run_watched(
    cli: &Cli,
    output: &Arc<Output>,
    stderr: &Stderr,
    monitor: Option<Arc<Monitor>>,
) -> Result<Exit, CliError> {
    if let Some(mode) = repo_mode(cli) {
        mode.apply();
    }
    for note in cli.command.times().filter_map(TimeArg::note) {
        tracing::info!("{note}");
    }
    let first = match cli.command.when_stopped() {
        Some(work) => FirstSignal::Asks(work),
        None => FirstSignal::Ends,
    };
    let cancel = install(first, last_words(output, monitor.clone()))?;
    let context = Context::new(&cli.global, Arc::clone(output), stderr, cancel.clone());
    let context = context.watched_by(monitor.clone());
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(async {
        if let Some(monitor) = monitor {
            monitor.serve().await?;
        }
        cli.command.run(&context).await
    });
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

/// Returns what is written before a first signal ends a command that has nothing else to do then: its document, and its metrics.
fn last_words(output: &Arc<Output>, monitor: Option<Arc<Monitor>>) -> Option<LastWords> {
    if !output.is_json() && monitor.is_none() {
        return None;
    }
    let output = Arc::clone(output);
    Some(Box::new(move |exit: Exit| {
        let ends = !output.is_json() || output.interrupted(exit);
        if let Some(monitor) = monitor.filter(|_| ends) {
            monitor.end(exit.into());
        }
        ends
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;
    use kbk_format::Compression;

    use super::*;
    use crate::cli::{BlockSize, ColorWhen, LogFormat, MetricsArgs, Property};
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
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        for words in [
            ["-r", "s3://key:hunter2@bucket"],
            ["--store-option", "access-key=hunter2"],
            ["--store-option", "hunter2"],
        ] {
            let error = parse(&[&words[..], &["ls"]].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
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
        let output = Arc::new(Output::stdout(false, Head::default()));
        let stderr = Stderr::new(ColorWhen::Never);
        let context = Context::new(&global, output, &stderr, Cancel::default());
        let error = context.repo().unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.next_step().unwrap().contains("KBK_REPO"));
    }

    fn monitor(file: &Path) -> Arc<Monitor> {
        let args = MetricsArgs {
            metrics_textfile: Some(file.to_str().unwrap().parse().unwrap()),
            ..MetricsArgs::default()
        };
        Monitor::begin(&args, &Head::default()).unwrap().unwrap()
    }

    #[test]
    fn a_signal_that_ends_a_command_writes_its_metrics_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kbk.prom");
        let output = Arc::new(Output::stdout(false, Head::default()));
        assert!(last_words(&output, None).is_none());
        let monitor = monitor(&file);
        let last_words = last_words(&output, Some(monitor.clone())).unwrap();
        assert!(last_words(Exit::Interrupted));
        let interrupted = std::fs::read_to_string(&file).unwrap();
        assert!(
            interrupted.contains("{verdict=\"interrupted\",command=\"\"} 1"),
            "{interrupted}"
        );
        // The command itself comes to its end meanwhile.
        EndGuard(Some(monitor)).end(Exit::Done.into());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), interrupted);
    }

    #[test]
    fn a_command_that_panics_has_failed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kbk.prom");
        let guard = EndGuard(Some(monitor(&file)));
        let ended = guarded(|| {
            let _guard = guard;
            panic!("of a test")
        });
        assert_eq!(ended.unwrap_err().exit(), Exit::Failed);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("{verdict=\"failed\",command=\"\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_password_of_the_pushgateway_is_in_no_error() {
        let url = "https://me:hunter2@gateway:9091";
        let error = parse(&["backup", "--pushgateway", url]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("--pushgateway") && text.contains("https is not supported"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
        let url = "http://me:hunter2@gateway:9091";
        let cli = parse(&["backup", "--pushgateway", url]).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = guarded(|| panic!("of a test")).unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.message().contains("bug"));
    }

    #[test]
    fn the_command_is_known_without_parsing() {
        let names = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            command_names(&Cli::command(), &words).join(" ")
        };
        assert_eq!(
            names(&["kbk", "--json", "groups", "--help", "list"]),
            "groups list"
        );
        assert_eq!(names(&["kbk", "unmount", "--help"]), "umount");
        assert_eq!(names(&["kbk", "--help"]), "");
    }

    fn merged(config: &str, words: &[&str]) -> Cli {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(config.as_bytes()).unwrap();
        let words = [&["kbk"], words].concat();
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        let first = Cli::command().ignore_errors(true);
        let given = Given::of(&first.try_get_matches_from(&arguments).unwrap());
        let global = GlobalArgs {
            config: Some(file.path().to_owned()),
            ..GlobalArgs::default()
        };
        configured(Cli::command(), &arguments, Some(&global), &given)
            .unwrap()
            .0
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
init = true
repo-mode = "0640"
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
        let repo = cli.global.repo.as_ref().unwrap();
        assert_eq!(repo.folder(), Some(Path::new("/backup")));
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
        assert!(args.init);
        assert_eq!(args.repo_mode.unwrap().to_string(), "0640");
    }

    #[test]
    fn an_option_that_a_command_requires_may_stand_in_the_file() {
        let file = "bootstrap-server = \"b:1\"\n[diff]\nlive = true\nbootstrap-server = \"c:1\"\n";
        let Command::Diff(args) = merged(file, &["diff"]).command else {
            panic!("not diff")
        };
        assert!(args.live);
        assert_eq!(args.kafka.bootstrap_server.as_deref(), Some("c:1"));
    }

    /// Splits a line as a shell does, up to a pipe or a redirection.
    fn shell_words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        let (mut word, mut quoted) = (String::new(), false);
        for c in line.chars().chain([' ']) {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => {
                    words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                }
                '|' | '>' if !quoted => return words,
                c => word.push(c),
            }
        }
        words
    }

    #[test]
    fn every_example_of_the_help_is_a_valid_command() {
        fn check(command: &clap::Command, found: &mut usize) {
            let text = crate::cli::examples(command).unwrap_or_default();
            for line in text.lines() {
                assert!(line.chars().count() <= 120, "{line}");
                let Some(example) = line.strip_prefix("  ").filter(|l| l.starts_with("kbk "))
                else {
                    continue;
                };
                let parsed = Cli::try_parse_from(shell_words(example));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                *found += 1;
            }
            command
                .get_subcommands()
                .for_each(|below| check(below, found));
        }
        let mut found = 0;
        check(&Cli::command(), &mut found);
        assert!(found > 30, "{found}");
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
        let repo = cli.global.repo.as_ref().unwrap();
        assert_eq!(repo.folder(), Some(Path::new("/mine")));
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
