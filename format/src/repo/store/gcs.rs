//! Opens a bucket of Google Cloud Storage.

use std::error::Error;
use std::io;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::gcp::GoogleCloudStorageBuilder;
use openssl::error::ErrorStack;

use super::client;
use super::crypto::OpenSsl;
use super::location::Bucket;
use super::options::StoreOptions;
use super::variables::{self, variable};
use crate::repo::answer::{chain, innermost_reason};

/// The variables that name the file of a key, or hold the key itself.
const KEYS: [&str; 5] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "SERVICE_ACCOUNT",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Returns the bucket, or what is wrong with the options. No request is made.
pub(super) fn open(
    bucket: &Bucket,
    options: &StoreOptions,
) -> Result<Arc<dyn ObjectStore>, String> {
    variables::check("GOOGLE_")?;
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&bucket.name)
        .with_client_options(client::client(options)?)
        .with_retry(client::retries(options))
        .with_crypto_provider(Arc::new(OpenSsl));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    // Requests for credentials have shorter limits than those for objects.
    let credentials = builder.clone().with_retry(client::credential_retries());
    let credentials = credentials.build().map_err(reason)?;
    let built = builder.with_credentials(Arc::clone(credentials.credentials()));
    Ok(Arc::new(built.build().map_err(reason)?))
}

/// Returns why a client cannot be built. The library repeats what it finds in a key, and what is there is a secret; so may be the value of
/// the variable, where the key itself is in place of the name of its file.
fn reason(error: object_store::Error) -> String {
    let key = match KEYS.iter().find(|name| variable(name).is_some()) {
        Some(name) => format!("the key that {name} gives"),
        None => "the default credentials of gcloud".to_owned(),
    };
    let found = chain(&error).find_map(|cause| found_in_key(cause, &key));
    found.unwrap_or_else(|| innermost_reason(&error))
}

fn found_in_key(cause: &(dyn Error + 'static), key: &str) -> Option<String> {
    if let Some(json) = cause.downcast_ref::<serde_json::Error>() {
        let (line, column) = (json.line(), json.column());
        return Some(format!(
            "{key} is not one: expected the JSON that Google gives for a service account, found something else at line {line}, column \
             {column}"
        ));
    }
    if cause.is::<ErrorStack>() {
        return Some(format!(
            "{key} has no private key that OpenSSL reads: expected PEM"
        ));
    }
    let io = cause.downcast_ref::<io::Error>()?;
    Some(format!("{key} cannot be read: {io}"))
}
