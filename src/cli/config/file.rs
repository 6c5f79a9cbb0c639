//! One configuration file: its keys and values, checked against the definitions of the options.
//!
//! Errors never show a line of the file itself, which may contain a secret.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use toml::de::{DeTable, DeValue};

use super::keys::{self, PROPERTIES, STORE};
use super::locations::Location;
use super::{ConfigError, Names, Table};
use crate::cli::args::Property;
use crate::cli::store_options::StoreOption;
use crate::select::nearest;

/// The file, to report where in it an error is.
pub(super) struct File<'a> {
    path: &'a Path,
    text: String,
}

/// The tables of the file, by the names of their commands.
type Tables = BTreeMap<Names, Table>;

/// A table of the file with the command that it is of.
struct Position<'a> {
    command: &'a Command,
    names: &'a [String],
}

impl<'a> File<'a> {
    /// Reads the file; `None` if it may be missing, and is.
    pub(super) fn read(location: &'a Location) -> Result<Option<Self>, ConfigError> {
        let path = &location.path;
        match fs::read_to_string(path) {
            Ok(text) => {
                // As editors of Windows write it.
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
                Ok(Some(Self { path, text }))
            }
            Err(error) if !location.required && (is_missing(&error) || is_of_others(path)) => {
                Ok(None)
            }
            Err(source) => Err(ConfigError::Read {
                path: path.clone(),
                source,
            }),
        }
    }

    /// Returns what it says, by the names of the commands.
    pub(super) fn tables(&self, definitions: &Command) -> Result<Tables, ConfigError> {
        let spans = DeTable::parse(&self.text).map_err(|error| self.syntax(&error))?;
        let values: toml::Table =
            toml::from_str(&self.text).map_err(|error| self.syntax(&error))?;
        let mut found = Tables::new();
        let top = Position {
            command: definitions,
            names: &[],
        };
        self.table(definitions, &top, (spans.get_ref(), &values), &mut found)?;
        Ok(found)
    }

    fn table(
        &self,
        root: &Command,
        at: &Position<'_>,
        (spans, values): (&DeTable<'_>, &toml::Table),
        found: &mut Tables,
    ) -> Result<(), ConfigError> {
        let mut table = Table::default();
        for (key, span) in spans {
            let (name, line) = (key.get_ref().as_ref(), self.line(Some(key.span())));
            let value = &values[name];
            let is_top = at.names.is_empty();
            let command = at.command.get_subcommands();
            let command = command
                .into_iter()
                .find(|command| command.get_name() == name);
            if let Some(command) = command {
                let names = &[at.names, &[name.to_owned()]].concat();
                let (DeValue::Table(spans), toml::Value::Table(values)) = (span.get_ref(), value)
                else {
                    let reason = format!("`{name}` is a command; give its options in a table");
                    return Err(self.invalid(line, reason));
                };
                self.table(root, &Position { command, names }, (spans, values), found)?;
            } else if name == PROPERTIES && (is_top || keys::has_properties(at.command)) {
                table.properties =
                    properties(value).map_err(|reason| self.invalid(line, reason))?;
            } else if name == STORE && is_top {
                let options = store(value).map_err(|reason| self.invalid(line, reason))?;
                table.store = options;
            } else if let Some((command, option)) = option(root, at, name) {
                let texts = texts(option, value).and_then(|texts| {
                    check(root, command, option, &texts)?;
                    Ok(texts)
                });
                let texts = texts.map_err(|reason| {
                    self.invalid(line, format!("`{}`: {reason}", path(at.names, name)))
                })?;
                table.options.insert(name.to_owned(), texts);
            } else {
                return Err(ConfigError::UnknownKey {
                    path: self.path.to_owned(),
                    line,
                    key: path(at.names, name),
                    suggestion: suggestion(root, at, name),
                });
            }
        }
        if let Some(reason) = contradiction(root, at, &table) {
            let line = spans.keys().map(|key| self.line(Some(key.span()))).min();
            return Err(self.invalid(line.unwrap_or(1), reason));
        }
        found.insert(at.names.to_vec(), table);
        Ok(())
    }

    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        self.invalid(self.line(error.span()), error.message().to_owned())
    }

