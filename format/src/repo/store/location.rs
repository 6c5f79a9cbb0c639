//! Where a repository is: a folder, or a prefix in a bucket, and the options to reach it with.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::azure;
use super::options::StoreOptions;
use super::s3;

/// Where a repository is, and how to reach it. It holds no secret: credentials are found when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The name in messages.
    text: String,
    root: Root,
    options: StoreOptions,
}

/// What a location names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A prefix in a bucket.
    Bucket(Bucket),
    /// Objects in the memory of this process, by a name; for tests.
    Memory(String),
}

/// A prefix in a bucket, which Azure calls a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Whose protocol it speaks.
    pub backend: Backend,
    /// The bucket.
    pub name: String,
    /// The names of the repository's objects start with this and a slash, unless it is empty.
    pub prefix: String,
    /// The storage account, where the location names it.
    pub account: Option<String>,
}

/// The protocol of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Amazon S3, and the many services that speak its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
}

/// Why a text is not the location of a repository. It repeats nothing that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The empty string, as from an unset variable.
    #[error("it is empty")]
    Empty,
    /// An unknown scheme.
    #[error("{0}:// is not supported")]
    Scheme(String),
    /// A `file:` URL that is not an absolute path on this machine.
    #[error("it is not the URL of a local folder, such as file:///var/backup")]
    File,
    /// A bucket in the spelling of another program.
    #[error(
        "it does not name a bucket as {scheme}://BUCKET/PREFIX does (`./{scheme}:...` names a folder)"
    )]
    Bucket {
        /// As it was given.
        scheme: String,
    },
    /// A user, a password or a query: such things are secrets.
    #[error(
        "a location holds neither credentials nor a query, and is shown in messages; see docs/stores.md for where credentials are read from"
    )]
    Secret,
    /// A bucket or prefix that no store takes, or that would not be found again under the same name.
    #[error("{0}")]
    Name(String),
}

impl Location {
    /// Parses a path, or a URL such as `file:///var/backup` and `s3://bucket/prefix`.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => return Ok(Self::folder(Path::new(text))),
        };
        let backend = match scheme.as_str() {
            "s3" | "s3a" => Backend::S3,
            "az" | "azure" | "abfs" | "abfss" => Backend::Azure,
            "gs" | "gcs" => Backend::Gcs,
            "file" => {
                let url = Url::parse(text).ok();
                let path = url.and_then(|url| url.to_file_path().ok());
                let path = path.ok_or(LocationError::File)?;
                return Ok(Self::new(text.to_owned(), Root::Folder(path)));
            }
            "memory" if rest.starts_with("//") => {
                let name = rest.trim_matches('/').to_owned();
                return Ok(Self::new(text.to_owned(), Root::Memory(name)));
            }
            _ if is_scheme(&scheme) && rest.starts_with("//") => {
                return Err(LocationError::Scheme(scheme));
            }
            _ => return Ok(Self::folder(Path::new(text))),
        };
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(LocationError::Bucket { scheme });
        };
        let bucket = Bucket::parse(backend, rest)?;
        Ok(Self::new(bucket.to_string(), Root::Bucket(bucket)))
    }

    /// Names a folder by its path.
    #[must_use]
    pub fn folder(path: &Path) -> Self {
        Self::new(path.display().to_string(), Root::Folder(path.to_owned()))
    }

    fn new(text: String, root: Root) -> Self {
        Location {
            text,
            root,
            options: StoreOptions::default(),
        }
    }

    /// Returns the same location, reached with these options.
    #[must_use]
    pub fn with_options(self, options: StoreOptions) -> Self {
        Location { options, ..self }
    }

    /// Returns what it names.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Names the place so that two copies of a repository never have the same name: a folder by its path without links, a bucket with the
    /// service that has it. It holds no secret.
    #[must_use]
    pub fn place(&self) -> String {
        let bucket = match &self.root {
            Root::Folder(folder) => {
                let found = folder.canonicalize();
                let path = found.or_else(|_| std::path::absolute(folder));
                let path = path.as_ref().unwrap_or(folder);
                return path.display().to_string();
            }
            Root::Memory(_) => return self.text.clone(),
            Root::Bucket(bucket) => bucket,
        };
        let options = &self.options;
        let (endpoint, account) = match bucket.backend {
            Backend::S3 => (s3::endpoint(options), None),
            Backend::Azure => (options.endpoint.clone(), azure::account(bucket, options)),
            Backend::Gcs => (options.endpoint.clone(), None),
        };
        let mut place = bucket.to_string();
        // Without what else a URL may have, such as a password.
        let endpoint = endpoint.and_then(|endpoint| Url::parse(&endpoint).ok());
        let port = endpoint.as_ref().and_then(Url::port_or_known_default);
        if let Some(host) = endpoint.as_ref().and_then(Url::host_str) {
            place += &format!(" at {host}");
            if let Some(port) = port {
                place += &format!(":{port}");
            }
        }
        if let Some(account) = account {
            place += &format!(" of {account}");
        }
        place
    }

    /// Returns the options to reach it with.
    #[must_use]
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The hosts of Azure, in locations that name the storage account.
const AZURE_HOSTS: [&str; 2] = [".dfs.core.windows.net", ".blob.core.windows.net"];

