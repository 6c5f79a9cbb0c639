//! Whole processes against a real Apache Kafka: the cost of kbk's commands next to lower bounds for the same
//! work, taking turns in one run.
//!
//! `cargo bench -p kbk --bench kafka` prints two Markdown tables: every process, and the ratios that kbk must meet.
//! No figure makes the bench fail.
//!
//! | | |
//! |---|---|
//! | `KBK_BENCH_BYTES` | bytes of keys, headers and values per topic, such as `2GB`; 1 GB by default |
//! | `KBK_BENCH_QUICK` | 1: a tenth of that and one round, to check that everything runs |
//! | `KBK_TEST_BROKERS` | a running cluster to use instead of starting a broker |
//! | `TMPDIR` | the folder for broker and repositories; in memory, such as `/dev/shm`, it takes the disk out of the picture |

use std::process::ExitCode;

mod cases;
mod contender;
mod measure;
#[path = "../samples.rs"]
#[expect(dead_code, reason = "only one payload is used here")]
mod samples;
mod table;
mod workload;

/// The broker and process helpers of the tests.
#[path = "../../tests/kafka/support"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support {
    pub(crate) mod broker;
    #[path = "../../support/json_page.rs"]
    pub(crate) mod json_page;
    pub(crate) mod process;
    pub(crate) mod produce;
    pub(crate) mod raw;
    pub(crate) mod record;
    pub(crate) mod topics;
    pub(crate) mod wait;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if contender::run(&arguments) {
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
