//! What the process tells its caller: the exit codes that scripts rely on.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, nothing lost or wrong.
    Done = 0,
    /// Failed; the reason and the next step are on stderr.
    Failed = 1,
    /// The words of the call are wrong.
    Usage = 2,
    /// Finished, and something is damaged, lost or different.
    Findings = 3,
    /// Interrupted by SIGINT; what was durable is committed.
    Interrupted = 130,
    /// Interrupted by SIGTERM; what was durable is committed.
    Terminated = 143,
}

impl Exit {
    /// The number that the shell sees in `$?`.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// How a command that did not fail has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything asked for is done.
    Clean,
    /// Everything asked for is done, and something is damaged, lost or different.
    Findings,
    /// A signal came first: what was durable is committed, and the command has said how to go on.
    Interrupted,
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
