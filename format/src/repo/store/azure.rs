//! Opens a container of Azure Blob Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::azure::MicrosoftAzureBuilder;

use super::client;
use super::crypto::OpenSsl;
use super::location::Bucket;
use super::options::StoreOptions;
use super::s3::reason;
use super::variables::{self, variable};

/// Returns the storage account, where the location, the options or the variable of the `az` command line name it.
pub(super) fn account(bucket: &Bucket, options: &StoreOptions) -> Option<String> {
    let account = bucket.account.clone().or_else(|| options.account.clone());
    account.or_else(|| variable("AZURE_STORAGE_ACCOUNT"))
}

/// Returns the container, or what is wrong with the options. No request is made.
pub(super) fn open(
    bucket: &Bucket,
    options: &StoreOptions,
) -> Result<Arc<dyn ObjectStore>, String> {
    variables::check("AZURE_")?;
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(&bucket.name)
        .with_client_options(client::client(options)?)
        .with_retry(client::retries(options))
        .with_crypto_provider(Arc::new(OpenSsl));
    if let Some(account) = account(bucket, options) {
        builder = builder.with_account(account);
    } else if variable("AZURE_STORAGE_ACCOUNT_NAME").is_none() {
        return Err(
            "no storage account is named; set the store option `account`, or AZURE_STORAGE_ACCOUNT"
                .to_owned(),
        );
    }
    if let Some(key) = variable("AZURE_STORAGE_KEY") {
        builder = builder.with_access_key(key);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    // Requests for credentials have shorter limits than those for objects.
    let credentials = builder.clone().with_retry(client::credential_retries());
    let credentials = credentials.build().map_err(reason)?;
    let built = builder.with_credentials(Arc::clone(credentials.credentials()));
    Ok(Arc::new(built.build().map_err(reason)?))
}
