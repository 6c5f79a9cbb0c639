//! `--repo-mode`: who may read and write the files of a repository.
//!
//! A repository has the records of everyone, so its files are private, whatever the umask of the process that writes them. Their
//! mode is that of its `kbk.json`: it is set once, when the repository is created, and every later run, of any user, follows it.
//! `chmod -R` on the folder is therefore all it takes to open or close a repository, and a copy keeps what `cp -p` keeps.
//!
//! A mode reaches every file, temporary ones included, at the moment that it is created, because it is set as the umask of the
//! process: there is no time at which a file is more open than that.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::FromStr;

use nix::sys::stat::{Mode, umask};

/// The mode of the files of a repository. Its folders have the same bits, and can be entered by those who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepoMode {
    file: u32,
}

const READ: u32 = 0o444;
const WRITE: u32 = 0o222;
const OWNER: u32 = 0o600;

impl Default for RepoMode {
    /// Private.
    fn default() -> Self {
        Self { file: OWNER }
    }
}

impl RepoMode {
    /// Returns the mode of the repository in `folder`; `None` if there is none, or if it cannot be read.
    pub fn of(folder: &Path) -> Option<Self> {
        let metadata = fs::metadata(folder.join("kbk.json")).ok()?;
        Some(Self::from_bits(metadata.permissions().mode()))
    }

    /// Keeps what a repository can use: execution is meaningless, writing requires reading, and its owner may do both.
    fn from_bits(bits: u32) -> Self {
        let readable = bits & READ;
        let writable = bits & WRITE & (readable >> 1);
        Self {
            file: OWNER | readable | writable,
        }
    }

    fn folder(self) -> u32 {
        self.file | (self.file & READ) >> 2
    }

    /// Gives this mode to everything that the process creates from now on.
    pub fn apply(self) {
        // Files are created as 0666 and folders as 0777 less the umask, which leaves files no right to execute.
        let taken = !self.folder() & 0o777;
        umask(Mode::from_bits_truncate(taken as libc::mode_t));
    }

    /// Warns if the repository in `folder` has another mode than this one, which was asked for.
    pub fn warn_if_other(self, folder: &Path) {
        let Some(found) = Self::of(folder).filter(|found| *found != self) else {
            return;
        };
        tracing::warn!(
            "the files of {folder} have the mode {found} and not {self}: it is set when a repository is created, and kept; to change it, \
             run `chmod -R {chmod} {folder}` (a file system without modes cannot be changed)",
            folder = folder.display(),
            chmod = self.symbolic(),
        );
    }

    /// Returns the argument of chmod(1) that gives this mode to files and folders alike.
    fn symbolic(self) -> String {
        let class = |name: char, shift: u32| {
            let bits = self.file >> shift & 0o7;
            let word = |bit: u32, word: &'static str| if bits & bit == 0 { "" } else { word };
            format!("{name}={}{}", word(4, "rX"), word(2, "w"))
        };
        [class('u', 6), class('g', 3), class('o', 0)].join(",")
    }
}

impl fmt::Display for RepoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.file)
    }
}

/// Why a text is not the mode of a repository.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a mode for the files of a repository; give octal digits without execute bits, such as 0600, 0640 or 0660: the \
     owner reads and writes, and who may write may also read"
)]
pub struct RepoModeError(String);

impl FromStr for RepoMode {
    type Err = RepoModeError;

    fn from_str(text: &str) -> Result<Self, RepoModeError> {
        let invalid = || RepoModeError(text.to_owned());
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal =
            (3..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let bits = u32::from_str_radix(digits, 8).map_err(|_| invalid())?;
        let mode = Self::from_bits(bits);
        if is_octal && mode.file == bits {
            Ok(mode)
        } else {
            Err(invalid())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, file, folder, symbolic) in [
            ("0600", 0o600, 0o700, "u=rXw,g=,o="),
            ("640", 0o640, 0o750, "u=rXw,g=rX,o="),
            ("0660", 0o660, 0o770, "u=rXw,g=rXw,o="),
            ("0o644", 0o644, 0o755, "u=rXw,g=rX,o=rX"),
        ] {
            let mode: RepoMode = text.parse().unwrap();
            assert_eq!((mode.file, mode.folder()), (file, folder), "{text}");
            assert_eq!(mode.symbolic(), symbolic);
            assert_eq!(RepoMode::from_str(&mode.to_string()), Ok(mode));
        }
    }

    #[test]
    fn modes_that_nobody_can_mean_are_refused() {
        for text in [
            "", "0", "0700", "0750", "0400", "0620", "0060", "1600", "0800", "rw", "+600", "00600",
        ] {
            assert!(text.parse::<RepoMode>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_read_only_repository_is_of_its_readers() {
        assert_eq!(RepoMode::from_bits(0o100_444).to_string(), "0644");
        assert_eq!(RepoMode::from_bits(0o100_777).to_string(), "0666");
        assert_eq!(RepoMode::from_bits(0o100_620).to_string(), "0600");
    }
}
