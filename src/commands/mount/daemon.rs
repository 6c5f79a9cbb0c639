//! Runs a mount in the background: this program in a second process, in a session of its own.
//!
//! The second process does all the work and reports through its standard output, a pipe: one line when the mount is ready. Until
//! then its errors go to the caller's stderr; afterwards its messages go to a file or are discarded. It is a new process and not a
//! fork, because threads do not survive a fork.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use nix::unistd::{dup2_stderr, dup2_stdout, setsid};

use super::translate_mount_arguments;
use crate::cli::CliError;

const READY: &str = "ready";

/// Starts the background process with the arguments of this one, and returns its process id when its mount is ready.
pub(super) fn start() -> Result<u32, CliError> {
    let arguments: Vec<_> = env::args_os().collect();
    let arguments = translate_mount_arguments(&arguments).unwrap_or(arguments);
    let arguments = arguments.into_iter().skip(1).map(|argument| {
        if argument == "--daemon" {
            "--daemonized".into()
        } else {
            argument
        }
    });
    let mut child = Command::new(env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Through a pipe, so that it does not format its messages for a terminal, which it is about to leave.
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
    // Its own errors come first, then this one.
    errors.map(JoinHandle::join);
    Err(
        CliError::new(format!("the background process ended with {status}"))
            .hint("its errors are above"),
    )
}

/// Reports that the mount is ready, and detaches from the caller's terminal and working directory.
pub(super) fn announce(log_file: Option<&Path>) -> Result<(), CliError> {
    setsid().map_err(io::Error::from)?;
    let null = File::options().write(true).open("/dev/null")?;
    let messages = match log_file {
        Some(file) => File::options().create(true).append(true).open(file)?,
        None => null.try_clone()?,
    };
    // Only now: the log file may have a relative path. Staying would keep the caller's file system busy.
    env::set_current_dir("/")?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{READY}")?;
    stdout.flush()?;
    dup2_stdout(&null).map_err(io::Error::from)?;
    dup2_stderr(&messages).map_err(io::Error::from)?;
    Ok(())
}
