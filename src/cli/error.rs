//! The error of a failed command: what happened, why, and what to do next.

use std::error::Error;
use std::fmt;

use super::exit::{Exit, Outcome};
use super::next_step::split;
use super::signals::exit_after;
use crate::run::Cancel;

/// The failure of a command, as the user reads it.
///
/// Every [`Error`] converts into one with `?`; a command that knows more adds it:
///
/// ```
/// # use kbk::cli::CliError;
/// # let cause = std::io::Error::other("permission denied");
/// CliError::new("cannot write the segment orders/0")
///     .caused_by(cause)
///     .hint("check who owns the repository folder");
/// ```
///
/// It is not an [`Error`] itself, since it ends a command and is never a cause.
pub struct CliError {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    exit: Exit,
}

impl CliError {
    /// Creates an error with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            exit: Exit::Failed,
        }
    }

    /// Creates an error for invalid arguments, with exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(message)
        }
    }

    /// Adds `cause` and its own causes.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Error) -> Self {
        self.push_cause(cause.to_string());
        self.push_sources(cause.source());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the exit code of the process.
    #[must_use]
    pub fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Returns the error of writing the result of a command that ended with this outcome.
    #[must_use]
    pub(crate) fn after(self, outcome: Outcome, cancel: &Cancel) -> Self {
        match outcome {
            Outcome::Clean => self,
            Outcome::Findings => {
                let exit = Exit::Findings;
                let found = "it says that something is damaged, lost or different";
                Self {
                    message: format!("{}: {found}", self.message),
                    exit,
                    ..self
                }
            }
            Outcome::Interrupted => self.with_exit(exit_after(cancel)),
        }
    }

    /// Returns the exit code of the process.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns what happened, without what to do.
    pub fn message(&self) -> String {
        split(&self.message).0
    }

    /// Returns the causes, the nearest first, without what to do.
    pub fn causes(&self) -> Vec<String> {
        let causes = self.causes.iter().map(|cause| split(cause).0);
        causes.collect()
    }

    /// Returns what to do next: what the message says, or else a cause, and the hint.
    pub fn next_step(&self) -> Option<String> {
        let mut texts = std::iter::once(&self.message).chain(&self.causes);
        let step = texts.find_map(|text| split(text).1);
        match (step, &self.hint) {
            (Some(step), Some(hint)) if step.ends_with('?') => Some(format!("{step} {hint}")),
            (Some(step), Some(hint)) => Some(format!("{step}; {hint}")),
            (step, hint) => step.or(hint.clone()),
        }
    }

    fn push_sources(&mut self, mut source: Option<&(dyn Error + 'static)>) {
        while let Some(cause) = source {
            self.push_cause(cause.to_string());
            source = cause.source();
        }
    }

    /// Many libraries repeat the cause in their own message; it is printed once.
    fn push_cause(&mut self, cause: String) {
        let last = self.causes.last().unwrap_or(&self.message);
        if !last.contains(&cause) {
            self.causes.push(cause);
        }
    }
}

impl<E: Error> From<E> for CliError {
    fn from(error: E) -> Self {
        let mut this = Self::new(error.to_string());
        this.push_sources(error.source());
        this
    }
}

/// Several lines without the leading `error: `, which the terminal colours.
impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, "\n  cause: {}", indented(cause))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", indented(hint))?;
        }
        Ok(())
    }
}

impl fmt::Debug for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (exit {})", self.exit.code())
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read snapshot 7")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_is_printed_from_the_outside_in() {
        let error = CliError::new("restore failed")
            .caused_by(Outer(io::Error::other("disk says no")))
            .hint("run kbk verify");
        assert_eq!(
            error.to_string(),
            "restore failed\n  cause: cannot read snapshot 7\n  cause: disk says no\n  hint: run kbk verify"
        );
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[test]
    fn any_error_converts_with_its_sources() {
        let error = CliError::from(Outer(io::Error::other("disk says no")));
        assert_eq!(error.message(), "cannot read snapshot 7");
        assert_eq!(error.causes(), ["disk says no"]);
    }

    #[test]
    fn a_cause_that_the_message_already_says_is_not_repeated() {
        let error = CliError::new("cannot open /data: not found")
            .caused_by(io::Error::new(io::ErrorKind::NotFound, "not found"));
        assert!(error.causes().is_empty());
    }

    #[test]
    fn a_step_is_no_part_of_the_message_wherever_it_is_written() {
        let text = "cannot read a: it is damaged; restore it from a copy";
        let error = CliError::new(text);
        assert_eq!(error.message(), "cannot read a: it is damaged");
        let step = |error: &CliError| error.next_step().unwrap();
        assert_eq!(step(&error), "restore it from a copy");
        assert_eq!(error.to_string(), text, "people read one sentence");
        let both = error.hint("`kbk ls` lists others");
        assert_eq!(step(&both), "restore it from a copy; `kbk ls` lists others");
        let cause = io::Error::other("the disk is full; make room");
        let error = CliError::new("cannot write a").caused_by(cause);
        assert_eq!(error.causes(), ["the disk is full"]);
        assert_eq!(step(&error), "make room");
    }

    #[test]
    fn usage_errors_exit_with_2() {
        assert_eq!(CliError::usage("no topic given").exit(), Exit::Usage);
    }
}
