//! A mount that a test has made, and that is gone when the test is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::world::World;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A call of `kbk` with a clean environment.
pub fn kbk(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbk"));
    command.args(words).stdin(Stdio::null());
    let path = std::env::var_os("PATH").unwrap();
    command.env_clear().env("TZ", "UTC").env("PATH", path);
    command
}

/// A running `kbk mount`.
pub struct Mount {
    process: Child,
    /// Keeps the mount point, and what the program says on stderr.
    folder: TempDir,
}

impl Mount {
    /// Mounts the repository.
    pub fn of(world: &World) -> Mount {
        Mount::with(world, &[])
    }

    /// Mounts it with more words.
    pub fn with(world: &World, words: &[&str]) -> Mount {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("mnt");
        fs::create_dir(&place).unwrap();
        let repository = world.path("");
        let places = [repository.to_str().unwrap(), place.to_str().unwrap()];
        let command = kbk(&[&["mount"], &places[..], words].concat());
        Mount::start(command, folder)
    }

    /// Runs `command`, which mounts on `mnt` in the folder, and waits until it says so.
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

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// A file of the newest snapshot.
    pub fn latest(&self, file: &str) -> PathBuf {
        self.path().join("latest").join(file)
    }

    /// What the program has said.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        sh(&format!("kill -s {name} {}", self.process.id()));
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it runs on: {}",
                self.stderr()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The largest memory that it ever had resident, in bytes.
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

/// Whether the kernel's table has a mount there.
pub fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap();
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(path))
}

/// What a line of shell prints. It must succeed.
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

/// Waits until `found` finds something.
#[track_caller]
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
