//! A disk that a test can fill or make read-only: a tmpfs in a mount namespace of its own.
//!
//! A shell holds the namespace, and with it the disk, until its standard input ends, so nothing is
//! left behind however the test ends. Only processes placed [inside](SmallDisk::inside) see it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// Mounts on folder $1 with the options $2, and remounts with the options that it reads from standard input.
const HOLDER: &str = r#"
mount -t tmpfs -o "$2" tmpfs "$1" && echo mounted
while read -r options; do mount -o "remount,$options" "$1" && echo mounted; done
"#;

/// A small file system.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: TempDir,
    holder: Child,
    answers: BufReader<ChildStdout>,
}

impl SmallDisk {
    /// Mounts it with tmpfs options such as `size=8m`.
    pub(crate) fn mount(options: &str) -> Self {
        let folder = TempDir::with_prefix("kbk-disk-").expect("a temporary folder");
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", HOLDER, "sh"])
            .arg(folder.path())
            .arg(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare comes with every Linux");
        let answers = BufReader::new(holder.stdout.take().expect("a pipe"));
        let mut disk = Self {
            folder,
            holder,
            answers,
        };
        disk.wait();
        disk
    }

    /// Changes its options: `size=64m` makes room, `ro` makes it read-only.
    pub(crate) fn remount(&mut self, options: &str) {
        let stdin = self.holder.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{options}").expect("the holder listens");
        self.wait();
    }

    /// Returns the mount point, for processes inside.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Wraps the command so that it sees the disk.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.holder.id().to_string())
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Returns the path by which the test can read a file on it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inner = self.path().strip_prefix("/").expect("an absolute path");
        root.join(inner).join(name)
    }

    fn wait(&mut self) {
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("a pipe can be read");
        assert_eq!(answer, "mounted\n", "user and mount namespaces are needed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Closing its standard input ends the holder; in drop, there is nowhere to report a failure.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
