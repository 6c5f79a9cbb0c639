//! Puts the settings together from their sources, in ascending precedence.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::consistency::check;
use super::error::{Origin, SettingsError};
use super::fixed::{canonical, check_override};
use super::properties::{self, Property};
use super::{ClientSettings, java, variables};
use crate::kafka::client::{ClientConfig, ConfError, NativeConf, is_secret};
use crate::kafka::oidc::{self, OidcSettings, TokenSource};

/// Settings under construction.
pub(super) struct Builder {
    /// librdkafka's own configuration object, which validates names and values.
    native: NativeConf,
    config: ClientConfig,
    /// Where each property was set.
    origins: BTreeMap<String, Origin>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            native: NativeConf::new(),
            config: ClientConfig::default(),
            origins: BTreeMap::new(),
        }
    }

    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let properties = properties::parse(&text).map_err(|error| SettingsError::Syntax {
            origin: Origin::File {
                path: path.to_owned(),
                line: error.line,
            },
            what: error.what,
        })?;
        let origin = |line| Origin::File {
            path: path.to_owned(),
            line,
        };
        // As in Java, the last of several entries with one key wins.
        let mut entries: BTreeMap<String, Property> = BTreeMap::new();
        for property in properties {
            entries.insert(property.key.clone(), property);
        }
        for property in entries.values_mut() {
            property.value = replaced(&origin(property.line), &property.key, &property.value)?;
        }
        for property in entries.values() {
            self.add_property(&origin(property.line), property, &entries)?;
        }
        Ok(())
    }

    fn add_property(
        &mut self,
        origin: &Origin,
        property: &Property,
        file: &BTreeMap<String, Property>,
    ) -> Result<(), SettingsError> {
        let Property { key, value, .. } = property;
        let of_file = |key: &str| file.get(key).map(|property| property.value.as_str());
        match java::translate(key, value, of_file) {
            Ok(java::Translation::Ignored) => Ok(()),
            Ok(java::Translation::Set(pairs)) => pairs
                .iter()
                .try_for_each(|(key, value)| self.set(origin, key, value)),
            Ok(java::Translation::NotJava) => self.set(origin, key, value),
            Err(cause) => Err(SettingsError::InvalidValue {
                origin: origin.clone(),
                key: key.clone(),
                cause,
            }),
        }
    }

    pub(super) fn add_override(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        check_override(key, value)?;
        let value = replaced(&Origin::Option, key, value)?;
        self.set(&Origin::Option, key, &value)
    }

    pub(super) fn set(
        &mut self,
        origin: &Origin,
        key: &str,
        value: &str,
    ) -> Result<(), SettingsError> {
        let (origin, key) = (origin.clone(), canonical(key).to_owned());
        check_value(&key, value).map_err(|cause| SettingsError::InvalidValue {
            origin: origin.clone(),
            key: key.clone(),
            cause,
        })?;
        let accepted = match oidc::is_handled(&key) {
            // This librdkafka, which has no curl, rejects these whatever they say.
            true => Ok(()),
            false => self.native.set(&key, value),
        };
        match accepted {
            Ok(()) => {
                let shown = if is_secret(&key) {
                    "[not shown]"
                } else {
                    value
                };
                tracing::debug!("client property {key}={shown}, from {origin}");
                self.config.set(&key, value);
                self.origins.insert(key, origin);
                Ok(())
            }
            Err(ConfError::Invalid(cause)) => {
                let cause = in_our_words(&key, &cause);
                Err(SettingsError::InvalidValue { origin, key, cause })
            }
            Err(ConfError::Unknown) => {
                let nearest = self.nearest(&key, &origin);
                let key = presentable(key);
                Err(SettingsError::UnknownKey {
                    origin,
                    key,
                    nearest,
                })
            }
        }
    }

    /// Finds the known property most similar to `key`; Java properties are considered in a file only.
    fn nearest(&self, key: &str, origin: &Origin) -> Option<String> {
        const MIN_SIMILARITY: f64 = 0.75;
        let java = java::keys().filter(|_| matches!(origin, Origin::File { .. }));
        self.native
            .names()
            .into_iter()
            .chain(
                java.chain(oidc::PROPERTIES.iter().copied())
                    .map(str::to_owned),
            )
            .map(|name| (strsim::normalized_damerau_levenshtein(key, &name), name))
            .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, name)| name)
    }

    pub(super) fn finish(mut self) -> Result<ClientSettings, SettingsError> {
        let servers = self.config.get("bootstrap.servers").unwrap_or_default();
        if servers.trim().is_empty() {
            return Err(SettingsError::NoBootstrapServer);
        }
        let mistake = |(key, cause): (&'static str, String)| match self.origins.get(key) {
            Some(origin) => SettingsError::InvalidValue {
                origin: origin.clone(),
                key: key.to_owned(),
                cause,
            },
            None => SettingsError::Missing { key, cause },
        };
        check(&self.config).map_err(mistake)?;
        let tokens = OidcSettings::of(&self.config).map_err(mistake)?;
        self.config.tokens = tokens.map(|settings| Arc::new(TokenSource::new(settings)));
        Ok(ClientSettings {
            config: self.config,
            origins: self.origins,
            timeout: None,
            knows_offset_delete: Arc::default(),
        })
    }
}

/// Checks what is not left to librdkafka. That it lists `sasl_gssapi` as a feature would say nothing: a build with curl does, too, without
/// a Kerberos library (docs/decisions/0010).
fn check_value(key: &str, value: &str) -> Result<(), String> {
    match (key, value) {
        ("sasl.mechanism", "GSSAPI") => Err(java::NO_KERBEROS.to_owned()),
        _ if oidc::is_handled(key) => oidc::check_value(key, value),
        _ => Ok(()),
    }
}

/// Returns why librdkafka rejects a value, without what the error says anyway.
fn in_our_words(key: &str, cause: &str) -> String {
    let plain = cause
        .replace(&format!(" for configuration property \"{key}\""), "")
        .replace(&format!("Configuration property \"{key}\" "), "");
    let plain = match plain.strip_prefix("Invalid value") {
        Some(rest) => format!("not a valid value{rest}"),
        None => plain,
    };
    format!("{plain}; librdkafka's CONFIGURATION.md lists the values of each property")
}

/// Replaces the variables in a value. Within `sasl.jaas.config`, a secret is between quotation marks, which it may contain.
fn replaced(origin: &Origin, key: &str, value: &str) -> Result<String, SettingsError> {
    let escape = match key {
        "sasl.jaas.config" => |found: String| found.replace('\\', "\\\\").replace('"', "\\\""),
        _ => |found: String| found,
    };
    variables::replaced(value, escape).map_err(|cause| SettingsError::InvalidValue {
        origin: origin.clone(),
        key: key.to_owned(),
        cause,
    })
}

/// Returns the name of an unknown property as an error may show it: a key that was pasted over several lines makes each of them a property.
fn presentable(key: String) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_long = key.len() >= 24 || key.contains(|c: char| c.is_ascii_uppercase());
    let is_part_of_a_value = is_long && !key.contains('.');
    if is_part_of_a_value || !key.chars().all(is_name) {
        return "[not shown: it may be a part of a value; a line that continues ends in a backslash]".to_owned();
    }
    key
}
