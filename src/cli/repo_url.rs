//! `--repo`: where the repository is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::error::CliError;

/// The location of a repository: for now a folder, given as a path or as a `file://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoUrl {
    path: PathBuf,
}

impl RepoUrl {
    /// Returns the repository's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl From<PathBuf> for RepoUrl {
    fn from(path: PathBuf) -> Self {
        Self { path }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// Why a text is not the location of a repository.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepoUrlError {
    /// The empty string, as from an unset variable.
    #[error("the repository is empty; give a folder")]
    Empty,
    /// A bucket, which is never taken for a path of the same spelling.
    #[error(
        "`{0}` names a bucket, and this build has no bucket support yet; give a folder (`./{0}` if it really is one)"
    )]
    Bucket(String),
    /// An unknown scheme.
    #[error("`{0}` has an unknown scheme; give a folder or `file:///absolute/path`")]
    Scheme(String),
    /// A `file:` URL that is not an absolute path on this machine.
    #[error("`{0}` is not a folder of this machine; give `file:///absolute/path`")]
    File(String),
}

impl FromStr for RepoUrl {
    type Err = RepoUrlError;

    fn from_str(text: &str) -> Result<Self, RepoUrlError> {
        if text.is_empty() {
            return Err(RepoUrlError::Empty);
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => return Ok(PathBuf::from(text).into()),
        };
        match scheme.as_str() {
            "s3" | "s3a" | "az" | "azure" | "abfs" | "abfss" | "gs" | "gcs" => {
                Err(RepoUrlError::Bucket(text.to_owned()))
            }
            "file" => file_path(text).map(Self::from),
            _ if is_scheme(&scheme) && rest.starts_with("//") => {
                Err(RepoUrlError::Scheme(text.to_owned()))
            }
            _ => Ok(PathBuf::from(text).into()),
        }
    }
}

/// A path may contain a colon, too, before or after its first `/`.
fn is_scheme(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn file_path(text: &str) -> Result<PathBuf, RepoUrlError> {
    let url = Url::parse(text).ok();
    url.and_then(|url| url.to_file_path().ok())
        .ok_or_else(|| RepoUrlError::File(text.to_owned()))
}

/// Returns the error of a command that needs a repository and has none.
pub(crate) fn missing() -> CliError {
    CliError::usage("no repository given")
        .hint("name its folder with -r/--repo, KBK_REPO, or `repo` in the --config file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        text.parse::<RepoUrl>().unwrap().path().to_owned()
    }

    #[test]
    fn folders() {
        for text in [
            "backup",
            "./s3://bucket",
            "/data/a:b",
            "a:b",
            "../x",
            "C",
            "days:2026",
        ] {
            assert_eq!(path(text), PathBuf::from(text));
        }
        assert_eq!(
            path("file:///data/my%20backup"),
            PathBuf::from("/data/my backup")
        );
        assert_eq!(path("FILE:///data"), PathBuf::from("/data"));
    }

    #[test]
    fn a_bucket_is_never_taken_for_a_folder() {
        for text in [
            "s3://bucket/prefix",
            "S3://bucket",
            "az://c/p",
            "gs://b/p",
            "s3:/bucket",
            "s3:host/bucket",
            "s3a://b",
        ] {
            let error = text.parse::<RepoUrl>().unwrap_err();
            assert_eq!(error, RepoUrlError::Bucket(text.to_owned()));
            assert!(error.to_string().contains("no bucket support yet"));
        }
    }

    #[test]
    fn other_urls_are_refused() {
        assert_eq!("".parse::<RepoUrl>().unwrap_err(), RepoUrlError::Empty);
        assert!(matches!(
            "ftp://host/x".parse::<RepoUrl>(),
            Err(RepoUrlError::Scheme(_))
        ));
        assert!(matches!(
            "file://host/x".parse::<RepoUrl>(),
            Err(RepoUrlError::File(_))
        ));
    }
}
