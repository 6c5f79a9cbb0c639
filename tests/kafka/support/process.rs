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
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::json_page::check_document;
use super::wait;

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
    stdout: Drain,
    stderr: Drain,
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
            stdout: Drain::of(child.stdout.take().expect("a pipe")),
            stderr: Drain::of(child.stderr.take().expect("a pipe")),
            child,
            max_rss_bytes: 0,
            reaped: false,
        }
    }

    /// Sends a signal to the process, which must still run: one that came too late would prove nothing.
    #[track_caller]
    pub(crate) fn signal(&self, signal: libc::c_int) {
        self.assert_runs("a signal is sent to it");
        self.send(signal);
    }

    /// Suspends the process, and returns once it stands still.
    #[track_caller]
    pub(crate) fn suspend(&self) {
        self.signal(libc::SIGSTOP);
        self.wait_until("it is suspended", || {
            self.has_changed(libc::WSTOPPED).then_some(())
        });
    }

    /// Lets a suspended process continue.
    #[track_caller]
    pub(crate) fn proceed(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Fails the test, showing the output, if the process has ended, although it was to run still when something happens.
    #[track_caller]
    pub(crate) fn assert_runs(&self, when: &str) {
        assert!(
            !self.has_changed(libc::WEXITED),
            "it was to run still when {when}, and has ended: {}{}",
            self.stdout.so_far(),
            self.stderr.so_far()
        );
    }

    /// Waits for a state that the process brings about, in which it must still run; fails at once if it ends before.
    #[track_caller]
    pub(crate) fn wait_until<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let found = wait::until(what, || {
            self.assert_runs(what);
            probe()
        });
        self.assert_runs(what);
        found
    }

    /// Waits until its standard error has these words.
    #[track_caller]
    pub(crate) fn wait_until_it_says(&self, words: &str) {
        self.wait_until(words, || self.stderr.so_far().contains(words).then_some(()));
    }

    fn send(&self, signal: libc::c_int) {
        // SAFETY: the child is not reaped while `self` lives, so the id cannot be reused.
        unsafe { libc::kill(self.process_id(), signal) };
    }

    /// Reports whether it has ended or was stopped, as `options` say, without reaping it.
    fn has_changed(&self, options: libc::c_int) -> bool {
        let options = options | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: all-zero is a valid siginfo, whose id stays 0 if nothing has changed; the pointer outlives the call.
        let (code, changed) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let code = libc::waitid(libc::P_PID, self.child.id(), &raw mut info, options);
            (code, info.si_pid())
        };
        assert_eq!(code, 0, "waitid: {}", std::io::Error::last_os_error());
        changed != 0
    }

    /// Kills it with `kill -9` after the delay; it may have ended before.
    pub(crate) fn kill_after(mut self, delay: Duration) -> Finished {
        let deadline = std::time::Instant::now() + delay;
        while std::time::Instant::now() < deadline {
            if let Some(ended) = self.poll() {
                return self.finished(ended);
            }
        }
        self.send(libc::SIGKILL);
        self.finish()
    }

    /// Sends a signal after the delay, and waits for the end; it may have ended before.
    pub(crate) fn signal_after(self, delay: Duration, signal: libc::c_int) -> Finished {
        std::thread::sleep(delay);
        self.send(signal);
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
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
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
            self.send(libc::SIGKILL);
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

/// What a process has written to a pipe, which a thread reads.
#[derive(Debug)]
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Drain {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let read = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut some = vec![0; 1 << 16];
            loop {
                let count = pipe.read(&mut some).expect("a pipe can be read");
                if count == 0 {
                    return;
                }
                let mut read = read.lock().expect("no panic while held");
                read.extend_from_slice(&some[..count]);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> String {
        let bytes = self.bytes.lock().expect("no panic while held");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for the end of the pipe.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends");
        }
        self.so_far()
    }
}
