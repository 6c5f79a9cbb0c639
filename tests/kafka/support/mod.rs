//! What the tests against a real Apache Kafka share: a broker, producers, a reader of truth, kbk.

pub(crate) mod broker;
pub(crate) mod consume;
pub(crate) mod process;
pub(crate) mod produce;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod samples;
pub(crate) mod scenarios;
pub(crate) mod secure;
pub(crate) mod topics;
pub(crate) mod wait;
pub(crate) mod wire;

/// True under `make soak`: the same tests with more seeds, kills and data.
pub(crate) fn soak() -> bool {
    std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0")
}
