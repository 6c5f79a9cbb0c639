//! What every command receives besides its own arguments.

use std::sync::Arc;

use kbk_format::repo::Location;

use super::args::GlobalArgs;
use super::confirm::confirm;
use super::error::CliError;
use super::exit::Outcome;
use super::monitor::Monitor;
use super::output::{Output, Report, Verdict};
use super::progress::{Display, Progress};
use super::repo_url::{self, RepoUrl};
use super::stderr::Stderr;
use super::store_options::{self, StoreOption};
use crate::metrics::Metrics;
use crate::run::{Both, Cancel, Events};

/// The context of a running command.
pub struct Context {
    /// Where its results go.
    pub output: Arc<Output>,
    /// The request to stop.
    pub cancel: Cancel,
    repo: Option<RepoUrl>,
    store_options: Vec<StoreOption>,
    display: Display,
    stderr: Stderr,
    monitor: Option<Arc<Monitor>>,
}

impl Context {
    pub(crate) fn new(
        global: &GlobalArgs,
        output: Arc<Output>,
        stderr: &Stderr,
        cancel: Cancel,
    ) -> Self {
        Self {
            output,
            cancel,
            repo: global.repo.clone(),
            store_options: global.store_option.clone(),
            display: Display::choose(global, stderr),
            stderr: stderr.clone(),
            monitor: None,
        }
    }

    /// Returns where the repository is and how to reach it.
    pub fn location(&self) -> Result<Location, CliError> {
        self.location_of(self.repo()?)
    }

    /// Returns how to reach the repository at `repo`.
    pub fn location_of(&self, repo: &RepoUrl) -> Result<Location, CliError> {
        store_options::apply(repo.location(), &self.store_options)
    }

    /// Counts what the command does.
    pub(crate) fn watched_by(self, monitor: Option<Arc<Monitor>>) -> Self {
        Self { monitor, ..self }
    }

    /// Returns the metrics of the command, if they go anywhere.
    pub fn metrics(&self) -> Option<&Metrics> {
        let monitor = self.monitor.as_ref();
        monitor.map(|monitor| &**monitor.metrics())
    }

    /// Returns the repository, which must have been given.
    pub fn repo(&self) -> Result<&RepoUrl, CliError> {
        self.repo.as_ref().ok_or_else(repo_url::missing)
    }

    /// Writes the one result of the command, and returns how it ended. That the result cannot be written does not hide that there are
    /// findings.
    pub fn conclude(&self, report: &impl Report, outcome: Outcome) -> Result<Outcome, CliError> {
        match self.output.report(report, outcome.into()) {
            Ok(()) => Ok(outcome),
            Err(error) => Err(error.after(outcome, &self.cancel)),
        }
    }

    /// Writes the result of a command that fails although there is one, and returns its error.
    pub fn conclude_failed(&self, report: &impl Report, error: CliError) -> CliError {
        let verdict = match self.cancel.is_set() {
            true => Verdict::Interrupted,
            false => Verdict::Failed,
        };
        match self.output.report(report, verdict) {
            Ok(()) => error,
            Err(output) => output,
        }
    }

    /// Asks the user to type `answer`; fails on another answer, or without a terminal.
    pub fn confirm(&self, question: &str, answer: &str) -> Result<(), CliError> {
        confirm(question, answer, &self.stderr)
    }

    /// Returns the listeners of a run called `title`: its progress on stderr, and its metrics.
    pub fn events(&self, title: &'static str) -> Arc<dyn Events> {
        let progress = Arc::new(Progress::new(&self.display, title));
        match &self.monitor {
            Some(monitor) => Arc::new(Both(progress, monitor.metrics().clone())),
            None => progress,
        }
    }
}
