//! The metrics of a command: where they go while it runs, and when it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime;
use url::Url;

use super::error::CliError;
use super::metrics_args::MetricsArgs;
use super::output::{Head, Verdict};
use super::output_file::FileKind;
use crate::metrics::{self, ListenAddress, Metrics, PushUrl, TextFile};

/// The metrics of the command that this process runs.
pub(crate) struct Monitor {
    metrics: Arc<Metrics>,
    command: String,
    repository: Option<String>,
    address: Option<ListenAddress>,
    text_file: Option<TextFile>,
    gateway: Option<PushUrl>,
    /// Held while metrics are written, so that the process does not end meanwhile.
    ended: Mutex<bool>,
}

impl Monitor {
    /// Begins to count; `None` if metrics go nowhere.
    pub(crate) fn begin(args: &MetricsArgs, head: &Head) -> Result<Option<Arc<Monitor>>, CliError> {
        if !args.is_given() {
            return Ok(None);
        }
        let repository = head.repository.as_deref().map(without_secrets);
        if let Some(file) = &args.metrics_textfile {
            FileKind::METRICS.place(file.path())?;
        }
        let text_file = args.metrics_textfile.as_ref().map(TextFile::absolute);
        Ok(Some(Arc::new(Monitor {
            metrics: Arc::new(Metrics::new(&head.command, repository.as_deref())),
            command: head.command.clone(),
            repository,
            address: args.metrics_addr.clone(),
            text_file: text_file.transpose()?,
            gateway: args.pushgateway.clone(),
            ended: Mutex::new(false),
        })))
    }

    /// Returns what counts.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Serves the metrics from now on, as a task of this runtime, if that was asked for.
    pub(crate) async fn serve(&self) -> Result<(), CliError> {
        let Some(address) = &self.address else {
            return Ok(());
        };
        let served = metrics::serve(address, Arc::clone(&self.metrics)).await;
        let address = served.map_err(|error| {
            let hint = "give another HOST:PORT; port 0 takes any that is free";
            CliError::from(error).hint(hint)
        })?;
        tracing::info!("metrics are served at http://{address}/metrics");
        Ok(())
    }

    /// Writes and pushes the metrics of a command that has ended, once. What fails here is a warning: it does not change what the command
    /// has done.
    pub(crate) fn end(&self, verdict: Verdict) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *ended, true) {
            return;
        }
        self.metrics.ended(verdict.word());
        let text = self.metrics.text();
        if let Some(file) = &self.text_file
            && let Err(error) = file.write(&text)
        {
            let path = file.path().display();
            tracing::warn!("cannot write metrics to {path}: {error}; the last ones stay there");
        }
        if let Some(gateway) = &self.gateway
            && let Err(reason) = self.push(gateway, text)
        {
            tracing::warn!("cannot push metrics to {gateway}: {reason}");
        }
    }

    /// Pushes from a thread of its own: the caller may be one of the runtime, which has ended, or the one that waits for signals.
    fn push(&self, gateway: &PushUrl, text: String) -> Result<(), String> {
        let push = || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let pushed = metrics::push(gateway, &self.command, self.repository.as_deref(), text);
            runtime.block_on(pushed).map_err(|error| error.to_string())
        };
        thread::scope(|scope| {
            let pushed = scope.spawn(push).join();
            pushed.unwrap_or_else(|_| Err("the thread that pushes has panicked".to_owned()))
        })
    }
}

/// Ends a command as failed if it does not get to its end, as when it panics.
pub(crate) struct EndGuard(pub(crate) Option<Arc<Monitor>>);

impl EndGuard {
    /// Ends it with what it has come to.
    pub(crate) fn end(mut self, verdict: Verdict) {
        if let Some(monitor) = self.0.take() {
            monitor.end(verdict);
        }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if let Some(monitor) = self.0.take() {
            monitor.end(Verdict::Failed);
        }
    }
}

/// Returns a repository without what a URL may hold besides the place: a user, a password, parameters.
fn without_secrets(repository: &str) -> String {
    match Url::parse(repository) {
        Ok(mut url) if repository.contains("://") => {
            // Neither can fail where there is a host, and without one there is no user.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        _ => repository.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::VERDICTS;

    #[test]
    fn a_label_has_no_secret() {
        for (repository, label) in [
            ("/backup/kafka", "/backup/kafka"),
            ("C:relative?x", "C:relative?x"),
            (
                "s3://id:hunter2@bucket/a?key=hunter2#hunter2",
                "s3://bucket/a",
            ),
        ] {
            assert_eq!(without_secrets(repository), label);
        }
    }

    #[test]
    fn verdicts_are_those_of_documents() {
        let all = [
            Verdict::Ok,
            Verdict::Findings,
            Verdict::Interrupted,
            Verdict::Failed,
        ];
        assert_eq!(all.map(Verdict::word), VERDICTS[1..]);
        for verdict in all {
            let json = serde_json::to_value(verdict).unwrap();
            assert_eq!(json, verdict.word());
        }
    }
}
