//! Opens a bucket of Google Cloud Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::gcp::GoogleCloudStorageBuilder;

use super::client;
use super::crypto::OpenSsl;
use super::location::Bucket;
use super::options::StoreOptions;
use super::s3::reason;

/// Returns the bucket, or what is wrong with the options. No request is made.
pub(super) fn open(
    bucket: &Bucket,
    options: &StoreOptions,
) -> Result<Arc<dyn ObjectStore>, String> {
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
