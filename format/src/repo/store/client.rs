//! The HTTP client of all buckets: TLS, time limits, retries.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use object_store::{
    BackoffConfig, Certificate, ClientOptions, HeaderValue, ObjectStore, RetryConfig,
};

use super::options::StoreOptions;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The clients of one bucket.
pub(super) struct Clients {
    /// For everything.
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Removes many objects with one request; `None` where the service has no such request.
    pub(super) bulk: Option<Arc<dyn ObjectStore>>,
}

impl Clients {
    /// The clients of a service that removes objects one by one.
    pub(super) fn of(objects: Arc<dyn ObjectStore>) -> Clients {
        let bulk = None;
        Clients { objects, bulk }
    }
}

/// Returns the settings of the client, or what is wrong with the options.
pub(super) fn client(options: &StoreOptions) -> Result<ClientOptions, String> {
    if let Some(endpoint) = &options.endpoint {
        check_endpoint(endpoint, options.allow_http)?;
    }
    let agent = HeaderValue::from_static(concat!("kbk/", env!("CARGO_PKG_VERSION")));
    let timeout = options.request_timeout;
    let mut client = ClientOptions::new()
        .with_user_agent(agent)
        .with_allow_http(options.allow_http)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(timeout.unwrap_or(StoreOptions::REQUEST_TIMEOUT));
    if let Some(path) = &options.ca_file {
        let invalid = |reason: &dyn ToString| {
            let reason = reason.to_string();
            format!(
                "cannot use the certificates in {}: {reason}",
                path.display()
            )
        };
        let pem = fs::read(path).map_err(|error| invalid(&error))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|_| invalid(&"it is not PEM"))?;
        if certificates.is_empty() {
            return Err(invalid(&"it has none"));
        }
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

/// An endpoint is shown in messages, and without TLS everybody on the way reads and changes what is stored.
fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), String> {
    let url = url::Url::parse(endpoint).map_err(|_| "the endpoint is not a URL".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("the endpoint must have neither credentials nor a query".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_http => Ok(()),
        "http" => Err("the endpoint has no TLS; set allow-http=true to accept that".to_owned()),
        _ => Err("the endpoint must be an https:// URL".to_owned()),
    }
}

/// Returns how often requests are repeated: with growing, random pauses, until the time is over.
pub(super) fn retries(options: &StoreOptions) -> RetryConfig {
    let timeout = options.retry_timeout;
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 2.,
        },
        // The time is the limit.
        max_retries: usize::MAX,
        retry_timeout: timeout.unwrap_or(StoreOptions::RETRY_TIMEOUT),
    }
}

/// Returns how often requests for credentials are repeated: where nothing serves them, that is soon known.
pub(super) fn credential_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(10),
        ..RetryConfig::default()
    }
}

/// Returns how often the removal of many objects by one request is repeated: where the service does not know it, they are soon removed one
/// by one.
pub(super) fn bulk_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
        ..RetryConfig::default()
    }
}
