//! Which options are keys of the file, and in which table: derived from the definitions of the command line.
//!
//! The options of all commands are keys at the top, and so are those that reach Kafka, which many commands have. The options of a
//! command are keys of the table with its name, its own Kafka options included: these take precedence over the ones at the top.

use clap::{Arg, ArgAction, Command};

use super::Names;
use crate::cli::args::KAFKA;

/// A key of the file.
#[derive(Clone, Debug)]
pub struct Key {
    /// The table: the names of a command and those above it; empty for the top of the file.
    pub table: Vec<String>,
    /// The option.
    pub option: Arg,
}

/// The table of client properties, in any table whose command connects to Kafka.
pub(super) const PROPERTIES: &str = "properties";

/// The table of store options, at the top.
pub(super) const STORE: &str = "store";

/// Returns all keys: those at the top first, then command by command.
pub fn keys(definitions: &Command) -> Vec<Key> {
    let key = |table: &[String], option: &Arg| Key {
        table: table.to_vec(),
        option: option.clone(),
    };
    let mut found: Vec<Key> = Vec::new();
    found.extend(top(definitions).map(|option| key(&[], option)));
    for (names, command) in commands(definitions) {
        found.extend(options(command).map(|option| key(&names, option)));
    }
    found
}

/// Returns every command below the root, with its names.
pub(super) fn commands(root: &Command) -> Vec<(Names, &Command)> {
    fn add<'a>(command: &'a Command, names: &Names, found: &mut Vec<(Names, &'a Command)>) {
        for below in command.get_subcommands() {
            let names = [&names[..], &[below.get_name().to_owned()]].concat();
            found.push((names.clone(), below));
            add(below, &names, found);
        }
    }
    let mut found = Vec::new();
    add(root, &Vec::new(), &mut found);
    found
}

/// Returns the options that are keys at the top.
pub(super) fn top(definitions: &Command) -> impl Iterator<Item = &Arg> {
    let connecting = commands(definitions).into_iter().find_map(|(_, command)| {
        let connects = options(command).any(is_shared);
        connects.then_some(command)
    });
    let shared = connecting
        .into_iter()
        .flat_map(options)
        .filter(|a| is_shared(a));
    options(definitions).chain(shared)
}

/// Returns the options of a command that are keys of its table.
pub(super) fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|option| {
        let long = option.get_long();
        // What asks for text and ends the program is no setting, a file names no other file, and store options have a table.
        let excluded = matches!(long, Some("help" | "version" | "config" | "store-option"));
        long.is_some() && !excluded && !option.is_hide_set()
    })
}

/// Returns whether the option is one of those that reach Kafka, which are keys at the top as well.
pub(super) fn is_shared(option: &Arg) -> bool {
    option.get_help_heading() == Some(KAFKA)
}

/// Returns whether a table of client properties belongs to the command: `-X` has no long name.
pub(super) fn has_properties(command: &Command) -> bool {
    command
        .get_arguments()
        .any(|option| option.get_id() == PROPERTIES)
}

/// Returns whether an option is a flag, whose key is true or false.
pub(super) fn is_flag(option: &Arg) -> bool {
    matches!(
        option.get_action(),
        ArgAction::SetTrue | ArgAction::SetFalse
    )
}

/// Returns whether an option may be given several times, so that its key may have a list.
pub(super) fn is_list(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Append)
}

impl Key {
    /// Returns what the file may say.
    #[must_use]
    pub fn value(&self) -> String {
        if is_flag(&self.option) {
            return "true or false".to_owned();
        }
        if matches!(self.option.get_action(), ArgAction::Count) {
            return "number".to_owned();
        }
        let names = self.option.get_value_names().unwrap_or_default();
        let name = names.first().map_or("text", |name| name.as_str());
        match is_list(&self.option) {
            true => format!("{name}, or a list"),
            false => name.to_owned(),
        }
    }
}
