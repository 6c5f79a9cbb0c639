//! Unmounts: directly as root, through `fusermount3` as any other user.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// How a mount was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// It was not in use, and is gone.
    Gone,
    /// A program has a file or folder of it open: it has left the file tree, and ends when that is closed.
    Detached,
}

/// Why a mount could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// The kernel refuses.
    #[error("cannot unmount {path}: {error}")]
    Kernel {
        /// The mount point.
        path: PathBuf,
        /// Its error.
        error: io::Error,
    },
    /// A user other than root needs fusermount3.
    #[error(
        "cannot unmount {path}: only root can without fusermount3, which cannot be run; install it (Debian: fuse3)"
    )]
    NoHelper {
        /// The mount point.
        path: PathBuf,
        /// Why it cannot be run.
        #[source]
        error: io::Error,
    },
    /// fusermount3 refuses.
    #[error("cannot unmount {path}: {said}")]
    Helper {
        /// The mount point.
        path: PathBuf,
        /// Its error output.
        said: String,
    },
}

/// Unmounts the file system at `path`, or detaches it from the file tree if it is in use.
///
/// # Errors
///
/// As [`UnmountError`] says; nothing has changed then.
pub fn unmount(path: &Path) -> Result<Unmounted, UnmountError> {
    // Never follow a link that may have replaced the mount point.
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

/// Runs fusermount3, and returns its error output if it failed.
fn helper(path: &Path, arguments: &[&str]) -> Result<Option<String>, UnmountError> {
    let output = Command::new("fusermount3")
        .args(arguments)
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
