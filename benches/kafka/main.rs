//! Whole processes against a real Apache Kafka: the cost of kbk's commands next to lower bounds for the same
//! work, taking turns in one run.
//!
//! `cargo bench -p kbk --bench kafka` prints two Markdown tables: every process, and the ratios that kbk must meet.
//! No figure makes the bench fail. `-- WORD...` measures only the cases whose names contain one of the words, such as
//! `-- 'orders, zstd, 4 partitions: kbk backup' 'orders, zstd, 4 partitions: librdkafka'`.
//!
//! | | |
//! |---|---|
//! | `KBK_BENCH_BYTES` | bytes of keys, headers and values per topic, such as `2GB`; 1 GB by default |
//! | `KBK_BENCH_QUICK` | 1: a twentieth of that and one round, to check that everything runs |
//! | `KBK_BENCH_BEFORE` | another kbk, such as that of the commit before: it runs every case of kbk, too, in turn |
//! | `KBK_TEST_BROKERS` | a running cluster to use instead of starting a broker, whose processor time is not known then |
//! | `TMPDIR` | the folder for broker and repositories; in memory, such as `/dev/shm`, it takes the disk out of the picture |
//!
//! | to | see |
//! |---|---|
//! | read what is asked for | `settings` |
//! | name a topic, and the process that works on it | `source`, `case` |
//! | choose which processes run on which topics | `matrix` |
//! | run and measure them | `harness`, `measure` |
//! | know the lower bounds, and the records | `contender`, `workload` |
//! | print figures, and compare them with their targets | `table`, `figures` |

use std::process::ExitCode;

mod case;
mod contender;
mod figures;
mod harness;
mod matrix;
mod measure;
#[path = "../samples.rs"]
#[expect(dead_code, reason = "not all payloads are used here")]
mod samples;
mod settings;
mod source;
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
    let settings = match settings::Settings::new(&arguments) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let samples = harness::run(&settings);
    if samples.is_empty() {
        eprintln!("no case has such a name");
        return ExitCode::FAILURE;
    }
    table::print(&settings, &samples);
    ExitCode::SUCCESS
}
