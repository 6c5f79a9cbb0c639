//! `kbk mount`: mounts the repository as files, until it is unmounted or a signal arrives.

mod daemon;
mod fstab;
mod settings;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kbk_format::counted;
use kbk_format::repo::{Location, Repository, Store};
use kbk_fuse::View;
use kbk_fuse::kernel::{MountPoint, MountPointError, Mounted, Unmounted, unmount};
use sd_notify::NotifyState;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

pub(crate) use self::fstab::translate_mount_arguments;
use self::settings::Settings;
use crate::cli::{CliError, Context, MetricsArgs, Outcome, RepoUrl, RepoUrlError, Report};
use crate::memory;
use crate::run::{Budget, Events};

/// How long programs may keep files open after the unmount.
const OPEN_FILES_WAIT: Duration = Duration::from_secs(30);
/// How often to check whether the mount has ended, which the kernel does not report.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  kbk mount /backup/kafka /mnt/kafka
  kbk mount -r /backup/kafka /mnt/kafka --daemon --log-file /var/log/kbk-mount.log
  kbk mount /backup/kafka /mnt/kafka --snapshot 41 --topic 'orders*'

SIGINT, SIGTERM and SIGHUP unmount: programs can still read the files that they have open,
for 30 s. The exit code is 0 then.";

/// The arguments of `kbk mount`.
#[derive(clap::Args, Clone, Debug)]
#[command(override_usage = "kbk mount [OPTIONS] [REPO] <DIR>", after_help = EXAMPLES)]
pub struct Args {
    /// The repository, unless given by -r/--repo, and the empty folder to mount it on
    #[arg(required = true, num_args = 1..=2, value_names = ["REPO", "DIR"])]
    places: Vec<PathBuf>,

    /// The settings.
    #[command(flatten)]
    settings: Settings,

    /// The same settings in the form of `mount -o`, such as `allow_other,uid=1000`
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',')]
    options: Vec<String>,

    /// Return once the mount is ready, and continue in the background
    #[arg(long)]
    daemon: bool,

    /// Set for the background process of --daemon.
    #[arg(long, hide = true, conflicts_with = "daemon")]
    daemonized: bool,

    /// Where metrics go.
    #[command(flatten)]
    metrics: MetricsArgs,
}

/// A mount that is ready.
#[derive(Debug, Serialize)]
struct Ready {
    #[serde(skip)]
    repository: String,
    /// The folder.
    mount_point: PathBuf,
    /// The process that serves it.
    pid: u32,
}

/// Mounts, reports that the mount is ready, and serves it until it ends.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repo = args.repo(context)?;
    let settings = args.settings.clone().with(&args.options)?;
    let folder = args.places.last().map_or(Path::new(""), PathBuf::as_path);
    let mount_point = mount_point(folder, &repo)?;
    if args.daemon {
        let pid = daemon::start()?;
        return context.conclude(&ready(&repo, &mount_point, pid), Outcome::Clean);
    }
    // Before the first block is read: --memory bounds what the caches hold, and the allocator must not add to it.
    memory::keep_no_large_buffers();
    let mounted = mount(&context.location_of(&repo)?, &settings, mount_point.clone()).await?;
    if args.daemonized {
        daemon::announce(settings.log_file.as_deref())?;
    } else {
        // Readiness is the result that a script waits for; how the mount ends is the exit code.
        context.conclude(
            &ready(&repo, &mount_point, std::process::id()),
            Outcome::Clean,
        )?;
    }
    notify(&[NotifyState::Ready]);
    serve(mounted, context).await
}

impl Args {
    /// Returns the repository if it was given before the folder.
    pub fn repository(&self) -> Option<String> {
        match self.places.as_slice() {
            [repository, _] => Some(repository.display().to_string()),
            _ => None,
        }
    }

    /// Returns where metrics go; nowhere for a process that only starts another one.
    pub fn metrics(&self) -> Option<&MetricsArgs> {
        Some(&self.metrics).filter(|_| !self.daemon)
    }

    /// Returns where metrics go of this process, or of the one that it starts.
    pub(super) fn all_metrics(&self) -> &MetricsArgs {
        &self.metrics
    }

