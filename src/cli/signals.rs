//! SIGINT, SIGTERM and SIGHUP: the first requests a stop, the second ends the process.
//!
//! A signal that was ignored when the process started stays ignored: nohup(1) ignores SIGHUP, and a shell without job control ignores
//! SIGINT for what it starts in the background.

use std::fs;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::exit::Exit;
use crate::run::Cancel;

/// The exit code for each signal. Closing a terminal sends SIGHUP, which is treated like SIGTERM.
const SIGNALS: [(i32, Exit); 3] = [
    (SIGINT, Exit::Interrupted),
    (SIGTERM, Exit::Terminated),
    (SIGHUP, Exit::Terminated),
];

/// The status of this process, as Linux reports it.
const STATUS: &str = "/proc/self/status";

/// Returns how the process ends after a command that `cancel` stopped.
pub(crate) fn exit_after(cancel: &Cancel) -> Exit {
    let asked = |(signal, _): &&(i32, Exit)| cancel.signal() == Some(*signal);
    let found = SIGNALS.iter().find(asked);
    found.map_or(Exit::Terminated, |(_, exit)| *exit)
}

/// What the first signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstSignal {
    /// The command has to do this before it ends.
    Asks(&'static str),
    /// The command writes nothing, so it can end at once.
    Ends,
}

/// Writes that the process ends, and returns whether it has to: not if it is done.
pub(crate) type LastWords = Box<dyn FnOnce(Exit) -> bool + Send>;

/// Handles signals until the process ends.
///
/// The signal handler itself ends the process, so that it works however busy the process is. With `last_words`, a first signal that
/// ends a command writes them before, and a second one does not wait for that.
pub(crate) fn install(first: FirstSignal, last_words: Option<LastWords>) -> io::Result<Cancel> {
    let handled = handled();
    // The thread first, so that no caught signal is lost.
    let cancel = Cancel::default();
    if let FirstSignal::Asks(work) = first {
        wait_for_signal(&handled, cancel.clone(), work)?;
    }
    let last_words = last_words.filter(|_| first == FirstSignal::Ends);
    let at_once = first == FirstSignal::Ends && last_words.is_none();
    if let Some(last_words) = last_words {
        end_at_signal(&handled, last_words)?;
    }
    let ends = Arc::new(AtomicBool::new(at_once));
    for (signal, exit) in handled {
        // In this order, the first signal finds the flag unset and sets it for the second.
        flag::register_conditional_shutdown(signal, exit.code().into(), Arc::clone(&ends))?;
        flag::register(signal, Arc::clone(&ends))?;
    }
    Ok(cancel)
}

/// Returns the signals to handle: all except those that the process was started to ignore.
///
/// If the system does not report which those are, all are handled: a backup that does not stop when asked to is worse than one that
/// stops when its terminal closes.
fn handled() -> Vec<(i32, Exit)> {
    let ignored = fs::read_to_string(STATUS).map(|status| ignored(&status));
    let ignored = match ignored {
        Ok(Some(ignored)) => ignored,
        Ok(None) => {
            tracing::debug!("handling all signals: {STATUS} has no valid SigIgn line");
            0
        }
        Err(error) => {
            tracing::debug!("handling all signals: cannot read {STATUS}: {error}");
            0
        }
    };
    let is_handled = |(signal, _): &(i32, Exit)| ignored >> (signal - 1) & 1 == 0;
    SIGNALS.into_iter().filter(is_handled).collect()
}

/// Parses the ignored signals in a process status, signal 1 in the lowest bit; `None` if it has no valid line for them.
fn ignored(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn wait_for_signal(handled: &[(i32, Exit)], cancel: Cancel, work: &'static str) -> io::Result<()> {
    let mut signals = Signals::new(handled.iter().map(|(signal, _)| signal))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                cancel.set(signal);
                tracing::info!("stopping: {work}; signal again to stop at once");
            }
        })?;
    Ok(())
}

