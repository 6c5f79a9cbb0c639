//! Shared by the tests against a real Apache Kafka: a broker, producers, the source of truth, kbk.

pub(crate) mod acls;
pub(crate) mod broker;
#[path = "../../support/change.rs"]
pub(crate) mod change;
pub(crate) mod consume;
pub(crate) mod fault_proxy;
pub(crate) mod google;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod guarded;
pub(crate) mod http;
#[path = "../../support/json_page.rs"]
pub(crate) mod json_page;
pub(crate) mod kafka_proxy;
pub(crate) mod logs;
pub(crate) mod offset_map;
pub(crate) mod old_broker;
pub(crate) mod old_log;
#[path = "../../support/one_partition.rs"]
pub(crate) mod one_partition;
#[path = "../../support/pages.rs"]
pub(crate) mod pages;
pub(crate) mod process;
pub(crate) mod produce;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod repo;
pub(crate) mod s3;
pub(crate) mod samples;
pub(crate) mod scenarios;
pub(crate) mod secrets;
pub(crate) mod secure;
pub(crate) mod small_disk;
#[path = "../../support/split_mix.rs"]
mod split_mix;
#[path = "../../support/store_contract.rs"]
pub(crate) mod store_contract;
pub(crate) mod stores;
pub(crate) mod synthetic;
pub(crate) mod token_endpoint;
pub(crate) mod topics;
pub(crate) mod wait;
pub(crate) mod wire;
pub(crate) mod wire_client;

/// Reports whether this is `make soak`: the same tests with more seeds, kills and data.
pub(crate) fn soak() -> bool {
    std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0")
}

/// Returns a seed that differs in each run, and prints it; `KBK_TEST_SEED` repeats a run.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("KBK_TEST_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("KBK_TEST_SEED is a number"));
    let seed = given.unwrap_or_else(|| samples::now_ms().cast_unsigned());
    println!("KBK_TEST_SEED={seed}");
    seed
}
