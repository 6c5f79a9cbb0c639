//! `--store-option` and `[store]`: how a bucket is reached and written.
//!
//! One option for all of them: most people need none or two, and they belong in the configuration file, where they are keys of a table.
//! None of them is a secret: those come from the environment, or from files of their own.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use kbk_format::repo::{Backend, Encryption, Location, Root, StoreOptions};

use super::error::CliError;
use super::size;
use super::time::parse_duration;
use crate::select::nearest;

/// One setting of a store: its key is known and its value is valid.
#[derive(Clone, Debug)]
pub struct StoreOption {
    definition: &'static StoreOptionKey,
    value: String,
}

/// A key of the table `[store]`.
pub struct StoreOptionKey {
    /// The key.
    pub name: &'static str,
    /// The placeholder of its value.
    pub value: &'static str,
    /// The stores that know it.
    pub backends: &'static [Backend],
    /// What it does.
    pub meaning: &'static str,
    set: fn(&mut StoreOptions, &str) -> Result<(), String>,
}

impl std::fmt::Debug for StoreOptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const ALL: &[Backend] = &[Backend::S3, Backend::Azure, Backend::Gcs];
const S3: &[Backend] = &[Backend::S3];
const MIB: u64 = 1 << 20;

/// All keys.
pub const STORE_OPTIONS: &[StoreOptionKey] = &[
    StoreOptionKey {
        name: "endpoint",
        value: "URL",
        backends: ALL,
        meaning: "the service, where it is not the provider's own, as in https://s3.example.com; of Azure with the account, as in \
                  http://127.0.0.1:10000/devstoreaccount1",
        set: |options, value| text(&mut options.endpoint, value),
    },
    StoreOptionKey {
        name: "region",
        value: "REGION",
        backends: S3,
        meaning: "the region of the bucket [default: that of AWS_REGION, AWS_DEFAULT_REGION or the profile, or us-east-1]",
        set: |options, value| text(&mut options.region, &sent(value)?),
    },
    StoreOptionKey {
        name: "profile",
        value: "NAME",
        backends: S3,
        meaning: "the profile in ~/.aws/credentials and ~/.aws/config whose keys are used, whatever the environment has",
        set: |options, value| text(&mut options.profile, value),
    },
    StoreOptionKey {
        name: "account",
        value: "NAME",
        backends: &[Backend::Azure],
        meaning: "the storage account [default: that of the location, of AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_ACCOUNT_NAME]",
        set: |options, value| text(&mut options.account, &sent(value)?),
    },
    StoreOptionKey {
        name: "path-style",
        value: "true|false",
        backends: S3,
        meaning: "whether the bucket is in the path of URLs, and not in their host [default: true with an endpoint]",
        set: |options, value| {
            options.path_style = Some(boolean(value)?);
            Ok(())
        },
    },
    StoreOptionKey {
        name: "allow-http",
        value: "true|false",
        backends: ALL,
        meaning: "whether an endpoint without TLS is accepted: whoever is on the way can read and change what is stored [default: false]",
        set: |options, value| {
            options.allow_http = boolean(value)?;
            Ok(())
        },
    },
    StoreOptionKey {
        name: "ca-file",
        value: "FILE",
        backends: ALL,
        meaning: "certificates (PEM) of authorities that are trusted beside those of the system",
        set: |options, value| {
            options.ca_file = Some(value.into());
            Ok(())
        },
    },
    StoreOptionKey {
        name: "request-timeout",
        value: "SPAN",
        backends: ALL,
        meaning: "how long one request may take, with its answer [default: 30s]",
        set: |options, value| span(&mut options.request_timeout, value),
    },
    StoreOptionKey {
        name: "retry-timeout",
        value: "SPAN",
        backends: ALL,
        meaning: "how long a request that fails is repeated, with growing pauses, before the command fails [default: 2m]",
        set: |options, value| span(&mut options.retry_timeout, value),
    },
    StoreOptionKey {
        name: "sse",
        value: "AES256|aws:kms",
        backends: S3,
        meaning: "server-side encryption of what is written [default: as the bucket says]",
        set: |options, value| {
            options.encryption = match (value, options.encryption.take()) {
                ("AES256", None) => Some(Encryption::Store),
                ("AES256", Some(_)) => return Err("sse-kms-key-id goes with `aws:kms`".to_owned()),
                ("aws:kms", None) => Some(Encryption::Kms(None)),
                ("aws:kms", kms) => kms,
                _ => return Err("give AES256 or aws:kms".to_owned()),
            };
            Ok(())
        },
    },
    StoreOptionKey {
        name: "sse-kms-key-id",
        value: "KEY",
        backends: S3,
        meaning: "the key of the key management service, which implies `sse` aws:kms [default: that of the account]",
        set: |options, value| {
            if options.encryption == Some(Encryption::Store) {
                return Err("it goes with `sse` aws:kms".to_owned());
            }
            options.encryption = Some(Encryption::Kms(Some(sent(value)?)));
            Ok(())
        },
    },
    StoreOptionKey {
        name: "storage-class",
        value: "CLASS",
        backends: ALL,
        meaning: "the storage class (of Azure the access tier) of segments; the small objects of the index have that of the bucket",
        set: |options, value| {
            let archives = ["GLACIER", "DEEP_ARCHIVE", "ARCHIVE"];
            let value = sent(value)?;
            if archives.contains(&value.to_ascii_uppercase().as_str()) {
                return Err("nothing can be read from an archive before it is fetched; give a class that is read at once".to_owned());
            }
            text(&mut options.storage_class, &value)
        },
    },
    StoreOptionKey {
        name: "tag",
        value: "KEY=VALUE",
        backends: &[Backend::S3, Backend::Azure],
        meaning: "a tag of every object that is written; repeatable",
        set: |options, value| {
            let tag = value.split_once('=').filter(|(key, _)| !key.is_empty());
            let (key, value) = tag.ok_or("give KEY=VALUE")?;
            options.tags.push((key.to_owned(), value.to_owned()));
            Ok(())
        },
    },
    StoreOptionKey {
        name: "multipart-threshold",
        value: "SIZE",
        backends: ALL,
        meaning: "segments of fewer bytes are written by one request [default: 5MiB]",
        set: |options, value| {
            options.multipart_threshold = Some(bytes(value, 64 << 10..=256 * MIB)?);
            Ok(())
        },
    },
    StoreOptionKey {
        name: "multipart-part-size",
        value: "SIZE",
        backends: ALL,
        meaning: "bytes of each part of a larger segment, at least 5MiB; a backup has one in memory for each partition that it reads at \
                  the moment, and `max-concurrent-uploads` more [default: 5MiB]",
        set: |options, value| {
            options.multipart_part_size = Some(bytes(value, 5 * MIB..=256 * MIB)?);
            Ok(())
        },
    },
    StoreOptionKey {
        name: "max-concurrent-uploads",
        value: "NUMBER",
        backends: ALL,
        meaning: "parts and whole segments that are sent at a time [default: 8]",
        set: |options, value| {
            options.max_concurrent_uploads = Some(count(value)?);
            Ok(())
        },
    },
    StoreOptionKey {
        name: "parallel-requests",
        value: "NUMBER",
        backends: ALL,
        meaning: "requests for small objects at a time, and a quarter of those that are read ahead [default: 16; of Azure 32]",
        set: |options, value| {
            options.parallel_requests = Some(count(value)?);
            Ok(())
        },
    },
];

