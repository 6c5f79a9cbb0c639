//! Runs kbk and measures the resources it used.

#![expect(
    unsafe_code,
    reason = "wait4 tells the CPU time of one child, and openpty makes a terminal; std does neither"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use super::json_page::check_document;

/// A finished process.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    /// Its peak resident memory.
    pub(crate) max_rss_bytes: u64,
    /// User and system time.
    pub(crate) cpu_seconds: f64,
}

impl Finished {
    /// Fails the test, showing all output, unless the exit code is the given one.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// Parses standard output as one JSON document; one of kbk must be as docs/reference/json.md says.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let document = serde_json::from_str(&self.stdout);
        let document = document.unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        check_document(&document);
        document
    }
}

/// Returns a kbk command without the caller's `KBK_` settings.
pub(crate) fn kbk<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    kbk_at(OsStr::new(env!("CARGO_BIN_EXE_kbk")), arguments)
}

/// Returns the same command of another binary.
pub(crate) fn kbk_at<S: AsRef<OsStr>>(
    binary: &OsStr,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    // A test run in the background ignores SIGINT, or under nohup SIGHUP; kbk would inherit that.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,TERM");
    command.arg(binary).args(arguments);
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.as_encoded_bytes().starts_with(b"KBK_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    Running::spawn(command).finish()
}

/// Runs a command at a terminal with `typed` as input; returns its exit status and all output.
pub(crate) fn run_at_terminal(mut command: Command, typed: &str) -> (ExitStatus, String) {
    let [mut screen, terminal] = terminal();
    let duplicate = || terminal.try_clone().expect("a descriptor is free");
    command
        .stdin(duplicate())
        .stdout(duplicate())
        .stderr(duplicate());
    let mut child = command.spawn().expect("it starts");
    // Reading the terminal ends once no process holds it open.
    drop((command, terminal));
    screen
        .write_all(typed.as_bytes())
        .expect("a terminal takes args");
    let mut shown = Vec::new();
    let mut some = [0; 4096];
    while let Ok(count @ 1..) = screen.read(&mut some) {
        shown.extend_from_slice(&some[..count]);
    }
    let status = child.wait().expect("it ends");
    (status, String::from_utf8_lossy(&shown).into_owned())
}

/// Opens a pseudoterminal: the user's side and the process's side.
fn terminal() -> [File; 2] {
    let (mut screen, mut terminal) = (-1, -1);
    // SAFETY: both pointers point to descriptors; name, settings and size are null.
    let code = unsafe {
        libc::openpty(
            &raw mut screen,
            &raw mut terminal,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(code, 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptors were just opened and are owned here.
    [screen, terminal].map(|descriptor| unsafe { File::from_raw_fd(descriptor) })
}

/// A running process, killed on drop.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    max_rss_bytes: u64,
    reaped: bool,
}

impl Running {
    /// Starts a command without standard input.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            stdout: child.stdout.take().map(drain),
            stderr: child.stderr.take().map(drain),
            child,
            max_rss_bytes: 0,
            reaped: false,
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is not reaped while `self` lives, so the id cannot be reused.
        unsafe { libc::kill(self.process_id(), signal) };
    }

    /// Kills it with `kill -9` after the delay; it may have ended before.
    pub(crate) fn kill_after(mut self, delay: Duration) -> Finished {
        let deadline = std::time::Instant::now() + delay;
        while std::time::Instant::now() < deadline {
            if let Some(ended) = self.poll() {
                return self.finished(ended);
            }
        }
        self.signal(libc::SIGKILL);
        self.finish()
    }

    /// Waits for it to end.
    pub(crate) fn finish(mut self) -> Finished {
        loop {
            if let Some(ended) = self.poll() {
                return self.finished(ended);
            }
        }
    }

    /// Samples its memory, then reaps it if it has ended, or sleeps briefly.
    fn poll(&mut self) -> Option<Ended> {
        self.max_rss_bytes = self.max_rss_bytes.max(peak_memory_bytes(self.child.id()));
        let ended = self.reap();
        if ended.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        ended
    }

    fn reap(&mut self) -> Option<Ended> {
        let mut status = 0;
        // SAFETY: all-zero is a valid rusage; the pointers outlive the call.
        let (reaped, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            let id = self.process_id();
            let reaped = libc::wait4(id, &raw mut status, libc::WNOHANG, &raw mut usage);
            (reaped, usage)
        };
        assert!(reaped >= 0, "wait4: {}", std::io::Error::last_os_error());
        self.reaped = reaped != 0;
        self.reaped.then(|| Ended {
            status: ExitStatus::from_raw(status),
            cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        })
    }

    fn finished(mut self, ended: Ended) -> Finished {
        Finished {
            status: ended.status,
            stdout: text(self.stdout.take()),
            stderr: text(self.stderr.take()),
            max_rss_bytes: self.max_rss_bytes,
            cpu_seconds: ended.cpu_seconds,
        }
    }

    /// Returns its id, which is valid while `self` lives.
    pub(crate) fn process_id(&self) -> libc::pid_t {
        self.child.id().cast_signed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(libc::SIGKILL);
            // In drop, there is nowhere to report a failure.
            let _ = self.child.wait();
        }
    }
}

/// The result of `wait4`.
struct Ended {
    status: ExitStatus,
    cpu_seconds: f64,
}

/// Returns the kernel's high-water mark, so samples miss only growth in the last few milliseconds.
///
/// `ru_maxrss` of the child would miss nothing, but it starts at the size of the spawning
/// process: a test that may hold a million records.
fn peak_memory_bytes(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    // A process that has just ended lacks this line.
    kib.map_or(0, |kib| kib.trim().parse::<u64>().expect("a number") * 1024)
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

fn text(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader.map(|reader| reader.join().expect("the reader ends"));
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
