//! The configuration file: the options that stay the same from run to run.
//!
//! ```toml
//! repo = "/backup/kafka"
//! bootstrap-server = "broker-1:9092,broker-2:9092"
//! command-config = "/etc/kbk/client.properties"
//! log-format = "json"
//!
//! [properties]                # as -X key=value
//! fetch.message.max.bytes = 1048576
//!
//! [store]                     # as --store-option key=value
//! endpoint = "https://s3.example.com"
//!
//! [backup]
//! topic = ["orders*"]
//! compression = "zstd:9"
//! no-groups = true
//!
//! [restore]
//! bootstrap-server = "other-cluster:9092"
//! ```
//!
//! A key is the name of a long option and has the values of that option: clap's definitions of the options are the definitions of the
//! keys, too. What the file says becomes the default of the option, so that an option of the command line or a variable of the
//! environment takes precedence. Relative paths start at the working directory.
//!
//! | to know | look in |
//! |---|---|
//! | which files are read | `locations` |
//! | what a file says, and its errors | `file` |
//! | which options are keys, and where | `keys` |
//! | how a value becomes a default | `defaults` |

mod defaults;
mod file;
mod keys;
mod locations;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;

use self::file::File;
use self::locations::Location;
use super::args::Property;
use super::store_options::{self, StoreOption};

pub use self::keys::{Key, keys};

pub(crate) use self::defaults::Given;

/// The names of a command and those above it; empty for the top of the file.
type Names = Vec<String>;

/// What the configuration files say together.
#[derive(Debug, Default)]
pub struct Config {
    tables: BTreeMap<Names, Table>,
    /// The files that were read.
    files: Vec<PathBuf>,
}

/// What they say of one command, or at the top.
#[derive(Debug, Default)]
struct Table {
    /// The values of each option, by its long name.
    options: BTreeMap<String, Vec<String>>,
    /// In ascending precedence.
    properties: Vec<Property>,
    /// Of the top alone.
    store: Vec<StoreOption>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// As it was given.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An unknown key.
    #[error("{path}, line {line}: unknown key `{key}`; {suggestion}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// With its table, as in `backup.compresion`.
        key: String,
        /// The nearest valid key, or all of them.
        suggestion: String,
    },
    /// Invalid TOML, or an invalid value.
    #[error("{path}, line {line}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}

impl Config {
    /// Reads the file that was given, or else those of the default places that exist.
    pub fn find(given: Option<&Path>, definitions: &Command) -> Result<Self, ConfigError> {
        let locations = locations::locations(given, |name| std::env::var_os(name));
        let mut config = Self::default();
        for location in &locations {
            config.add(location, definitions)?;
        }
        Ok(config)
    }

    /// Adds what one file says, which takes precedence over those before it.
    fn add(&mut self, location: &Location, definitions: &Command) -> Result<(), ConfigError> {
        let Some(file) = File::read(location)? else {
            return Ok(());
        };
        self.files.push(location.path.clone());
        for (names, table) in file.tables(definitions)? {
            let merged = self.tables.entry(names).or_default();
            merged.options.extend(table.options);
            merged.properties.extend(table.properties);
            store_options::replace(&mut merged.store, table.store);
        }
        Ok(())
    }

    /// Returns the store options.
    pub(crate) fn store_options(&self) -> Vec<StoreOption> {
        let top = self.tables.get(&Names::new());
        top.map(|table| table.store.clone()).unwrap_or_default()
    }

    /// Returns the client properties for a command, in ascending precedence.
    pub fn properties(&self, names: &[String]) -> Vec<Property> {
        let tables = (0..=names.len()).filter_map(|depth| self.tables.get(&names[..depth]));
        tables
            .flat_map(|table| table.properties.iter().cloned())
            .collect()
    }
}

#[cfg(test)]
mod tests;