    fn invalid(&self, line: usize, reason: String) -> ConfigError {
        ConfigError::Invalid {
            path: self.path.to_owned(),
            line,
            reason,
        }
    }

    fn line(&self, span: Option<Range<usize>>) -> usize {
        let position = span.map_or(0, |span| span.start.min(self.text.len()));
        let before = &self.text.as_bytes()[..position];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns whether the file, if there is one, is in a folder of another user: `sudo -u` and mount(8) may keep HOME. A file that can be
/// seen and not read is an error.
fn is_of_others(path: &Path) -> bool {
    let error = fs::metadata(path).err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Returns the option with this name that is a key here, and a command that has it.
fn option<'a>(root: &'a Command, at: &Position<'a>, name: &str) -> Option<(&'a Command, &'a Arg)> {
    let is_named = |option: &&Arg| option.get_long() == Some(name);
    if let Some(option) = keys::options(at.command).find(is_named) {
        return Some((at.command, option));
    }
    if !at.names.is_empty() {
        return None;
    }
    keys::commands(root).into_iter().find_map(|(_, command)| {
        let shared = keys::options(command).filter(|option| keys::is_shared(option));
        Some((command, { shared }.find(is_named)?))
    })
}

fn path(names: &[String], key: &str) -> String {
    let names = names.iter().map(String::as_str).chain([key]);
    names.collect::<Vec<_>>().join(".")
}

/// Returns what to write in place of an unknown key: the nearest one here, or else where a key of this name belongs.
fn suggestion(root: &Command, at: &Position<'_>, key: &str) -> String {
    let mut here: Vec<&str> = match at.names {
        [] => keys::top(root).filter_map(Arg::get_long).collect(),
        _ => keys::options(at.command)
            .filter_map(Arg::get_long)
            .collect(),
    };
    here.extend(at.command.get_subcommands().map(Command::get_name));
    if at.names.is_empty() || keys::has_properties(at.command) {
        here.push(PROPERTIES);
    }
    if at.names.is_empty() {
        here.push(STORE);
    }
    let all = keys::keys(root);
    let elsewhere = all
        .iter()
        .filter(|known| known.option.get_long() == Some(key));
    let mut tables: Vec<String> = elsewhere.map(|key| key.table.join(".")).collect();
    if tables.iter().any(String::is_empty) {
        return "it belongs at the top of the file, before the first table".to_owned();
    }
    if !tables.is_empty() {
        tables
            .iter_mut()
            .for_each(|table| *table = format!("[{table}]"));
        return format!("it belongs under {}", tables.join(" or "));
    }
    match nearest(key, here.iter().copied()).first() {
        Some(near) => format!("did you mean `{}`?", path(at.names, near)),
        None => format!("the keys here are {}", here.join(", ")),
    }
}

/// Returns the store options of their table.
fn store(value: &toml::Value) -> Result<Vec<StoreOption>, String> {
    let table = value.as_table();
    let table = table.ok_or_else(|| "`store` is a table of store options".to_owned())?;
    let mut options = Vec::new();
    for (key, value) in table {
        let values = match value {
            toml::Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                _ => {
                    return Err(format!(
                        "`store.{key}`: give a text, a number, true or false"
                    ));
                }
            };
            options
                .push(StoreOption::new(key, &text).map_err(|reason| format!("[store]: {reason}"))?);
        }
    }
    Ok(options)
}

/// Returns the value of an option as the command line would have it.
fn texts(option: &Arg, value: &toml::Value) -> Result<Vec<String>, String> {
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Datetime(time) => Some(time.to_string()),
        toml::Value::Boolean(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    };
    if keys::is_flag(option) {
        let flag = value.as_bool().ok_or("give true or false")?;
        return Ok(vec![flag.to_string()]);
    }
    if matches!(option.get_action(), ArgAction::Count) {
        let count = value
            .as_integer()
            .and_then(|count| u8::try_from(count).ok());
        let count = count.ok_or("give a small number")?;
        return Ok(vec![count.to_string()]);
    }
    match value {
        toml::Value::Array(values) if keys::is_list(option) => {
            let texts: Option<_> = values.iter().map(one).collect();
            texts.ok_or_else(|| "give a list of texts".to_owned())
        }
        value => one(value).map(|text| vec![text]).ok_or_else(|| {
            let or_list = if keys::is_list(option) {
                ", or a list"
            } else {
                ""
            };
            format!("give a text or a number{or_list}")
        }),
    }
}

/// Checks the values as the command line would, by parsing them as arguments of `command`, which has the option.
fn check(root: &Command, command: &Command, option: &Arg, texts: &[String]) -> Result<(), String> {
    let Some(long) = option.get_long() else {
        return Ok(());
    };
    if keys::is_flag(option) || matches!(option.get_action(), ArgAction::Count) {
        return Ok(());
    }
    let arguments = texts.iter().map(|text| format!("--{long}={text}"));
    let global = root.get_arguments().filter(|option| option.is_global_set());
    let inherited = global.filter(|option| {
        let mut own = command.get_arguments();
        own.all(|known| known.get_id() != option.get_id())
    });
    // Its options may name global ones, such as those that they exclude.
    let alone = command.clone().args(inherited).no_binary_name(true);
    let alone = alone.mut_args(|option| option.env(Resettable::Reset));
    match alone.try_get_matches_from(arguments) {
        Err(error) if concerns(&error, long) => Err(reason(&error)),
        // What is missing beside it, or conflicts with it, is not known here.
        _ => Ok(()),
    }
}

fn concerns(error: &clap::Error, long: &str) -> bool {
    let of_value = !matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict
    );
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option.contains(&format!("--{long}")),
        _ => false,
    };
    of_value && named
}

