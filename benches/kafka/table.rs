//! Prints the figures as Markdown: the machine, every process, and the ratios that kbk must meet.

use std::fs;
use std::thread::available_parallelism;

use crate::case::{Binary, Case};
use crate::figures::{Bound, Figure, figures};
use crate::measure::{BROKER_CPU, CPU, RSS_MB, Samples, WALL};
use crate::settings::Settings;

/// Prints all tables. Ratios use the least disturbed runs, memory the worst one.
pub(crate) fn print(settings: &Settings, all: &[Samples]) {
    println!("\n{}", machine());
    println!(
        "{} GB per topic, and a fifth of that of telemetry; {} runs of each process, taking turns, of which the least disturbed one counts. \
         Rates are those of the bare consumer or producer on the same topic.",
        settings.bytes as f64 / 1e9,
        settings.rounds
    );
    println!(
        "\n| topic | process | wall s | median | CPU s per GB | of the broker | peak MB | rate / bare |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    for samples in all {
        let Case {
            source,
            process,
            binary,
        } = samples.case;
        let before = match binary {
            Binary::Built => "",
            Binary::Before => " (before)",
        };
        let per_gb = |value: Option<f64>| {
            let gb = source.bytes(settings.bytes) as f64 / 1e9;
            number(value.map(|value| value / gb), 3)
        };
        println!(
            "| {source} | {process}{before} | {} | {} | {} | {} | {} | {} |",
            number(samples.least(WALL), 3),
            number(samples.median(WALL), 3),
            per_gb(samples.least(CPU)),
            per_gb(samples.least(BROKER_CPU)),
            number(samples.most(RSS_MB), 0),
            number(beside_bare(all, samples), 2),
        );
    }
    println!("\n| figure | measured | target | |");
    println!("|---|--:|--:|---|");
    for Figure { name, found, bound } in figures(settings, all) {
        let (target, met) = match bound {
            Some(Bound::AtMost(most)) => {
                (format!("at most {most}"), found.map(|found| found <= most))
            }
            Some(Bound::AtLeast(least)) => (
                format!("at least {least}"),
                found.map(|found| found >= least),
            ),
            None => ("none".to_owned(), None),
        };
        let met = match (found, met) {
            (None, _) => "not measured",
            (Some(_), None) => "",
            (Some(_), Some(true)) => "met",
            (Some(_), Some(false)) => "missed",
        };
        println!("| {name} | {} | {target} | {met} |", number(found, 2));
    }
}

/// Returns how many times as fast as the bare client a process is.
fn beside_bare(all: &[Samples], samples: &Samples) -> Option<f64> {
    let Case {
        source, process, ..
    } = samples.case;
    let bare = process.bare()?;
    let bare = all
        .iter()
        .find(|other| other.case.source == source && other.case.process == bare)?;
    Some(bare.least(WALL)? / samples.least(WALL)?)
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Describes the machine in one line.
fn machine() -> String {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory, kernel) = (
        file("/proc/cpuinfo"),
        file("/proc/meminfo"),
        file("/proc/sys/kernel/osrelease"),
    );
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    format!(
        "{} cores of {}, {} of memory, Linux {}; broker and repositories in {}.",
        available_parallelism().map_or(1, usize::from),
        field(&cpus, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        field(&memory, "MemTotal").unwrap_or_else(|| "unknown".to_owned()),
        kernel.trim(),
        std::env::temp_dir().display(),
    )
}
