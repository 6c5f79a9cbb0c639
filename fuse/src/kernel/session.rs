//! A mounted view, from mount to unmount.
//!
//! ```text
//! mount:   check the mount point -> open /dev/fuse, mount, handshake -> threads read requests -> the root answers
//! unmount: unmount, or detach if in use -> programs close their files -> the kernel ends the connection -> the threads end
//! ```
//!
//! Dropping the session always unmounts. Only a process that is killed leaves a mount, which is then dead: every access fails
//! with ENOTCONN until it is unmounted.

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
use crate::{Status, View};

/// Threads that read requests from the kernel. They never block, so a few suffice.
const THREADS: usize = 2;
/// How often to check whether a session has ended.
const TICK: Duration = Duration::from_millis(20);

/// Why a view could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The device does not exist, or this user may not open it.
    #[error(
        "cannot mount on {path}: /dev/fuse cannot be opened; {}",
        advice(error)
    )]
    Device {
        /// The mount point.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The kernel or fusermount3 refuses.
    #[error(
        "cannot mount on {path}; mount as root, or install fusermount3 (Debian: fuse3) and, for --allow-other, put user_allow_other into /etc/fuse.conf"
    )]
    Refused {
        /// The mount point.
        path: PathBuf,
        /// The error.
        #[source]
        error: io::Error,
    },
}

/// The usual remedy.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "load the kernel module (`modprobe fuse`), or pass the device to the container (`--device /dev/fuse --cap-add SYS_ADMIN`)"
        }
        _ => {
            "its mode must allow this user to read and write it (usually 0666), and a container needs `--device /dev/fuse`"
        }
    }
}

/// A mounted view. Dropping it unmounts it, without waiting for open files.
#[derive(Debug)]
pub struct Mounted {
    mount_point: PathBuf,
    view: View,
    handles: Arc<Handles>,
    /// Reads requests until the connection ends. Never dropped: fuser would then unmount whatever is mounted at the path by that
    /// time, if its own connection has not quite ended.
    session: ManuallyDrop<BackgroundSession>,
    /// Whether it is still in the file tree, as far as we know.
    attached: bool,
}

impl Mounted {
    /// Mounts `view`, whose requests are answered on `runtime`. Blocks until the first one is answered, so it must be called on a
    /// blocking thread (`spawn_blocking`), not in a task of that runtime.
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
        let adapter = Adapter::new(view.clone(), options, Arc::clone(&handles), runtime);
        let refused = |error| MountError::Refused {
            path: path.to_owned(),
            error,
        };
        let session = Session::new(adapter, path, &config(options)).and_then(Session::spawn);
        let session = ManuallyDrop::new(session.map_err(refused)?);
        let mounted = Mounted {
            mount_point: path.to_owned(),
            view,
            handles,
            session,
            attached: true,
        };
        // Wait for the first answer: from here on, programs get theirs.
        fs::metadata(path).map_err(refused)?;
        if let Some(kb) = options.readahead_kb {
            mounted.read_ahead(kb);
        }
        Ok(mounted)
    }

    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Whether it has ended, because it was unmounted.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// The statistics of its caches.
    #[must_use]
    pub fn status(&self) -> Status {
        self.view.status()
    }

    /// The number of files that programs have open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.handles.count()
    }

    /// Removes the mount from the file tree. From then on, no file can be opened.
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

    /// Waits at most `patience` until programs have closed their files, and returns whether they have.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let started = Instant::now();
        while !self.has_ended() && started.elapsed() < patience {
            thread::sleep(TICK);
        }
        self.has_ended()
    }

    /// Sets the readahead of the kernel. Only root may, and only speed depends on it.
    fn read_ahead(&self, kb: u32) {
        let device = mounted_at(&self.mount_point)
            .ok()
            .flatten()
            .map(|entry| entry.device);
        let Some(device) = device else { return };
        let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
        if let Err(error) = fs::write(&setting, kb.to_string()) {
            tracing::warn!(
                "cannot write {setting}: {error}; the kernel reads ahead its default of 128 KiB"
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

/// Checks that this user can open the device, for a clearer error than that of fuser.
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
        // The kernel itself refuses to open for writing what is read-only; whatever would write is refused here, too.
        match options.for_broker {
            true => MountOption::RW,
            false => MountOption::RO,
        },
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
        MountOption::DefaultPermissions,
        MountOption::FSName(options.source.replace(',', "_")),
        // As a custom option, because fuser passes its own `Subtype` to fusermount3 only.
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