fn given(value: &str) -> Result<String, String> {
    match value {
        "" => Err("it is empty".to_owned()),
        value => Ok(value.to_owned()),
    }
}

/// Checks what is sent in a header of requests.
fn sent(value: &str) -> Result<String, String> {
    match value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => given(value),
        false => {
            Err("it has a line break, or another character that no request may have".to_owned())
        }
    }
}

fn text(option: &mut Option<String>, value: &str) -> Result<(), String> {
    *option = Some(given(value)?);
    Ok(())
}

fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| "give true or false".to_owned())
}

fn span(option: &mut Option<Duration>, value: &str) -> Result<(), String> {
    let span = parse_duration(value).map_err(|error| error.to_string())?;
    if !(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&span) {
        return Err("give 1s to 24h".to_owned());
    }
    *option = Some(span);
    Ok(())
}

fn bytes(value: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<usize, String> {
    let bytes = size::parse(value, bounds).map_err(|error| error.to_string())?;
    usize::try_from(bytes).map_err(|error| error.to_string())
}

fn count(value: &str) -> Result<usize, String> {
    let number = value
        .parse()
        .ok()
        .filter(|number| (1..=256).contains(number));
    number.ok_or_else(|| "give a number from 1 to 256".to_owned())
}

impl StoreOption {
    /// Checks a key and its value. The error repeats no value.
    pub(crate) fn new(key: &str, value: &str) -> Result<Self, String> {
        let Some(definition) = STORE_OPTIONS.iter().find(|known| known.name == key) else {
            return Err(unknown(key));
        };
        let set = (definition.set)(&mut StoreOptions::default(), value);
        set.map_err(|reason| format!("`{key}`: {reason}"))?;
        Ok(StoreOption {
            definition,
            value: value.to_owned(),
        })
    }

    /// Returns the key.
    pub(crate) fn key(&self) -> &'static str {
        self.definition.name
    }
}

/// Words in the keys of other programs for what is a secret.
const SECRETS: [&str; 6] = [
    "secret",
    "password",
    "token",
    "access",
    "account-key",
    "sas",
];

fn unknown(key: &str) -> String {
    let key = key.to_ascii_lowercase().replace('_', "-");
    if SECRETS.iter().any(|word| key.contains(word)) {
        return "credentials are no options; see docs/stores.md for where they are read from"
            .to_owned();
    }
    let known: Vec<&str> = STORE_OPTIONS.iter().map(|known| known.name).collect();
    match nearest(&key, known.iter().copied()).first() {
        Some(near) => format!("unknown store option; did you mean `{near}`?"),
        None => format!("unknown store option; they are {}", known.join(", ")),
    }
}

