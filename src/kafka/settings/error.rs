//! What is wrong with a setting, and where it was made.

use std::fmt;
use std::path::PathBuf;

/// A mistake in the settings, and where it was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No cluster was named.
    #[error(
        "no cluster is given; give --bootstrap-server, or `bootstrap.servers` in --command-config"
    )]
    NoBootstrapServer,
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is not a valid `key=value`.
    #[error("{origin}: {what}")]
    Syntax {
        /// Where it was set.
        origin: Origin,
        /// What is wrong.
        what: &'static str,
    },
    /// The property is unknown.
    #[error("{origin}: unknown property `{key}`{}", .nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it was set.
        origin: Origin,
        /// The property.
        key: String,
        /// The most similar known property.
        nearest: Option<String>,
    },
    /// The value of a known property is invalid.
    #[error("{origin}: `{key}`: {cause}")]
    InvalidValue {
        /// Where it was set.
        origin: Origin,
        /// The property.
        key: String,
        /// What is wrong, and what to do.
        cause: String,
    },
    /// A property is missing that the others need.
    #[error("`{key}` is missing: {cause}")]
    Missing {
        /// The property.
        key: &'static str,
        /// Why it is needed, and how to set it.
        cause: String,
    },
    /// The value would break a backup or a restore.
    #[error("{origin}: `{key}` cannot be changed: {why}")]
    Refused {
        /// Where it was set.
        origin: Origin,
        /// The property.
        key: String,
        /// The reason.
        why: &'static str,
    },
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a properties file, from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// `-X`.
    Option,
    /// `--bootstrap-server`.
    BootstrapServer,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Option => f.write_str("-X"),
            Origin::BootstrapServer => f.write_str("--bootstrap-server"),
        }
    }
}
