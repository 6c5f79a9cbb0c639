//! SIGINT and SIGTERM: the first asks the command to end well, the second ends the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

use super::exit::Exit;
use super::stderr::Stderr;

/// Whether the user has asked to stop. Clones are told alike; asking costs one atomic load.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The first signal's number; 0 before it.
    signal: AtomicI32,
    notify: Notify,
}

impl Cancel {
    /// Whether a signal has come.
    pub fn is_set(&self) -> bool {
        self.shared.signal.load(Ordering::Acquire) != 0
    }

    /// Returns when a signal has come.
    pub async fn cancelled(&self) {
        // Made before the check: a signal between the two wakes it.
        let notified = self.shared.notify.notified();
        if !self.is_set() {
            notified.await;
        }
    }

    /// How the process ends when a signal made the command stop.
    pub fn exit(&self) -> Exit {
        match self.shared.signal.load(Ordering::Acquire) {
            SIGTERM => Exit::Terminated,
            _ => Exit::Interrupted,
        }
    }

    fn set(&self, signal: i32) {
        let _ = self
            .shared
            .signal
            .compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire);
        self.shared.notify.notify_waiters();
    }
}

/// What the first signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstSignal {
    /// The command has something to seal and commit.
    Asks,
    /// Nothing is written, so nothing is lost by ending at once.
    Ends,
}

/// Handles signals until the process ends.
///
/// Ending happens in the signal handler itself, so that it works however busy the process is.
pub(super) fn install(first: FirstSignal, stderr: &Stderr) -> io::Result<Cancel> {
    let ends = Arc::new(AtomicBool::new(first == FirstSignal::Ends));
    for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
        // In this order the first signal finds the flag unset and sets it for the second.
        flag::register_conditional_shutdown(signal, exit.code().into(), Arc::clone(&ends))?;
        flag::register(signal, Arc::clone(&ends))?;
    }
    let cancel = Cancel::default();
    if first == FirstSignal::Asks {
        wait_for_signal(cancel.clone(), stderr.clone())?;
    }
    Ok(cancel)
}

fn wait_for_signal(cancel: Cancel, stderr: Stderr) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                cancel.set(signal);
                stderr.line("stopping: sealing what is open; again to stop at once");
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Lines};
    use std::process::{self, ChildStdout, Command, Stdio};

    use super::*;
    use crate::cli::ColorWhen;

    #[tokio::test]
    async fn waiting_ends_with_the_signal_and_not_before() {
        let cancel = Cancel::default();
        let waiter = tokio::spawn({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
        tokio::task::yield_now().await;
        assert!(!cancel.is_set() && !waiter.is_finished());
        cancel.set(SIGTERM);
        waiter.await.unwrap();
        assert!(cancel.is_set());
        cancel.cancelled().await;
    }

    #[test]
    fn the_first_signal_gives_the_exit_code() {
        let cancel = Cancel::default();
        cancel.set(SIGTERM);
        cancel.set(SIGINT);
        assert_eq!(cancel.exit(), Exit::Terminated);
        let cancel = Cancel::default();
        cancel.set(SIGINT);
        assert_eq!(cancel.exit(), Exit::Interrupted);
    }

    /// What the process under test does: asks for its signals, then works on for ever.
    #[test]
    #[ignore = "run by the tests below, in a process of its own"]
    fn child() {
        let first = match std::env::var("FIRST_SIGNAL").as_deref() {
            Ok("asks") => FirstSignal::Asks,
            _ => FirstSignal::Ends,
        };
        let cancel = install(first, &Stderr::new(ColorWhen::Never)).unwrap();
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
        lines: Lines<BufReader<ChildStdout>>,
    }

    impl Child {
        fn start(first: &str) -> Self {
            let mut process = Command::new(std::env::current_exe().unwrap())
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
            let lines = BufReader::new(process.stdout.take().unwrap()).lines();
            let mut child = Self { process, lines };
            child.wait_for("ready");
            child
        }

        fn wait_for(&mut self, word: &str) {
            assert!(
                self.lines.any(|line| line.unwrap() == word),
                "ended before `{word}`"
            );
        }

        fn signal(&self, name: &str) {
            let status = Command::new("kill")
                .args(["-s", name, &self.process.id().to_string()])
                .status();
            assert!(status.unwrap().success());
        }

        fn exit_code(mut self) -> Option<i32> {
            self.process.wait().unwrap().code()
        }
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        for (first, second, code) in [
            ("INT", "INT", 130),
            ("TERM", "TERM", 143),
            ("INT", "TERM", 143),
        ] {
            let mut child = Child::start("asks");
            child.signal(first);
            child.wait_for("asked");
            child.signal(second);
            assert_eq!(child.exit_code(), Some(code));
        }
    }

    #[test]
    fn a_command_that_writes_nothing_ends_at_once() {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let child = Child::start("ends");
            child.signal(signal);
            assert_eq!(child.exit_code(), Some(code));
        }
    }
}
