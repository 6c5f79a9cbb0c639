//! Messages on stderr: readable lines, or JSON for collectors.

use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::{GlobalArgs, LogFormat};
use super::error::CliError;
use super::stderr::{Paint, Stderr};
use crate::human;

/// Sends the messages of the program and its libraries to `stderr`, until the process ends.
pub(crate) fn init(global: &GlobalArgs, stderr: &Stderr) {
    let writer = stderr.clone();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let layer = match global.log_format.unwrap_or_default() {
        LogFormat::Text => lines
            .event_format(TextLine {
                stderr: stderr.clone(),
            })
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
    };
    // The levels are a layer of their own: a filter on the other layer would also drop the event after a `log_enabled!` that
    // returned false, and rdkafka calls that. Only a second call fails, and then the first one's subscriber stays.
    let _ = tracing_subscriber::registry()
        .with(levels(global))
        .with(layer)
        .try_init();
}

/// Returns the levels to write. What libraries log is for `-vv` alone: it neither says what it means for the user nor what to do, so
/// kbk's own messages and errors say it.
fn levels(global: &GlobalArgs) -> Targets {
    let (ours, theirs) = match (global.quiet, global.verbose) {
        (true, _) => (LevelFilter::ERROR, LevelFilter::OFF),
        (false, 0) => (LevelFilter::INFO, LevelFilter::OFF),
        (false, 1) => (LevelFilter::DEBUG, LevelFilter::OFF),
        (false, _) => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    // The prefix also covers kbk_format and the other crates of this workspace.
    let levels = Targets::new().with_default(theirs).with_target("kbk", ours);
    // These may show the address of a request, which is a secret where a signature is a part of it.
    let http = ["hyper", "hyper_util", "reqwest"];
    let silent = http.map(|library| (library, LevelFilter::OFF));
    levels.with_targets(silent)
}

/// Reports why the command failed, in the format of all other messages.
pub(crate) fn report(error: &CliError, global: &GlobalArgs, stderr: &Stderr) {
    match global.log_format.unwrap_or_default() {
        LogFormat::Text => {
            let label = stderr.painted(Paint::Red, "error:");
            let error = error.to_string();
            stderr.line(&format!("{label} {}", human::printable_lines(&error)));
        }
        LogFormat::Json => tracing::error!(
            causes = (!error.causes().is_empty()).then(|| error.causes().join(": ")),
            hint = error.next_step(),
            "{}",
            error.message()
        ),
    }
}

/// Formats an event as `warning: message key=value`, after the time unless stderr is a terminal.
struct TextLine {
    stderr: Stderr,
}

impl TextLine {
    fn label(&self, event: &Event<'_>) -> String {
        let dim = |word: &str| {
            let label = format!("{word} {}:", event.metadata().target());
            self.stderr.painted(Paint::Dim, &label) + " "
        };
        match *event.metadata().level() {
            Level::ERROR => self.stderr.painted(Paint::Red, "error:") + " ",
            Level::WARN => self.stderr.painted(Paint::Yellow, "warning:") + " ",
            Level::INFO => String::new(),
            Level::DEBUG => dim("debug"),
            Level::TRACE => dim("trace"),
        }
    }
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.stderr.is_terminal() {
            write!(writer, "{:.0} ", jiff::Timestamp::now())?;
        }
        writer.write_str(&self.label(event))?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(quiet: bool, verbose: u8) -> [bool; 4] {
        let global = GlobalArgs {
            quiet,
            verbose,
            ..GlobalArgs::default()
        };
        let levels = levels(&global);
        [
            levels.would_enable("kbk::backup", &Level::INFO),
            levels.would_enable("kbk_format", &Level::DEBUG),
            levels.would_enable("librdkafka", &Level::ERROR),
            levels.would_enable("librdkafka", &Level::TRACE),
        ]
    }

    #[test]
    fn q_leaves_errors_v_adds_details_and_only_vv_adds_libraries() {
        assert_eq!(shown(true, 0), [false, false, false, false]);
        assert_eq!(shown(false, 0), [true, false, false, false]);
        assert_eq!(shown(false, 1), [true, true, false, false]);
        assert_eq!(shown(false, 2), [true, true, true, true]);
    }
}
