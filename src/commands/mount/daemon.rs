//! A mount in the background: this program once more, in a session of its own.
//!
//! The second process does all the work and reports through its standard output, a pipe: one line when the mount answers. Until
//! then its errors are those of the call; afterwards its messages go to a file or nowhere. It is a new process and not a fork,
//! because threads do not survive one.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use nix::unistd::{dup2_stderr, dup2_stdout, setsid};

use super::words_of_mount;
use crate::cli::CliError;

const READY: &str = "ready";

/// Starts the background process with the words of this call, and returns when its mount answers.
pub(super) fn start() -> Result<u32, CliError> {
    let words: Vec<_> = env::args_os().collect();
    let words = words_of_mount(&words).unwrap_or(words);
    let words = words.into_iter().skip(1).map(|word| {
        if word == "--daemon" {
            "--daemonized".into()
        } else {
            word
        }
    });
    let mut child = Command::new(env::current_exe()?)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Through a pipe, so that it does not take its messages for those at a terminal, which it is about to leave.
    let errors = child.stderr.take();
    let errors =
        errors.map(|mut errors| thread::spawn(move || io::copy(&mut errors, &mut io::stderr())));
    let mut line = String::new();
    if let Some(reports) = child.stdout.take() {
        BufReader::new(reports).read_line(&mut line)?;
    }
    if line.trim_end() == READY {
        return Ok(child.id());
    }
    let status = child.wait()?;
    // What it said comes before what is said of it.
    errors.map(JoinHandle::join);
    Err(
        CliError::new(format!("the background process ended with {status}"))
            .hint("its errors stand above"),
    )
}

/// Says that the mount answers, and lets go of the caller's terminal and folder.
pub(super) fn announce(log_file: Option<&Path>) -> Result<(), CliError> {
    setsid().map_err(io::Error::from)?;
    let null = File::options().write(true).open("/dev/null")?;
    let messages = match log_file {
        Some(file) => File::options().create(true).append(true).open(file)?,
        None => null.try_clone()?,
    };
    // Relative paths are behind us.
    env::set_current_dir("/")?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{READY}")?;
    stdout.flush()?;
    dup2_stdout(&null).map_err(io::Error::from)?;
    dup2_stderr(&messages).map_err(io::Error::from)?;
    Ok(())
}
