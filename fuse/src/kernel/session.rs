//! A mounted view, from the mount to its end.
//!
//! ```text
//! mount: check the mount point -> open /dev/fuse, mount, shake hands -> a thread reads requests -> the root answers
//! end:   unmount, detached from the tree where it is in use -> programs close what they have open -> the kernel ends the
//!        connection -> the thread ends
//! ```
//!
//! However it is dropped, no mount is left behind. Only a process that is killed leaves one, which is then dead: every look at
//! it is answered with ENOTCONN until it is unmounted.

use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use tokio::runtime::Handle;

use super::adapter::Adapter;
use super::handles::Handles;
use super::mount_point::MountPoint;
use super::mount_table::mounted_at;
use super::options::MountOptions;
use super::unmount::{UnmountError, Unmounted, unmount};
use crate::View;

/// Threads that take requests from the kernel. They answer out of memory or hand over, so few do.
const THREADS: usize = 2;
/// How often the end of a session is looked for.
const TICK: Duration = Duration::from_millis(20);

/// Why a view could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// There is no such device, or it is not for this user.
    #[error(
        "cannot mount on {path}: /dev/fuse cannot be opened; {}",
        advice(error)
    )]
    Device {
        /// The mount point.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The kernel, or fusermount3, refuses.
    #[error(
        "cannot mount on {path}; root can, and other users where fusermount3 is installed (Debian: fuse3) and, for --allow-other, /etc/fuse.conf has user_allow_other"
    )]
    Refused {
        /// The mount point.
        path: PathBuf,
        /// What was said.
        #[source]
        error: io::Error,
    },
}

/// What usually helps.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "load the kernel's module (`modprobe fuse`), or give the container the device (`--device /dev/fuse --cap-add SYS_ADMIN`)"
        }
        _ => {
            "its mode must allow this user to read and write it (usually 0666), and a container needs `--device /dev/fuse`"
        }
    }
}

/// A view that is mounted. Dropped, it is unmounted, and not waited for.
#[derive(Debug)]
pub struct Mounted {
    mount_point: PathBuf,
    handles: Arc<Handles>,
    /// Takes requests until the connection ends. Never dropped: the reader would then unmount whatever is mounted there by
    /// then, if only its own connection has not quite ended.
    session: ManuallyDrop<BackgroundSession>,
    /// Whether it still is in the tree, as far as we know.
    attached: bool,
}

impl Mounted {
    /// Mounts `view`, whose requests are answered on `runtime`. Blocks until the first one is: not for a task of that runtime, but
    /// for a thread of its own, such as `spawn_blocking` has.
    ///
    /// # Errors
    ///
    /// As [`MountError`] says; nothing is mounted then.
    pub fn new(
        view: View,
        mount_point: &MountPoint,
        options: &MountOptions,
        runtime: Handle,
    ) -> Result<Mounted, MountError> {
        let path = mount_point.path();
        device(path)?;
        let handles = Arc::default();
        let adapter = Adapter::new(view, options, Arc::clone(&handles), runtime);
        let refused = |error| MountError::Refused {
            path: path.to_owned(),
            error,
        };
        let session = Session::new(adapter, path, &config(options)).and_then(Session::spawn);
        let session = ManuallyDrop::new(session.map_err(refused)?);
        let mounted = Mounted {
            mount_point: path.to_owned(),
            handles,
            session,
            attached: true,
        };
        // The first answer: from here on a program that looks gets one.
        fs::metadata(path).map_err(refused)?;
        if let Some(kb) = options.readahead_kb {
            mounted.read_ahead(kb);
        }
        Ok(mounted)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Whether it has ended, because somebody unmounted it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// How many files programs have open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.handles.count()
    }

    /// Takes the mount out of the tree. Nobody can open anything from then on.
    ///
    /// # Errors
    ///
    /// As [`UnmountError`] says; it is still mounted then.
    pub fn unmount(&mut self) -> Result<Unmounted, UnmountError> {
        if self.has_ended() || !self.attached {
            return Ok(Unmounted::Gone);
        }
        let unmounted = unmount(&self.mount_point)?;
        self.attached = false;
        Ok(unmounted)
    }

    /// Waits until programs have closed what they had open; whether they did within `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let started = Instant::now();
        while !self.has_ended() && started.elapsed() < patience {
            thread::sleep(TICK);
        }
        self.has_ended()
    }

    /// Asks the kernel to read more at once. Only root may, and only speed depends on it.
    fn read_ahead(&self, kb: u32) {
        let device = mounted_at(&self.mount_point)
            .ok()
            .flatten()
            .map(|entry| entry.device);
        let Some(device) = device else { return };
        let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
        if let Err(error) = fs::write(&setting, kb.to_string()) {
            tracing::warn!(
                "the kernel reads ahead 128 KiB as ever, because {setting} cannot be written: {error}"
            );
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!("{error}");
        }
    }
}

/// Whether this user can open the device is said here, in plain words: what the reader makes of it is not.
fn device(path: &Path) -> Result<(), MountError> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    opened.map(drop).map_err(|error| MountError::Device {
        path: path.to_owned(),
        error,
    })
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
        MountOption::DefaultPermissions,
        MountOption::FSName(options.source.replace(',', "_")),
        // As a word of our own, because the reader hands its own `Subtype` to fusermount3 only.
        MountOption::CUSTOM("subtype=kbk".to_owned()),
    ];
    config.acl = if options.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    config
}
