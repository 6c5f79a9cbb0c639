//! A mount that lives as long as the test that made it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::world::World;

/// Longer than any step here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a `kbk` command with a clean environment.
pub fn kbk(args: &[&str]) -> Command {
    // A test run in the background ignores SIGINT, or under nohup SIGHUP; kbk would inherit that.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_kbk")]);
    command.args(args).stdin(Stdio::null());
    let path = std::env::var_os("PATH").unwrap();
    command.env_clear().env("TZ", "UTC").env("PATH", path);
    command
}

/// A running `kbk mount`.
pub struct Mount {
    process: Child,
    /// Holds the mount point and the program's stderr.
    folder: TempDir,
}

impl Mount {
    /// Mounts the repository.
    pub fn of(world: &World) -> Mount {
        Mount::with(world, &[])
    }

    /// Mounts the repository with extra arguments.
    pub fn with(world: &World, args: &[&str]) -> Mount {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("mnt");
        fs::create_dir(&place).unwrap();
        let repository = world.path("");
        let places = [repository.to_str().unwrap(), place.to_str().unwrap()];
        let command = kbk(&[&["mount"], &places[..], args].concat());
        Mount::start(command, folder)
    }

    /// Runs `command`, which mounts on `mnt` in the folder, and waits until the mount is ready.
    pub fn start(mut command: Command, folder: TempDir) -> Mount {
        let stderr = fs::File::create(folder.path().join("stderr")).unwrap();
        let process = command.stdout(Stdio::piped()).stderr(stderr).spawn();
        let mut mount = Mount {
            process: process.unwrap(),
            folder,
        };
        let mut line = String::new();
        let stdout = mount.process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.contains("is mounted on"), "{line}{}", mount.stderr());
        mount
    }

    /// Returns the mount point.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// Returns the path of a file in the newest snapshot.
    pub fn latest(&self, file: &str) -> PathBuf {
        self.path().join("latest").join(file)
    }

    /// Returns what the program has written to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        sh(&format!("kill -s {name} {}", self.process.id()));
    }

    /// Reports whether the program was stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        status.lines().any(|line| line.starts_with("State:\tT"))
    }

    /// Waits for the program to end.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the program is still running: {}",
                self.stderr()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the number of the program's threads.
    pub fn threads(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        tasks.unwrap().count()
    }

    /// Returns the program's peak resident memory in bytes.
    pub fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kb: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kb << 10
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.signal("TERM");
            let status = self.end();
            if !thread::panicking() {
                assert!(status.success(), "{status}: {}", self.stderr());
            }
        }
        if !thread::panicking() {
            assert!(!is_mounted(&self.path()), "a mount was left behind");
        }
    }
}

/// Reports whether the kernel's mount table has an entry for the path.
pub fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap();
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(path))
}

/// Runs a line of shell, which must succeed, and returns its stdout.
#[track_caller]
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{line}: {}: {stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `found` returns something.
#[track_caller]
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