    /// Returns the options that name what is written.
    pub(super) fn written(&self) -> [(&'static str, Option<&PathBuf>); 2] {
        self.settings.written()
    }

    /// Returns whether it is, or becomes, a process in the background.
    pub(super) fn is_daemon(&self) -> bool {
        self.daemon || self.daemonized
    }

    /// Returns the option of `-o` that names a log file.
    pub(super) fn log_file_option(&self) -> Option<&'static str> {
        let options = &mut self.options.iter();
        let is_it = |option: &String| option.replace('-', "_").starts_with("log_file=");
        options.any(is_it).then_some("-o log_file")
    }

    fn repo(&self, context: &Context) -> Result<RepoUrl, CliError> {
        let [repo, _] = self.places.as_slice() else {
            return context.repo().cloned();
        };
        let text = repo.to_str();
        let text =
            text.ok_or_else(|| CliError::usage(format!("{} is not UTF-8", repo.display())))?;
        text.parse()
            .map_err(|error: RepoUrlError| CliError::usage(error.to_string()))
    }
}

/// Checks the mount point. A dead mount of kbk is removed from it, so that a service can start again after it was killed.
fn mount_point(folder: &Path, repo: &RepoUrl) -> Result<MountPoint, CliError> {
    let repository = repo.folder();
    let dead = match MountPoint::check(folder, repository) {
        Err(MountPointError::Dead { path }) => path,
        checked => return Ok(checked?),
    };
    unmount(&dead)?;
    tracing::warn!(
        "removed a dead mount from {}: the program that served it was killed",
        dead.display()
    );
    Ok(MountPoint::check(folder, repository)?)
}

fn ready(repo: &RepoUrl, mount_point: &MountPoint, pid: u32) -> Ready {
    Ready {
        repository: repo.to_string(),
        mount_point: mount_point.path().to_owned(),
        pid,
    }
}

async fn mount(
    repo: &Location,
    settings: &Settings,
    mount_point: MountPoint,
) -> Result<Mounted, CliError> {
    let repository = Repository::open(Store::open_at(repo)?).await?;
    let store = repository.store().clone();
    let options = settings.mount_options(store.url());
    let view = View::open(store, settings.view_options(&repository).await?).await?;
    let runtime = Handle::current();
    // On a thread of its own, because this runtime answers the kernel's first requests meanwhile.
    let mounted = spawn_blocking(move || Mounted::new(view, &mount_point, &options, runtime));
    Ok(mounted.await??)
}

/// Waits until a signal arrives or the mount ends by itself.
async fn serve(mut mounted: Mounted, context: &Context) -> Result<Outcome, CliError> {
    if let Some(metrics) = context.metrics() {
        metrics.works();
    }
    let ended = async {
        while !mounted.has_ended() {
            if let Some(metrics) = context.metrics() {
                let status = mounted.status();
                metrics.holds(Budget::Cache, status.held_bytes, status.memory_bytes);
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    };
    tokio::select! {
        () = ended => return Ok(Outcome::Clean),
        () = context.cancel.cancelled() => {}
    }
    notify(&[NotifyState::Stopping]);
    spawn_blocking(move || end(&mut mounted)).await?
}

/// Unmounts, and waits for programs that have files open.
fn end(mounted: &mut Mounted) -> Result<Outcome, CliError> {
    let unmounted = mounted.unmount().map_err(|error| {
        let path = mounted.path().display().to_string();
        CliError::from(error).hint(format!("`kbk umount {path}` removes what is left of it"))
    })?;
    if unmounted == Unmounted::Detached && !mounted.has_ended() {
        tracing::info!(
            "unmounted {}, which is in use: programs have {} s to close their files",
            mounted.path().display(),
            OPEN_FILES_WAIT.as_secs()
        );
    }
    if !mounted.wait(OPEN_FILES_WAIT) {
        tracing::warn!(
            "{} of {} still open, and can no longer be read",
            counted(mounted.open_files(), "file"),
            match mounted.open_files() {
                1 => format!("{} is", mounted.path().display()),
                _ => format!("{} are", mounted.path().display()),
            }
        );
    }
    Ok(Outcome::Clean)
}

/// Notifies the service manager, if one started the process.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

impl Report for Ready {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mount_point = self.mount_point.display();
        let how = if self.pid == std::process::id() {
            format!("Ctrl-C here, or `kbk umount {mount_point}` anywhere, unmounts it")
        } else {
            format!(
                "process {} serves it, and `kbk umount {mount_point}` unmounts it",
                self.pid
            )
        };
        writeln!(
            out,
            "{} is mounted on {mount_point}; {how}",
            self.repository
        )
    }
}
