//! The options of commands that can be watched by Prometheus.

use clap::Args;
use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::metrics::{ListenAddress, PushUrl, PushUrlError, TextFile};

const MONITORING: &str = "Monitoring";

/// Where metrics go.
#[derive(Args, Clone, Debug, Default)]
pub struct MetricsArgs {
    /// Serve metrics for Prometheus at /metrics while the command runs, besides /healthz and /readyz. A port alone is one of 127.0.0.1;
    /// port 0 takes any that is free, and a message says which
    #[arg(long, value_name = "HOST:PORT", help_heading = MONITORING)]
    pub metrics_addr: Option<ListenAddress>,

    /// Write metrics to this file when the command ends, even if it fails or is interrupted. For node_exporter's textfile collector, so
    /// its name must end in .prom
    #[arg(long, value_name = "FILE", help_heading = MONITORING)]
    pub metrics_textfile: Option<TextFile>,

    /// Push metrics to this Pushgateway when the command ends, even if it fails or is interrupted. They replace those of the last run with
    /// the same host, command and repository, unless the URL has a path /metrics/job/... with other labels. A push that fails is a
    /// warning
    #[arg(long, env = "KBK_PUSHGATEWAY", hide_env_values = true, value_name = "URL", value_parser = PushUrlParser, help_heading = MONITORING)]
    pub pushgateway: Option<PushUrl>,
}

impl MetricsArgs {
    /// Returns whether metrics go anywhere.
    pub fn is_given(&self) -> bool {
        let MetricsArgs {
            metrics_addr,
            metrics_textfile,
            pushgateway,
        } = self;
        metrics_addr.is_some() || metrics_textfile.is_some() || pushgateway.is_some()
    }
}

/// Parses the URL by hand, because clap's own errors repeat the text, which may have a password.
#[derive(Clone)]
struct PushUrlParser;

impl TypedValueParser for PushUrlParser {
    type Value = PushUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&clap::Arg>,
        text: &std::ffi::OsStr,
    ) -> Result<PushUrl, clap::Error> {
        let parsed = text.to_str().ok_or(PushUrlError::NotHttp);
        let parsed = parsed.and_then(str::parse);
        parsed.map_err(|error: PushUrlError| {
            let shown = [
                (ContextKind::InvalidArg, "--pushgateway <URL>"),
                (ContextKind::InvalidValue, "[not shown]"),
            ];
            let mut invalid = clap::Error::new(ErrorKind::ValueValidation).with_cmd(command);
            for (kind, text) in shown {
                invalid.insert(kind, ContextValue::String(text.to_owned()));
            }
            let reason = vec![error.to_string().into()];
            invalid.insert(ContextKind::Suggested, ContextValue::StyledStrs(reason));
            invalid
        })
    }
}
