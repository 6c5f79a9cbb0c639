//! Options that a command would ignore, since others select a mode in which they mean nothing. One of the command line is refused: whoever gives it
//! expects something of it. What the environment or the configuration file says is for other calls, too, and gives way.
//!
//! Options that exclude each other in every mode are declared with the options; here are those that depend on what clap does not know of: on what an
//! operand is, on the absence of an option, or on where a value comes from.

use super::Command;
use crate::cli::CliError;

/// The options that say how to reach a cluster, as they are called.
const KAFKA: [(&str, &str); 4] = [
    ("bootstrap_server", "-b/--bootstrap-server"),
    ("command_config", "--command-config"),
    ("properties", "-X"),
    ("timeout", "--timeout"),
];

/// The options that say where a repository is, and how to reach it.
const REPOSITORY: [(&str, &str); 2] = [("repo", "-r/--repo"), ("store_option", "--store-option")];

/// The other options of `kbk diff --live`.
const LIVE: [(&str, &str); 10] = [
    ("snapshot", "--snapshot"),
    ("drop_header", "--drop-header"),
    ("partition_map", "--partition-map"),
    ("map", "--map"),
    ("map_regex", "--map-regex"),
    ("since", "--since"),
    ("until", "--until"),
    ("since_offset_of", "--since-offset-of"),
    ("until_offset_of", "--until-offset-of"),
    ("offsets", "--offsets"),
];

impl Command {
    /// Fails if an option of the command line would be ignored. `given` says whether the command line has the option with an id.
    pub(crate) fn check_all_used(&self, given: &dyn Fn(&str) -> bool) -> Result<(), CliError> {
        let first = |options: &[(&str, &'static str)]| {
            let mut found = options.iter().filter(|(id, _)| given(id));
            found.next().map(|(_, name)| *name)
        };
        // Commands that never use one take it all the same, as an option of every command.
        let never_uses_one = matches!(
            self,
            Command::Completions(_) | Command::Man(_) | Command::Umount(_)
        );
        let reads_files = self.is_without_repository() && !never_uses_one;
        if let (true, Some(name)) = (reads_files, first(&REPOSITORY)) {
            let message = format!("{name} names a repository, and files are read without one");
            let hint = "leave it out";
            return Err(CliError::usage(message).hint(hint));
        }
        let refused = match self {
            Command::Diff(args) if !args.live => first(&KAFKA).or(first(&LIVE)).map(|name| {
                let message = format!("{name} is for comparing with a cluster");
                let hint = "add --live, or select with --topic, --exclude and --partition";
                CliError::usage(message).hint(hint)
            }),
            Command::Status(args) if args.no_cluster => first(&KAFKA).map(without_cluster),
            Command::Restores(args) if args.is_without_cluster() => {
                first(&KAFKA).map(without_cluster)
            }
            Command::Cat(args) if args.records.has_files() => {
                first(&[("snapshot", "--snapshot")]).map(|_| args.records.no_snapshot())
            }
            Command::Grep(args) if args.records.has_files() => {
                first(&[("snapshot", "--snapshot")]).map(|_| args.records.no_snapshot())
            }
            Command::Grep(args) if args.count && !args.list => {
                first(&[("reverse", "--reverse")]).map(|name| {
                    let message = format!("{name} is an order, and --count prints one number");
                    CliError::usage(message).hint("leave one out, or add -l for a number of each")
                })
            }
            Command::Mount(args) if !args.is_daemon() => {
                let option = first(&[("log_file", "--log-file")]);
                option.or(args.log_file_option()).map(|name| {
                    let message = format!("{name} is for --daemon: messages go to stderr otherwise");
                    CliError::usage(message).hint("add --daemon, or redirect stderr")
                })
            }
            Command::Forget(args) if !args.uses_time_zone() => {
                first(&[("time_zone", "--time-zone")]).map(|name| {
                    let message = format!("{name} says where days begin, and no option keeps snapshots by days or the like");
                    CliError::usage(message).hint("leave it out, or add an option such as --keep-daily")
                })
            }
            _ => None,
        };
        refused.map_or(Ok(()), Err)
    }
}

fn without_cluster(name: &str) -> CliError {
    let message = format!("{name} is for asking the cluster, and --no-cluster asks none");
    CliError::usage(message).hint("leave one of the two out")
}
