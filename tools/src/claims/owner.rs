//! The proof that a process owns a claim, and whether it still runs.
//!
//! A process id alone proves nothing: ids are used again, containers and machines have ids of their own, and machines are cloned. Boot
//! id, namespaces, process id and start time together are unique. Where they cannot be compared, nothing is known.

use std::fs;
use std::io;
use std::path::Path;

use kbk_format::repo::ClaimProcess;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Serialize;

/// Whether the owner of a claim still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Running {
    /// Its process exists.
    Yes,
    /// Its process has ended.
    No,
    /// It is on another machine, in another container, or gives no proof.
    Unknown,
}

/// What the system reports of a process.
#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    pid: u32,
    /// It has ended, and its parent has not asked for its status yet.
    ended: bool,
    started: u64,
}

/// Returns the name of this machine.
pub(super) fn host() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// Returns the proof of this process; `None` where the system offers none.
pub(super) fn this_process() -> Option<ClaimProcess> {
    let stat = read_stat("self").ok()??;
    // Another namespace's `/proc` lists other processes under these ids.
    (stat.pid == std::process::id()).then_some(())?;
    Some(ClaimProcess {
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()?
            .trim()
            .to_owned(),
        namespace: [namespace("pid")?, namespace("time").unwrap_or_default()].join(" "),
        pid: stat.pid,
        started: stat.started,
    })
}

/// Returns whether the process runs that a claim names, as seen by `this` process.
pub(super) fn running(this: Option<&ClaimProcess>, owner: Option<&ClaimProcess>) -> Running {
    let (Some(this), Some(owner)) = (this, owner) else {
        return Running::Unknown;
    };
    let system = |process: &ClaimProcess| (process.boot_id.clone(), process.namespace.clone());
    if system(this) != system(owner) {
        return Running::Unknown;
    }
    match read_stat(&owner.pid.to_string()) {
        Ok(Some(stat)) if stat.started == owner.started && !stat.ended => Running::Yes,
        Ok(Some(_)) => Running::No,
        Ok(None) if does_not_exist(owner.pid) => Running::No,
        // Some systems hide the processes of other users.
        Ok(None) | Err(_) => Running::Unknown,
    }
}

fn does_not_exist(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

fn namespace(kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// Reads what the system reports of a process; `None` where it shows no such process.
fn read_stat(pid: &str) -> io::Result<Option<ProcessStat>> {
    match fs::read(Path::new("/proc").join(pid).join("stat")) {
        Ok(bytes) => parse_stat(&String::from_utf8_lossy(&bytes))
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into()),
        // A process that ends while its file is read is not found, either.
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Parses `/proc/PID/stat` (man 5 `proc_pid_stat`): fields 1, 3 and 22. Field 2 is the name in parentheses, which may hold anything.
fn parse_stat(stat: &str) -> Option<ProcessStat> {
    let (pid, rest) = stat.split_once(' ')?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(ProcessStat {
        pid: pid.parse().ok()?,
        ended: ["Z", "X", "x"].contains(fields.first()?),
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn names_of_processes_do_not_disturb() {
        let rest = "S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1";
        let stat = |line: &str| parse_stat(&format!("{line} {rest}"));
        let expected = ProcessStat {
            pid: 12,
            ended: false,
            started: 987_654,
        };
        assert_eq!(stat("12 (kbk)"), Some(expected));
        assert_eq!(stat("12 (a) Z 1 (b c)").unwrap().started, 987_654);
        assert!(!stat("12 (a) Z 1 (b c)").unwrap().ended);
        for other in ["", "12", "12 (kbk", "12 (kbk) S 1 2", "x (kbk) S"] {
            assert_eq!(parse_stat(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_runs_until_it_ends_and_another_one_with_its_id_is_not_it() {
        let this = this_process().expect("tests run on Linux");
        assert_eq!(running(Some(&this), Some(&this)), Running::Yes);
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let stat = read_stat(&child.id().to_string()).unwrap().unwrap();
        let owner = ClaimProcess {
            pid: child.id(),
            started: stat.started,
            ..this.clone()
        };
        assert_eq!(running(Some(&this), Some(&owner)), Running::Yes);
        let earlier = ClaimProcess {
            started: stat.started - 1,
            ..owner.clone()
        };
        assert_eq!(running(Some(&this), Some(&earlier)), Running::No);
        for elsewhere in [
            ClaimProcess {
                boot_id: "another".to_owned(),
                ..earlier.clone()
            },
            ClaimProcess {
                namespace: "pid:[1]".to_owned(),
                ..earlier
            },
        ] {
            assert_eq!(running(Some(&this), Some(&elsewhere)), Running::Unknown);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(running(Some(&this), Some(&owner)), Running::No);
        assert_eq!(running(None, Some(&owner)), Running::Unknown);
        assert_eq!(running(Some(&this), None), Running::Unknown);
    }

    #[test]
    fn absurd_process_ids_are_not_signalled() {
        for pid in [0, u32::MAX, i32::MAX as u32 + 1] {
            assert!(!does_not_exist(pid));
        }
    }
}
