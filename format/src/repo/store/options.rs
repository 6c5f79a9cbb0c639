//! How a bucket is reached and written: everything but secrets, which are found in the environment and in files of their own.

use std::path::PathBuf;
use std::time::Duration;

/// How a bucket is reached and written. What is `None` is as the environment says, or as suits the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The URL of the service, in place of the provider's own.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The storage account.
    pub account: Option<String>,
    /// The profile in the files of the AWS command line.
    pub profile: Option<String>,
    /// Whether the bucket is in the path of URLs, and not in their host.
    pub path_style: Option<bool>,
    /// Whether an endpoint without TLS is accepted.
    pub allow_http: bool,
    /// Certificates, in PEM, of the authorities that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, with its answer.
    pub request_timeout: Option<Duration>,
    /// How long a request is repeated before it has failed.
    pub retry_timeout: Option<Duration>,
    /// The server-side encryption of what is written.
    pub encryption: Option<Encryption>,
    /// The storage class of segments.
    pub storage_class: Option<String>,
    /// Tags of what is written.
    pub tags: Vec<(String, String)>,
    /// Segments of fewer bytes are written by one request.
    pub multipart_threshold: Option<usize>,
    /// Bytes of each part of a larger segment.
    pub multipart_part_size: Option<usize>,
    /// Parts and whole segments that are sent at a time, over all partitions.
    pub max_concurrent_uploads: Option<usize>,
    /// Requests for small objects in flight at a time.
    pub parallel_requests: Option<usize>,
}

/// Server-side encryption of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of the store.
    Store,
    /// With a key of a key management service: the one named, or the default of the account.
    Kms(Option<String>),
}

impl StoreOptions {
    /// How long one request may take unless the options say so.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a request is repeated unless the options say so.
    pub const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
}
