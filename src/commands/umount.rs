//! `kbk umount`: unmounts a mount of kbk, even if its process has died.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kbk_fuse::kernel::{Unmounted, mounted_at, resolved, unmount};
use serde::Serialize;

use crate::cli::{CliError, Context, Outcome, Report};

/// The arguments of `kbk umount`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The mount point
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// The outcome of an unmount.
#[derive(Debug, Serialize)]
struct Done {
    /// The folder.
    mount_point: PathBuf,
    /// Whether programs still have files open.
    in_use: bool,
}

/// Unmounts the folder.
pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let path = mount_at(&args.folder).map_err(|error| {
        let message = format!("cannot unmount {}: {error}", args.folder.display());
        CliError::new(message).hint("`findmnt -t fuse.kbk` lists what kbk has mounted")
    })?;
    let shown = path.display();
    let Some(entry) = mounted_at(&path)? else {
        return Err(CliError::new(format!("nothing is mounted on {shown}"))
            .hint("`findmnt -t fuse.kbk` lists what kbk has mounted"));
    };
    if !entry.is_kbk() {
        return Err(CliError::new(format!(
            "{shown} is a mount of {}, not of kbk",
            entry.file_system
        ))
        .hint("umount(8) unmounts it"));
    }
    let unmounted = unmount(&path)?;
    let done = Done {
        mount_point: path,
        in_use: unmounted == Unmounted::Detached,
    };
    context.conclude(&done, Outcome::Clean)
}

/// Returns the path of the mount: a link is followed only where nothing is mounted on the path itself.
fn mount_at(folder: &Path) -> io::Result<PathBuf> {
    let path = resolved(folder)?;
    match mounted_at(&path)? {
        Some(_) => Ok(path),
        None => path.canonicalize(),
    }
}

impl Report for Done {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let path = self.mount_point.display();
        if self.in_use {
            writeln!(
                out,
                "{path} is unmounted; programs that have files of it open can finish with them"
            )
        } else {
            writeln!(out, "{path} is unmounted")
        }
    }
}