fn end_at_signal(handled: &[(i32, Exit)], last_words: LastWords) -> io::Result<()> {
    let mut signals = Signals::new(handled.iter().map(|(signal, _)| signal))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let signal = signals.forever().next();
            let exit = SIGNALS.iter().find(|(known, _)| Some(*known) == signal);
            let exit = exit.map_or(Exit::Terminated, |(_, exit)| *exit);
            if last_words(exit) {
                process::exit(exit.code().into());
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{self, Command, Stdio};
    use std::sync::mpsc::{self, Receiver};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_signal_gives_the_exit_code() {
        for (signal, exit) in SIGNALS {
            let cancel = Cancel::default();
            cancel.set(signal);
            assert_eq!(exit_after(&cancel), exit);
        }
    }

    /// How long a test waits for the process under test.
    const LIMIT: Duration = Duration::from_secs(60);

    /// The process under test: installs its signals, then works until one ends it.
    #[test]
    #[ignore = "run by the tests below, in a process of its own"]
    fn child() {
        let first = match std::env::var("FIRST_SIGNAL").as_deref() {
            Ok("asks") => FirstSignal::Asks("doing what has to be done"),
            _ => FirstSignal::Ends,
        };
        let cancel = install(first, None).unwrap();
        println!("\nready");
        while !cancel.is_set() {
            thread::yield_now();
        }
        println!("\nasked");
        loop {
            thread::park();
        }
    }

    struct Child {
        process: process::Child,
        lines: Receiver<String>,
    }

    impl Child {
        /// Starts the process with the default disposition of all signals, whatever this process inherited, except for `ignored`.
        fn start(first: &str, ignored: Option<&str>) -> Self {
            let mut process = Command::new("env")
                .arg("--default-signal=HUP,INT,TERM")
                .args(ignored.map(|signal| format!("--ignore-signal={signal}")))
                .arg(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "cli::signals::tests::child",
                    "--ignored",
                    "--nocapture",
                ])
                .env("FIRST_SIGNAL", first)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let stdout = BufReader::new(process.stdout.take().unwrap());
            let (sender, lines) = mpsc::channel();
            // Ends with the process, which closes the pipe.
            thread::spawn(move || {
                let lines = stdout.lines().map_while(Result::ok);
                lines.map(|line| sender.send(line)).all(|sent| sent.is_ok())
            });
            let mut child = Self { process, lines };
            child.wait_for("ready");
            child
        }

        fn wait_for(&mut self, word: &str) {
            let deadline = Instant::now() + LIMIT;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match self.lines.recv_timeout(left) {
                    Ok(line) if line == word => return,
                    Ok(_) => {}
                    Err(error) => panic!("no `{word}` from the process: {error}"),
                }
            }
        }

        fn signal(&self, name: &str) {
            let status = Command::new("kill")
                .args(["-s", name, &self.process.id().to_string()])
                .status();
            assert!(status.unwrap().success());
        }

        fn exit_code(mut self) -> Option<i32> {
            let deadline = Instant::now() + LIMIT;
            while Instant::now() < deadline {
                if let Some(status) = self.process.try_wait().unwrap() {
                    return status.code();
                }
                thread::sleep(Duration::from_millis(5));
            }
            panic!("the process did not end within {LIMIT:?}");
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            // A failed test leaves no process behind; one that has ended cannot be killed.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        for (first, second, code) in [
            ("INT", "INT", 130),
            ("TERM", "TERM", 143),
            ("INT", "TERM", 143),
            ("HUP", "HUP", 143),
        ] {
            let mut child = Child::start("asks", None);
            child.signal(first);
            child.wait_for("asked");
            child.signal(second);
            assert_eq!(child.exit_code(), Some(code));
        }
    }

    /// If it were handled, the second signal would end the process.
    #[test]
    fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
        for (ignored, other, code) in [
            ("HUP", "INT", 130),
            ("INT", "TERM", 143),
            ("TERM", "INT", 130),
        ] {
            let mut child = Child::start("asks", Some(ignored));
            child.signal(ignored);
            child.signal(other);
            child.wait_for("asked");
            child.signal(ignored);
            child.signal(other);
            assert_eq!(child.exit_code(), Some(code), "{ignored}");
        }
    }

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let status = "Name:\tkbk\nSigIgn:\t0000000000001003\nSigCgt:\t0\n";
        assert_eq!(ignored(status), Some(0x1003));
        assert_eq!(ignored("Name:\tkbk\n"), None);
        assert_eq!(ignored("SigIgn:\tnone\n"), None);
    }

    #[test]
    fn a_command_that_writes_nothing_ends_at_once() {
        for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
            let child = Child::start("ends", None);
            child.signal(signal);
            assert_eq!(child.exit_code(), Some(code));
        }
    }
}
