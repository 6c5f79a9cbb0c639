//! Taking a mount away, by oneself as root and through `fusermount3` as anybody else.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// How a mount was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// Nobody used it: it is gone.
    Gone,
    /// Somebody does, with an open file or a working folder: it has left the tree, and lives on until they are done.
    Detached,
}

/// Why a mount is still there.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// The kernel refuses.
    #[error("cannot unmount {path}: {error}")]
    Kernel {
        /// The mount point.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Who is not root needs fusermount3.
    #[error(
        "cannot unmount {path}: only root may without fusermount3, which cannot be run; install it (Debian: fuse3)"
    )]
    NoHelper {
        /// The mount point.
        path: PathBuf,
        /// Why it does not run.
        #[source]
        error: io::Error,
    },
    /// It refuses.
    #[error("cannot unmount {path}: {said}")]
    Helper {
        /// The mount point.
        path: PathBuf,
        /// What fusermount3 said.
        said: String,
    },
}

/// Unmounts what is mounted at `path`, and detaches it from the tree where somebody uses it.
///
/// # Errors
///
/// As [`UnmountError`] says; nothing has changed then.
pub fn unmount(path: &Path) -> Result<Unmounted, UnmountError> {
    // Not through a link, which somebody might have put there since.
    match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(Unmounted::Gone),
        Err(Errno::EBUSY) => detach(path),
        Err(Errno::EPERM) => through_helper(path),
        Err(errno) => Err(kernel(path, errno)),
    }
}

fn detach(path: &Path) -> Result<Unmounted, UnmountError> {
    let flags = MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH;
    umount2(path, flags).map_err(|errno| kernel(path, errno))?;
    Ok(Unmounted::Detached)
}

fn through_helper(path: &Path) -> Result<Unmounted, UnmountError> {
    if helper(path, &["-u", "-q"])?.is_none() {
        return Ok(Unmounted::Gone);
    }
    match helper(path, &["-u", "-z"])? {
        None => Ok(Unmounted::Detached),
        Some(said) => Err(UnmountError::Helper {
            path: path.to_owned(),
            said,
        }),
    }
}

/// What fusermount3 refused with, if it did.
fn helper(path: &Path, message: &[&str]) -> Result<Option<String>, UnmountError> {
    let output = Command::new("fusermount3")
        .args(message)
        .arg("--")
        .arg(path)
        .output();
    let output = output.map_err(|error| UnmountError::NoHelper {
        path: path.to_owned(),
        error,
    })?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(said))
}

fn kernel(path: &Path, errno: Errno) -> UnmountError {
    UnmountError::Kernel {
        path: path.to_owned(),
        error: errno.into(),
    }
}