impl Bucket {
    fn parse(backend: Backend, rest: &str) -> Result<Self, LocationError> {
        if rest.contains(['?', '#']) {
            return Err(LocationError::Secret);
        }
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, account) = match host.split_once('@') {
            None => (host, None),
            Some((name, host)) if backend == Backend::Azure && !name.contains(':') => {
                let account = AZURE_HOSTS.iter().find_map(|end| host.strip_suffix(end));
                let account = account.filter(|account| is_name(account)).ok_or_else(|| {
                    let hosts = AZURE_HOSTS.map(|end| format!("ACCOUNT{end}")).join(" or ");
                    LocationError::Name(format!("after the @ it must be {hosts}"))
                })?;
                (name, Some(account.to_owned()))
            }
            Some(_) => return Err(LocationError::Secret),
        };
        if !is_name(name) {
            return Err(LocationError::Name(
                "the name of its bucket must be letters, digits, dots, hyphens and underscores"
                    .to_owned(),
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=+,@ ".contains(&byte);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(LocationError::Name(
                "its prefix must be words of ASCII letters, digits and -_.=+,@ between single slashes".to_owned(),
            ));
        }
        Ok(Bucket {
            backend,
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            account,
        })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.backend.scheme(), self.name)?;
        if let Some(account) = &self.account {
            write!(f, "@{account}{}", AZURE_HOSTS[0])?;
        }
        match self.prefix.as_str() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

impl Backend {
    /// Returns the scheme of its URLs.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Backend::S3 => "s3",
            Backend::Azure => "az",
            Backend::Gcs => "gs",
        }
    }
}

/// A path may contain a colon, too, before or after its first `/`.
fn is_scheme(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    word.starts_with(|first: char| first.is_ascii_alphabetic()) && word.bytes().all(allowed)
}

fn is_name(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !word.is_empty() && word.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(text: &str) -> Bucket {
        let root = Location::parse(text).unwrap().root;
        let Root::Bucket(bucket) = root else {
            unreachable!("{text} is no bucket: {root:?}");
        };
        bucket
    }

    #[test]
    fn buckets() {
        for (text, shown, name, prefix) in [
            ("s3://b", "s3://b", "b", ""),
            ("S3://b/", "s3://b", "b", ""),
            ("s3a://b/x/y/", "s3://b/x/y", "b", "x/y"),
            ("gs://b.example/p", "gs://b.example/p", "b.example", "p"),
            ("az://c/p", "az://c/p", "c", "p"),
            (
                "abfss://c@acc.dfs.core.windows.net/p",
                "az://c@acc.dfs.core.windows.net/p",
                "c",
                "p",
            ),
        ] {
            let found = bucket(text);
            assert_eq!((&*found.name, &*found.prefix), (name, prefix), "{text}");
            assert_eq!(found.to_string(), shown);
            assert_eq!(bucket(shown), found, "its name is a location");
        }
    }

    #[test]
    fn a_bucket_is_never_taken_for_a_folder_and_a_secret_is_never_repeated() {
        for text in [
            "s3:/bucket",
            "s3:host/bucket",
            "s3://",
            "s3:///x",
            "s3://key:hunter2@bucket/x",
            "gs://hunter2@bucket",
            "az://c:hunter2@acc.dfs.core.windows.net",
            "az://c@hunter2.example.com",
            "az://c/p?sig=hunter2",
            "s3://b/x//y",
            "s3://b/../y",
            "s3://b/x%2fy",
            "ftp://user:hunter2@host",
            "file://hunter2/x",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn copies_are_in_different_places() {
        let place = |text: &str, endpoint: Option<&str>| {
            let options = StoreOptions {
                endpoint: endpoint.map(str::to_owned),
                ..StoreOptions::default()
            };
            Location::parse(text).unwrap().with_options(options).place()
        };
        let one = place("s3://b/x", Some("https://user:hunter2@one.example"));
        assert_eq!(one, "s3://b/x at one.example:443");
        let other = place("s3://b/x", Some("http://one.example:9000/"));
        assert_eq!(other, "s3://b/x at one.example:9000");
        let folder = tempfile::tempdir().unwrap();
        let [at, link] = ["at", "link"].map(|name| folder.path().join(name));
        std::fs::create_dir(&at).unwrap();
        std::os::unix::fs::symlink(&at, &link).unwrap();
        let of = |path: &Path| Location::folder(path).place();
        assert_eq!(of(&link), of(&at));
        assert_eq!(of(&at.join("../at/")), of(&at));
        assert_ne!(of(folder.path()), of(&at));
    }

    #[test]
    fn folders() {
        for text in ["backup", "./s3://bucket", "/data/a:b", "a:b", "days:2026"] {
            let root = Location::parse(text).unwrap().root;
            assert_eq!(root, Root::Folder(text.into()));
        }
        let root = Location::parse("FILE:///data/my%20backup").unwrap().root;
        assert_eq!(root, Root::Folder("/data/my backup".into()));
    }
}
