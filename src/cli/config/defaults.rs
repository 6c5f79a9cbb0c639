//! The file's values as defaults of the options that they are of.
//!
//! Clap then decides by itself what takes precedence, and a value of the file satisfies an option that is required. What it does not
//! know is that a value of the file gives way to an option of the command line that excludes it.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::keys;
use super::{Config, Names};

/// What the command line and the environment give.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The names of the command.
    pub(crate) names: Names,
    /// The ids of the options, of the command and those above it.
    options: BTreeSet<String>,
}

impl Given {
    /// Returns that nothing but a command is given.
    pub(crate) fn nothing(names: Names) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Collects them from the result of parsing.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let mut given = Self::default();
        let mut level = Some(matches);
        while let Some(matches) = level {
            let is_given = |id: &&str| {
                let source = matches.value_source(id);
                matches!(
                    source,
                    Some(ValueSource::CommandLine | ValueSource::EnvVariable)
                )
            };
            let ids = matches.ids().map(clap::Id::as_str);
            given
                .options
                .extend(ids.filter(is_given).map(str::to_owned));
            level = matches.subcommand().map(|(name, below)| {
                given.names.push(name.to_owned());
                below
            });
        }
        given
    }

    /// Returns the ids of the options that exclude, or are excluded by, an option that was given.
    fn excluded(&self, definitions: &Command) -> BTreeSet<String> {
        let mut root = definitions.clone();
        root.build();
        let command = self
            .names
            .iter()
            .try_fold(&root, |command, name| command.find_subcommand(name));
        let Some(command) = command else {
            return BTreeSet::new();
        };
        let is_given = |option: &Arg| self.options.contains(option.get_id().as_str());
        let mut excluded = BTreeSet::new();
        for option in command.get_arguments() {
            for other in command.get_arg_conflicts_with(option) {
                if is_given(option) {
                    excluded.insert(other.get_id().to_string());
                }
                if is_given(other) {
                    excluded.insert(option.get_id().to_string());
                }
            }
        }
        excluded
    }
}

impl Config {
    /// Says which files were read, and which options are not from the command line. The values of client properties may be secrets,
    /// and are no options.
    pub(crate) fn origins(&self, matches: &ArgMatches) -> Vec<String> {
        let read = self.files.iter();
        let mut said: Vec<_> = read
            .map(|path| format!("read the configuration file {}", path.display()))
            .collect();
        let (mut names, mut level) = (Names::new(), Some(matches));
        while let Some(matches) = level {
            // Groups of options have the names of their types. Options of every command are repeated at each level.
            let is_option = |id: &&str| !id.contains(char::is_uppercase);
            for id in matches.ids().map(clap::Id::as_str).filter(is_option) {
                let origin = self.origin(&names, matches, id);
                said.extend(origin.filter(|origin| !said.contains(origin)));
            }
            level = matches.subcommand().map(|(name, below)| {
                names.push(name.to_owned());
                below
            });
        }
        said
    }

    fn origin(&self, names: &[String], matches: &ArgMatches, id: &str) -> Option<String> {
        let long = id.replace('_', "-");
        let is_in_file = |names: &[String]| {
            let table = self.tables.get(names);
            table.is_some_and(|table| table.options.contains_key(&long))
        };
        let place = match matches.value_source(id)? {
            ValueSource::EnvVariable => "the environment",
            ValueSource::DefaultValue if is_in_file(names) || is_in_file(&[]) => {
                "the configuration file"
            }
            _ => return None,
        };
        let values = matches.get_raw(id)?.map(|value| value.to_string_lossy());
        let values = values.collect::<Vec<_>>().join(", ");
        Some(format!("--{long} is {values}, from {place}"))
    }

    /// Returns the definitions with the file's values as defaults, but for those that what is given excludes.
    pub(crate) fn defaults(&self, definitions: Command, given: &Given) -> Command {
        if self.tables.is_empty() {
            // What excludes what is known only once all commands are built, which takes longer than many of them.
            return definitions;
        }
        let excluded = given.excluded(&definitions);
        self.fill(definitions, &Vec::new(), &excluded)
    }

    fn fill(&self, command: Command, names: &Names, excluded: &BTreeSet<String>) -> Command {
        let values = |option: &Arg| {
            let long = option.get_long()?;
            let of = |names: &[String]| self.tables.get(names)?.options.get(long);
            let own = of(names);
            own.or_else(|| keys::is_shared(option).then(|| of(&[])).flatten())
        };
        let set: Vec<_> = keys::options(&command)
            .filter(|option| !excluded.contains(option.get_id().as_str()))
            .filter_map(|option| Some((option.get_id().clone(), values(option)?.clone())))
            .collect();
        let command = set.into_iter().fold(command, |command, (id, values)| {
            command.mut_arg(id, |option| option.required(false).default_values(values))
        });
        command.mut_subcommands(|below| {
            let names = [&names[..], &[below.get_name().to_owned()]].concat();
            self.fill(below, &names, excluded)
        })
    }
}
