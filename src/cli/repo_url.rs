//! `--repo`: where the repository is.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use kbk_format::repo::{Location, LocationError, Root};

use super::error::CliError;

/// The location of a repository: a folder, as a path or a `file://` URL, or a prefix in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoUrl(Location);

impl RepoUrl {
    /// Returns the repository's folder; `None` if it is in a bucket.
    pub fn folder(&self) -> Option<&Path> {
        match self.0.root() {
            Root::Folder(path) => Some(path),
            Root::Bucket(_) | Root::Memory(_) => None,
        }
    }

    /// Returns the location, without options.
    pub fn location(&self) -> &Location {
        &self.0
    }
}

impl From<PathBuf> for RepoUrl {
    fn from(path: PathBuf) -> Self {
        Self(Location::folder(&path))
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not the location of a repository. It repeats nothing that may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepoUrlError {
    /// The empty string, as from an unset variable.
    #[error("the repository is empty; give a folder, or a bucket as s3://BUCKET/PREFIX")]
    Empty,
    /// Anything else.
    #[error("the repository cannot be there: {0}")]
    Location(LocationError),
    /// Objects in the memory of a process, which no other process has.
    #[error("the repository cannot be there: memory:// is for tests; give a folder, or a bucket")]
    Memory,
}

impl FromStr for RepoUrl {
    type Err = RepoUrlError;

    fn from_str(text: &str) -> Result<Self, RepoUrlError> {
        let location = Location::parse(text).map_err(|error| match error {
            LocationError::Empty => RepoUrlError::Empty,
            error => RepoUrlError::Location(error),
        })?;
        match location.root() {
            // Shown as a path, however it was given.
            Root::Folder(path) => Ok(path.clone().into()),
            Root::Memory(_) => Err(RepoUrlError::Memory),
            Root::Bucket(_) => Ok(Self(location)),
        }
    }
}

/// Parses a location. By hand, because clap's own errors repeat the text, in which there may be a secret.
#[derive(Clone)]
pub(super) struct RepoUrlParser;

impl TypedValueParser for RepoUrlParser {
    type Value = RepoUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&clap::Arg>,
        text: &OsStr,
    ) -> Result<RepoUrl, clap::Error> {
        let Some(text) = text.to_str() else {
            return Ok(PathBuf::from(text).into());
        };
        text.parse().map_err(|error: RepoUrlError| {
            let message = format!("{error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// Returns the error of a command that needs a repository and has none.
pub(crate) fn missing() -> CliError {
    CliError::usage("no repository given")
        .hint("name its folder or bucket with -r/--repo, KBK_REPO, or `repo` in the --config file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_buckets() {
        for (text, folder) in [
            ("backup", "backup"),
            ("./s3://bucket", "./s3://bucket"),
            ("file:///data/my%20backup", "/data/my backup"),
        ] {
            let url: RepoUrl = text.parse().unwrap();
            assert_eq!(url.folder(), Some(Path::new(folder)), "{text}");
            assert_eq!(url.to_string(), folder);
        }
        let bucket: RepoUrl = "S3://bucket/prefix/".parse().unwrap();
        assert_eq!(bucket.folder(), None);
        assert_eq!(bucket.to_string(), "s3://bucket/prefix");
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        assert_eq!("".parse::<RepoUrl>(), Err(RepoUrlError::Empty));
        assert_eq!("memory://x".parse::<RepoUrl>(), Err(RepoUrlError::Memory));
        for text in [
            "s3://key:hunter2@bucket",
            "ftp://user:hunter2@host/x",
            "az://c?sig=hunter2",
            "s3:hunter2",
        ] {
            let error = text.parse::<RepoUrl>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
