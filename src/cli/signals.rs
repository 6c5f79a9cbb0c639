//! SIGINT, SIGTERM and SIGHUP: the first requests a stop, the second ends the process.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::exit::Exit;
use super::stderr::Stderr;
use crate::run::Cancel;

/// The exit code for each signal. Closing a terminal sends SIGHUP, which is treated like SIGTERM.
const SIGNALS: [(i32, Exit); 3] = [
    (SIGINT, Exit::Interrupted),
    (SIGTERM, Exit::Terminated),
    (SIGHUP, Exit::Terminated),
];

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

/// Handles signals until the process ends.
///
/// The signal handler itself ends the process, so that it works however busy the process is.
pub(crate) fn install(first: FirstSignal, stderr: &Stderr) -> io::Result<Cancel> {
    // First, so that no caught signal is lost.
    let cancel = Cancel::default();
    if let FirstSignal::Asks(work) = first {
        wait_for_signal(cancel.clone(), work, stderr.clone())?;
    }
    let ends = Arc::new(AtomicBool::new(first == FirstSignal::Ends));
    for (signal, exit) in handled() {
        // In this order, the first signal finds the flag unset and sets it for the second.
        flag::register_conditional_shutdown(signal, exit.code().into(), Arc::clone(&ends))?;
        flag::register(signal, Arc::clone(&ends))?;
    }
    Ok(cancel)
}

/// Returns the signals to handle: all except a SIGHUP that nohup(1) made the process ignore.
fn handled() -> impl Iterator<Item = (i32, Exit)> {
    let ignored = ignored();
    let handled =
        move |(signal, _): &(i32, Exit)| *signal != SIGHUP || ignored >> (SIGHUP - 1) & 1 == 0;
    SIGNALS.into_iter().filter(handled)
}

/// Returns the signals that the process was started with as ignored, signal 1 in the lowest bit; none if the system does not report
/// them.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn wait_for_signal(cancel: Cancel, work: &'static str, stderr: Stderr) -> io::Result<()> {
    let mut signals = Signals::new(handled().map(|(signal, _)| signal))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                cancel.set(signal);
                stderr.line(&format!("stopping: {work}; signal again to stop at once"));
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

    #[test]
    fn the_signal_gives_the_exit_code() {
        for (signal, exit) in SIGNALS {
            let cancel = Cancel::default();
            cancel.set(signal);
            assert_eq!(exit_after(&cancel), exit);
        }
    }

    /// What the process under test does: asks for its signals, then works on for ever.
    #[test]
    #[ignore = "run by the tests below, in a process of its own"]
    fn child() {
        let first = match std::env::var("FIRST_SIGNAL").as_deref() {
            Ok("asks") => FirstSignal::Asks("doing what has to be done"),
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
            Self::run(Command::new(std::env::current_exe().unwrap()), first)
        }

        fn run(mut command: Command, first: &str) -> Self {
            let mut process = command
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
            ("HUP", "HUP", 143),
        ] {
            let mut child = Child::start("asks");
            child.signal(first);
            child.wait_for("asked");
            child.signal(second);
            assert_eq!(child.exit_code(), Some(code));
        }
    }

    /// If it were handled, SIGINT would be the second signal and end the process.
    #[test]
    fn a_hangup_that_nohup_has_had_ignored_is_ignored() {
        let mut nohup = Command::new("nohup");
        nohup.arg(std::env::current_exe().unwrap());
        let mut child = Child::run(nohup, "asks");
        child.signal("HUP");
        child.signal("INT");
        child.wait_for("asked");
        child.signal("TERM");
        assert_eq!(child.exit_code(), Some(143));
    }

    #[test]
    fn a_command_that_writes_nothing_ends_at_once() {
        for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
            let child = Child::start("ends");
            child.signal(signal);
            assert_eq!(child.exit_code(), Some(code));
        }
    }
}
