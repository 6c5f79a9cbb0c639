//! Opens a bucket of Amazon S3, or of one of the many services that speak its protocol.
//!
//! Keys are searched for in this order: the profile that the options name; `AWS_ACCESS_KEY_ID` and its like; a web identity; the
//! profile that `AWS_PROFILE` names, or `default`; the container's; the machine's metadata service.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::aws::{
    AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider, S3ConditionalPut,
};

use super::aws_profile::{self, AwsProfile};
use super::client::{self, Clients};
use super::crypto::OpenSsl;
use super::location::Bucket;
use super::options::{Encryption, StoreOptions};
use super::variables::{self, is_sendable, variable};
use crate::repo::answer::innermost_reason;

/// Returns the URL of the service, where it is not Amazon's own.
pub(super) fn endpoint(options: &StoreOptions) -> Option<String> {
    endpoint_of(options, &Profile::find(options).ok()?)
}

fn endpoint_of(options: &StoreOptions, profile: &Profile) -> Option<String> {
    first([
        options.endpoint.clone(),
        variable("AWS_ENDPOINT_URL_S3"),
        variable("AWS_ENDPOINT_URL"),
        variable("AWS_ENDPOINT"),
        profile.settings.endpoint.clone(),
    ])
}

/// Returns the bucket, or what is wrong with the options. No request is made.
pub(super) fn open(bucket: &Bucket, options: &StoreOptions) -> Result<Clients, String> {
    variables::check("AWS_")?;
    let profile = Profile::find(options)?;
    let endpoint = endpoint_of(options, &profile);
    let options = &StoreOptions {
        endpoint,
        ..options.clone()
    };
    let region = first([
        options.region.clone(),
        variable("AWS_REGION"),
        variable("AWS_DEFAULT_REGION"),
        profile.settings.region.clone(),
    ]);
    let path_style = options.path_style;
    // A name with a dot matches no certificate as a part of the host.
    let path_style = path_style.unwrap_or(options.endpoint.is_some() || bucket.name.contains('.'));
    let http = client::client(options)?;
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&bucket.name)
        .with_client_options(http.clone())
        .with_retry(client::retries(options))
        .with_crypto_provider(Arc::new(OpenSsl))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_virtual_hosted_style_request(!path_style);
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &options.endpoint {
        let endpoint = match path_style {
            true => endpoint.clone(),
            false => with_bucket(endpoint, &bucket.name)?,
        };
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    for (key, value) in encryption(options) {
        let key: AmazonS3ConfigKey = key.parse().map_err(reason)?;
        builder = builder.with_config(key, value);
    }
    let credentials = match profile.credentials()? {
        Some(credentials) => credentials,
        None => {
            // Their requests have shorter limits than those for objects.
            let builder = builder.clone().with_retry(client::credential_retries());
            Arc::clone(builder.build().map_err(reason)?.credentials())
        }
    };
    let builder = builder.with_credentials(credentials);
    // An answer to many removals has an error for each, which the library does not repeat; so what is removed alone is asked for alone.
    let one = builder.clone().with_disable_bulk_delete(true).build();
    let many = builder.with_retry(client::bulk_retries()).build();
    Ok(Clients {
        objects: Arc::new(one.map_err(reason)?),
        bulk: Some(Arc::new(many.map_err(reason)?)),
    })
}

/// Returns the endpoint with the bucket as the first part of its host.
fn with_bucket(endpoint: &str, bucket: &str) -> Result<String, String> {
    match endpoint.split_once("://") {
        Some((scheme, host)) => Ok(format!("{scheme}://{bucket}.{host}")),
        None => Err("the endpoint is not a URL".to_owned()),
    }
}

fn encryption(options: &StoreOptions) -> Vec<(&'static str, String)> {
    let kind = |kind: &str| ("aws_server_side_encryption", kind.to_owned());
    match &options.encryption {
        None => Vec::new(),
        Some(Encryption::Store) => vec![kind("AES256")],
        Some(Encryption::Kms(None)) => vec![kind("aws:kms")],
        Some(Encryption::Kms(Some(key))) => {
            vec![kind("aws:kms"), ("aws_sse_kms_key_id", key.clone())]
        }
    }
}

/// The profile of the AWS command line that applies.
struct Profile {
    name: String,
    /// Whether the options name it, so that it precedes the environment.
    chosen: bool,
    settings: AwsProfile,
}

impl Profile {
    fn find(options: &StoreOptions) -> Result<Self, String> {
        let asked = options.profile.clone().or_else(|| variable("AWS_PROFILE"));
        let name = asked.clone().unwrap_or_else(|| "default".to_owned());
        let credentials = read("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        let config = read("AWS_CONFIG_FILE", "config")?;
        let settings = aws_profile::profile(&credentials, &config, &name);
        if settings.is_none() && asked.is_some() {
            return Err(format!(
                "the files of the AWS command line have no profile `{name}`"
            ));
        }
        Ok(Profile {
            name,
            chosen: options.profile.is_some(),
            settings: settings.unwrap_or_default(),
        })
    }

    /// Returns its keys, or `None` where those of the environment, the container or the machine apply.
    fn credentials(&self) -> Result<Option<AwsCredentialProvider>, String> {
        let is_set = |name: &str| variable(name).is_some();
        let web_identity = is_set("AWS_WEB_IDENTITY_TOKEN_FILE") && is_set("AWS_ROLE_ARN");
        if !self.chosen && (is_set("AWS_ACCESS_KEY_ID") || web_identity) {
            return Ok(None);
        }
        if let Some(keys) = &self.settings.keys {
            let texts = [Some(&keys.id), Some(&keys.secret), keys.token.as_ref()];
            if !texts.into_iter().flatten().all(|text| is_sendable(text)) {
                return Err(format!(
                    "a key of the profile `{}` has a character that no request may have",
                    self.name
                ));
            }
            let credential = AwsCredential {
                key_id: keys.id.clone(),
                secret_key: keys.secret.clone(),
                token: keys.token.clone(),
            };
            return Ok(Some(Arc::new(StaticCredentialProvider::new(credential))));
        }
        let of_container = is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
            || is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let name = &self.name;
        match self.settings.unsupported {
            Some(setting) if self.chosen || !of_container => Err(format!(
                "the profile `{name}` obtains its keys with `{setting}`, which kbk does not do; `aws configure export-credentials \
                 --profile {name} --format env` prints variables that kbk reads"
            )),
            _ if self.chosen => Err(format!("the profile `{name}` has no access key")),
            _ if !of_container && is_disabled() => Err(NO_KEYS.to_owned()),
            _ => Ok(None),
        }
    }
}

const NO_KEYS: &str =
    "no access key was found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

fn is_disabled() -> bool {
    let disabled = variable("AWS_EC2_METADATA_DISABLED");
    disabled.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Reads a file of the AWS command line; one that is not there is empty.
fn read(location: &str, name: &str) -> Result<String, String> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".aws").join(name));
    let Some(path) = variable(location).map(PathBuf::from).or_else(home) else {
        return Ok(String::new());
    };
    match fs::read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn first<const N: usize>(found: [Option<String>; N]) -> Option<String> {
    found.into_iter().flatten().next()
}

/// Returns why a client cannot be built, in the words of the library.
pub(super) fn reason(error: object_store::Error) -> String {
    innermost_reason(&error)
}
