//! Where runs with `--subset` remember what they have read of a repository in one place: a file of this user, since repositories are verified with
//! credentials that only read.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbk_format::repo::{Hex, Id};
use kbk_tools::verify::{Memory, Subset};
use openssl::sha::sha256;

use crate::cli::{CliError, FileKind, OutputFile};

/// The file of the state.
const STATE: FileKind = FileKind {
    name: "the state",
    mark: "{\"format\":\"kbk-verify-state\"",
};

/// The memory of a repository, and the file that gets the next one.
pub(super) struct State {
    memory: Memory,
    file: OutputFile,
}

impl State {
    /// Reads the state of the repository at this location, from `file` or from the user's state folder.
    pub(super) fn open(
        file: Option<&Path>,
        repository_id: Id,
        location: &str,
    ) -> Result<State, CliError> {
        let path = match file {
            Some(file) => file.to_owned(),
            None => default_file(repository_id, location)?,
        };
        let memory = match fs::read(&path) {
            // As mktemp(1) makes it.
            Ok(bytes) if bytes.is_empty() => Memory::empty(repository_id, location),
            Ok(bytes) => Memory::parse(&bytes, repository_id, location).map_err(|error| {
                let message = format!("cannot use the state {}: {error}", path.display());
                CliError::new(message).hint(
                    "name another file with --state, or remove this one: every segment counts as not verified then",
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Memory::empty(repository_id, location)
            }
            Err(error) => {
                let message = format!("cannot read the state {}", path.display());
                return Err(CliError::new(message).caused_by(error));
            }
        };
        let file = OutputFile::create(&path, STATE)?;
        Ok(State { memory, file })
    }

    /// Returns the subset of this run.
    pub(super) fn subset(&self, percent: f64) -> Subset {
        Subset {
            percent,
            memory: self.memory.clone(),
            now: Timestamp::now(),
        }
    }

    /// Replaces the state.
    pub(super) fn save(self, memory: &Memory) -> Result<(), CliError> {
        let bytes = memory
            .bytes()
            .map_err(|error| CliError::new("cannot write the state").caused_by(error))?;
        self.file.finish(&bytes)
    }
}

/// Returns the file in the user's state folder, which is created. Copies of a repository have the same id, so the location is part of its name.
fn default_file(repository_id: Id, location: &str) -> Result<PathBuf, CliError> {
    // The XDG base directory specification: a relative path is invalid and is ignored.
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    let folder = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .ok_or_else(|| {
            CliError::new(
                "cannot tell where the state goes: neither XDG_STATE_HOME nor HOME is set",
            )
            .hint("name a file with --state")
        })?;
    let folder = folder.join("kbk/verify");
    fs::create_dir_all(&folder).map_err(|error| {
        let message = format!("cannot create the folder {}", folder.display());
        CliError::new(message)
            .caused_by(error)
            .hint("name a file with --state")
    })?;
    let digest = Hex(sha256(location.as_bytes())).to_string();
    let place = digest.get(..16).unwrap_or_default();
    Ok(folder.join(format!("{repository_id}-{place}.json")))
}
