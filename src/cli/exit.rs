//! The exit codes of the process, which scripts rely on.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; nothing is damaged, lost or different.
    Done = 0,
    /// Failed; the reason and the next step are on stderr.
    Failed = 1,
    /// The arguments are invalid.
    Usage = 2,
    /// Finished, but something is damaged, lost or different.
    Findings = 3,
    /// Interrupted by SIGINT; everything durable is committed.
    Interrupted = 130,
    /// Interrupted by SIGTERM; everything durable is committed.
    Terminated = 143,
}

impl Exit {
    /// Returns the number that the shell has in `$?`.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is done.
    Clean,
    /// Everything is done, but something is damaged, lost or different.
    Findings,
    /// A signal stopped the command: everything durable is committed, and the command has reported how to resume.
    Interrupted,
}

impl Outcome {
    /// Returns that everything is done: with findings unless `clean`.
    pub fn clean_if(clean: bool) -> Self {
        match clean {
            true => Outcome::Clean,
            false => Outcome::Findings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_published_ones() {
        let codes = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Findings,
            Exit::Interrupted,
            Exit::Terminated,
        ];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 130, 143]);
    }
}
