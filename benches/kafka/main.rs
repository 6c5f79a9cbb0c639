//! Whole processes against a real Apache Kafka: what kbk's commands cost, beside the least that anyone can do the same
//! work for, measured in turn in one run.
//!
//! `cargo bench -p kbk --bench kafka` prints two Markdown tables: every process, and the ratios that kbk is held to.
//! Nothing fails by the clock.
//!
//! | | |
//! |---|---|
//! | `KBK_BENCH_BYTES` | bytes of keys, headers and values in a topic, such as `2GB`; 1 GB by default |
//! | `KBK_BENCH_QUICK` | 1: a tenth of that and one round, to see that everything runs |
//! | `KBK_TEST_BROKERS` | a cluster that runs already, instead of a broker of its own |
//! | `TMPDIR` | where broker and repositories lie; in memory, such as `/dev/shm`, the disk is left out |

use std::process::ExitCode;

mod cases;
mod contender;
mod measure;
#[path = "../samples.rs"]
#[expect(dead_code, reason = "one of the shapes is enough here")]
mod samples;
mod table;
mod workload;

/// The tests' broker, and how they run kbk.
#[path = "../../tests/kafka/support"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support {
    pub(crate) mod broker;
    pub(crate) mod process;
    pub(crate) mod produce;
    pub(crate) mod raw;
    pub(crate) mod record;
    pub(crate) mod topics;
    pub(crate) mod wait;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if contender::run(&words) {
        return ExitCode::SUCCESS;
    }
    let settings = match workload::Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let samples = cases::run(settings);
    table::print(settings, &samples);
    ExitCode::SUCCESS
}