/// Adds options to those that are there: the values of a key replace all earlier ones of the same key.
pub(crate) fn replace(options: &mut Vec<StoreOption>, later: Vec<StoreOption>) {
    options.retain(|option| !later.iter().any(|later| later.key() == option.key()));
    options.extend(later);
}

/// Returns the location with the options that apply to it.
pub(crate) fn apply(location: &Location, options: &[StoreOption]) -> Result<Location, CliError> {
    let Root::Bucket(bucket) = location.root() else {
        return Ok(location.clone());
    };
    let mut applied = StoreOptions::default();
    for StoreOption { definition, value } in options {
        let name = definition.name;
        if !definition.backends.contains(&bucket.backend) {
            let scheme = bucket.backend.scheme();
            return Err(CliError::usage(format!(
                "the store option `{name}` does not apply to {scheme}:// locations"
            )));
        }
        let set = (definition.set)(&mut applied, value);
        set.map_err(|reason| CliError::usage(format!("the store option `{name}`: {reason}")))?;
    }
    Ok(location.clone().with_options(applied))
}

/// Parses `KEY=VALUE`. By hand, because clap's own errors repeat the text, which may be a secret in the wrong place.
#[derive(Clone)]
pub(super) struct StoreOptionParser;

impl TypedValueParser for StoreOptionParser {
    type Value = StoreOption;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        text: &OsStr,
    ) -> Result<StoreOption, clap::Error> {
        let pair = text.to_str().and_then(|text| text.split_once('='));
        let option = match pair {
            Some((key, value)) => StoreOption::new(key.trim(), value),
            None => Err("give KEY=VALUE".to_owned()),
        };
        option.map_err(|reason| {
            let name = arg.and_then(|arg| arg.get_long()).unwrap_or("store-option");
            let message = format!("invalid value for '--{name}': {reason}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Vec<StoreOption> {
        let option = |(key, value): &(&str, &str)| StoreOption::new(key, value).unwrap();
        pairs.iter().map(option).collect()
    }

    fn applied(location: &str, pairs: &[(&str, &str)]) -> Result<StoreOptions, String> {
        let location = Location::parse(location).unwrap();
        let applied = apply(&location, &options(pairs));
        applied
            .map(|location| location.options().clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_changes_the_options() {
        for known in STORE_OPTIONS {
            let values = ["https://x", "true", "1m", "AES256", "a=b", "8MiB", "4"];
            let changes = values.iter().any(|value| {
                let mut options = StoreOptions::default();
                (known.set)(&mut options, value).is_ok() && options != StoreOptions::default()
            });
            assert!(changes, "{}", known.name);
        }
    }

    #[test]
    fn options_of_another_store_and_of_a_folder() {
        let found = applied("s3://b", &[("sse", "aws:kms"), ("sse-kms-key-id", "k")]).unwrap();
        assert_eq!(
            found.encryption,
            Some(Encryption::Kms(Some("k".to_owned())))
        );
        let found = applied("s3://b", &[("sse-kms-key-id", "k"), ("sse", "aws:kms")]).unwrap();
        assert_eq!(
            found.encryption,
            Some(Encryption::Kms(Some("k".to_owned())))
        );
        let error = applied("s3://b", &[("sse", "AES256"), ("sse-kms-key-id", "k")]).unwrap_err();
        assert!(error.contains("sse-kms-key-id"), "{error}");
        let error = applied("gs://b", &[("sse", "AES256")]).unwrap_err();
        assert!(error.contains("does not apply to gs://"), "{error}");
        assert_eq!(
            applied("/folder", &[("region", "r")]),
            Ok(StoreOptions::default())
        );
    }

    #[test]
    fn bad_options_are_named_and_no_value_is_repeated() {
        for (key, value, reason) in [
            ("regoin", "hunter2", "did you mean `region`?"),
            (
                "aws_secret_access_key",
                "hunter2",
                "credentials are no options",
            ),
            ("sas-token", "hunter2", "credentials are no options"),
            ("zzz", "hunter2", "they are endpoint, region"),
            ("path-style", "hunter2", "give true or false"),
            ("storage-class", "DEEP_ARCHIVE", "archive"),
            ("multipart-part-size", "1MiB", "out of bounds"),
            ("max-concurrent-uploads", "0", "1 to 256"),
            ("retry-timeout", "0s", "1s to 24h"),
            ("tag", "hunter2", "KEY=VALUE"),
            ("region", "", "empty"),
            ("region", "hunter2\n", "no request may have"),
            ("account", "hunter2é", "no request may have"),
            ("sse-kms-key-id", "hunter2\r", "no request may have"),
            ("storage-class", "hunter2\0", "no request may have"),
        ] {
            let error = StoreOption::new(key, value).unwrap_err();
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn values_of_a_key_replace_all_earlier_ones() {
        let mut found = options(&[("tag", "a=1"), ("region", "r"), ("tag", "b=2")]);
        replace(&mut found, options(&[("tag", "c=3"), ("tag", "d=4")]));
        let found: Vec<_> = found
            .iter()
            .map(|option| (option.key(), &*option.value))
            .collect();
        assert_eq!(found, [("region", "r"), ("tag", "c=3"), ("tag", "d=4")]);
    }
}