fn reason(error: &clap::Error) -> String {
    if let Some(cause) = error.source() {
        return cause.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!("give one of {}", valid.join(", "))
        }
        _ => "a value is required".to_owned(),
    }
}

/// Returns why two keys of a table cannot be used together, as on the command line.
fn contradiction(root: &Command, at: &Position<'_>, table: &Table) -> Option<String> {
    let mut root = root.clone();
    root.build();
    let command = at
        .names
        .iter()
        .try_fold(&root, |command, name| command.find_subcommand(name))?;
    let is_set = |option: &&Arg| {
        let values = option.get_long().and_then(|long| table.options.get(long));
        values.is_some_and(|values| !(keys::is_flag(option) && values == &["false"]))
    };
    let set: Vec<&Arg> = command.get_arguments().filter(is_set).collect();
    set.iter().find_map(|one| {
        let conflicts = command.get_arg_conflicts_with(one);
        let other = conflicts.into_iter().find(is_set)?;
        let names = [one, &other].map(|option| option.get_long().unwrap_or_default());
        let [one, other] = names.map(|name| path(at.names, name));
        Some(format!("`{one}` and `{other}` cannot be used together"))
    })
}

/// Returns client properties. TOML reads `sasl.username = "x"` as a table in a table; to Kafka it is one key.
fn properties(value: &toml::Value) -> Result<Vec<Property>, String> {
    let toml::Value::Table(table) = value else {
        return Err("`properties` is a table of client properties".to_owned());
    };
    let mut properties = Vec::new();
    flatten("", table, &mut properties)?;
    Ok(properties)
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    properties: &mut Vec<Property>,
) -> Result<(), String> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let value = match value {
            toml::Value::Table(inner) => {
                flatten(&format!("{key}."), inner, properties)?;
                continue;
            }
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(_) | toml::Value::Datetime(_) => {
                return Err(format!(
                    "the property `{key}` must be a string, a number, true or false"
                ));
            }
        };
        properties.push(Property { key, value });
    }
    Ok(())
}
