//! Files and folders that the options of a command name to be written. Where two of them name the same one, the second would destroy what the first
//! has written, so they are refused before any work.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Command;
use crate::cli::CliError;

/// An option or operand as it is called, and what it names.
pub(super) type Written<'a> = (&'static str, &'a Path);

impl Command {
    /// Fails if two options name the same file to be written.
    pub(crate) fn check_written(&self) -> Result<(), CliError> {
        let written = self.written();
        let mut places: Vec<(Written<'_>, FileIdentity)> = Vec::new();
        for (option, path) in written {
            // What cannot be looked at cannot be written either, which is said with what it is.
            let Ok(place) = FileIdentity::of(path) else {
                continue;
            };
            if let Some(((first, _), _)) = places.iter().find(|(_, other)| *other == place) {
                let path = path.display();
                let message = format!("{first} and {option} name the same file, {path}");
                return Err(CliError::usage(message).hint("give each a file of its own"));
            }
            places.push(((option, path), place));
        }
        Ok(())
    }

    fn written(&self) -> Vec<Written<'_>> {
        let metrics = match self {
            Command::Mount(args) => Some(args.all_metrics()),
            command => command.metrics(),
        };
        let metrics = metrics.and_then(|metrics| metrics.metrics_textfile.as_ref());
        let metrics = metrics.map(|file| ("--metrics-textfile", file.path()));
        let own: Vec<(&'static str, Option<&PathBuf>)> = match self {
            Command::Verify(args) => vec![
                ("--state", args.state.as_ref()),
                ("--evidence", args.evidence.as_ref()),
                ("--report", args.report.as_ref()),
            ],
            Command::Recover(args) => vec![
                ("-o/--output", args.output.as_ref()),
                ("--report", args.report.as_ref()),
            ],
            Command::Export(args) => vec![("OUT", Some(&args.out))],
            Command::Mount(args) => args.written().to_vec(),
            _ => Vec::new(),
        };
        let own = own.into_iter();
        let own = own.filter_map(|(option, path)| Some((option, path?.as_path())));
        own.chain(metrics).collect()
    }
}

/// What tells one file from another, whether it exists or not.
#[derive(Debug, PartialEq, Eq)]
enum FileIdentity {
    /// The device and the inode of a file that exists, which may have several names.
    Existing(u64, u64),
    /// The path that a file will have.
    New(PathBuf),
}

impl FileIdentity {
    fn of(path: &Path) -> io::Result<FileIdentity> {
        match fs::metadata(path) {
            Ok(found) => return Ok(FileIdentity::Existing(found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let path = std::path::absolute(path)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(FileIdentity::New(path));
        };
        Ok(FileIdentity::New(match fs::canonicalize(folder) {
            Ok(folder) => folder.join(name),
            Err(_) => path,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use clap::Parser as _;

    use super::*;
    use crate::commands::Cli;

    fn check(arguments: &[&str]) -> Result<(), String> {
        let cli = Cli::try_parse_from(["kbk"].iter().chain(arguments)).unwrap();
        cli.command.check_written().map_err(|it| it.to_string())
    }

    #[test]
    fn two_options_do_not_name_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(at("below")).unwrap();
        symlink(folder.path(), at("same")).unwrap();
        let (one, two) = (at("one.prom"), at("two.prom"));
        let again = at("below/../same/one.prom");
        for (first, second) in [(&one, &one), (&one, &again), (&again, &one)] {
            let key = &at("key");
            let signed = ["--sign-key", key];
            let output = ["recover", "a.kseg"];
            for (command, left, right) in [
                (&["verify"][..], "--report", "--metrics-textfile"),
                (&["verify", "--subset", "5%"], "--state", "--report"),
                (&output, "--output", "--report"),
                (&["mount", "r", "m"], "--log-file", "--metrics-textfile"),
                (
                    &["mount", "r", "m", "--daemon"],
                    "--log-file",
                    "--metrics-textfile",
                ),
            ] {
                let same = [command, &[left, first, right, second]].concat();
                let refused = check(&same).unwrap_err();
                assert!(refused.contains(right), "{refused}");
                let apart = [command, &[left, first, right, &two]].concat();
                assert_eq!(check(&apart), Ok(()), "{apart:?}");
            }
            let evidence = ["verify", "--evidence", first, "--report", second];
            check(&[&evidence[..], &signed].concat()).unwrap_err();
            let export = ["export", "-f", "jsonl", first, "--metrics-textfile", second];
            check(&export).unwrap_err();
        }
        assert_eq!(check(&["verify", "--report", &one]), Ok(()));
    }

    #[test]
    fn a_file_of_two_names_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("first"), "").unwrap();
        fs::hard_link(at("first"), at("hard.prom")).unwrap();
        symlink("first", at("soft.prom")).unwrap();
        for other in ["hard.prom", "soft.prom"] {
            let first = at("first");
            let verify = ["verify", "--report", &first, "--metrics-textfile"];
            check(&[&verify[..], &[&at(other)]].concat()).unwrap_err();
        }
    }
}
