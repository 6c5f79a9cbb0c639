//! Measures one process from start to end, and collects several runs of it.

use std::process::Command;
use std::time::Instant;

use crate::cases::Case;
use crate::support::process;

/// The cost of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Elapsed time from start to end.
    pub(crate) wall_seconds: f64,
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Peak resident memory.
    pub(crate) max_rss_bytes: f64,
}

/// A process that failed.
#[derive(Debug, thiserror::Error)]
#[error("{command} failed with {status}: {stderr}")]
pub(crate) struct Failed {
    command: String,
    status: std::process::ExitStatus,
    stderr: String,
}

/// Runs the command to its end and measures it.
pub(crate) fn measure(command: &mut Command) -> Result<Sample, Failed> {
    // Otherwise this process pays for write-back that an earlier one caused.
    let synced = Command::new("sync").status().expect("sync runs");
    assert!(synced.success(), "sync: {synced}");
    let started = Instant::now();
    let finished = process::run(command);
    let wall_seconds = started.elapsed().as_secs_f64();
    if !finished.status.success() {
        let (status, stderr) = (finished.status, finished.stderr);
        return Err(Failed {
            command: format!("{command:?}"),
            status,
            stderr,
        });
    }
    let max_rss_bytes = finished.max_rss_bytes as f64;
    Ok(Sample {
        wall_seconds,
        cpu_seconds: finished.cpu_seconds,
        max_rss_bytes,
    })
}

/// Runs of the same process.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    pub(crate) case: Case,
    runs: Vec<Sample>,
}

impl Samples {
    /// Starts without a run.
    pub(crate) fn new(case: Case) -> Samples {
        Samples {
            case,
            runs: Vec::new(),
        }
    }

    /// Adds a run.
    pub(crate) fn push(&mut self, sample: Sample) {
        self.runs.push(sample);
    }

    /// Returns the smallest figure, that of the least disturbed run.
    pub(crate) fn least(&self, of: fn(&Sample) -> f64) -> Option<f64> {
        self.sorted(of).first().copied()
    }

    /// Returns the median figure.
    pub(crate) fn median(&self, of: fn(&Sample) -> f64) -> Option<f64> {
        let sorted = self.sorted(of);
        sorted.get(sorted.len() / 2).copied()
    }

    /// Returns the largest figure, that of the worst run.
    pub(crate) fn most(&self, of: fn(&Sample) -> f64) -> Option<f64> {
        self.sorted(of).last().copied()
    }

    fn sorted(&self, of: fn(&Sample) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}
