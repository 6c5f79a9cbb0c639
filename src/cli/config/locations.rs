//! Where configuration files are.
//!
//! A file that is named is the only one that is read. Otherwise the system's file is, and then the user's, which takes precedence key by key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A place that may have a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) path: PathBuf,
    /// Whether it is an error that there is no file.
    pub(super) required: bool,
}

const SYSTEM: &str = "/etc/kbk/kbk.toml";

/// Returns the places in ascending precedence. `variable` reads the environment.
pub(super) fn locations(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<Location> {
    if let Some(path) = given {
        let path = path.to_owned();
        let required = true;
        return vec![Location { path, required }];
    }
    let absolute = |name: &str| {
        let path = variable(name).map(PathBuf::from)?;
        path.is_absolute().then_some(path)
    };
    // The XDG base directory specification: a relative path is invalid and is ignored.
    let user = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let user = user.map(|folder| folder.join("kbk/kbk.toml"));
    let optional = |path| Location {
        path,
        required: false,
    };
    [Some(PathBuf::from(SYSTEM)), user]
        .into_iter()
        .flatten()
        .map(optional)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(given: Option<&str>, variables: &[(&str, &str)]) -> Vec<PathBuf> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let locations = locations(given.map(Path::new), variable);
        locations.into_iter().map(|place| place.path).collect()
    }

    #[test]
    fn the_users_file_comes_after_the_systems() {
        let home = [("HOME", "/home/me")];
        let user = "/home/me/.config/kbk/kbk.toml";
        assert_eq!(paths(None, &home), [SYSTEM, user].map(PathBuf::from));
        let both = [home[0], ("XDG_CONFIG_HOME", "/conf")];
        let user = "/conf/kbk/kbk.toml";
        assert_eq!(paths(None, &both), [SYSTEM, user].map(PathBuf::from));
        let relative = [("XDG_CONFIG_HOME", "conf")];
        assert_eq!(paths(None, &relative), [PathBuf::from(SYSTEM)]);
    }

    #[test]
    fn a_file_that_is_given_is_the_only_one() {
        assert_eq!(
            paths(Some("my.toml"), &[("HOME", "/h")]),
            [PathBuf::from("my.toml")]
        );
    }
}
