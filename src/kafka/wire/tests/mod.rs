//! The client against brokers that these tests script, byte by byte. Apache Kafka itself is in `tests/kafka/`.

mod brokers;
mod committed;
pub(crate) mod endless;
mod fetching;
pub(in crate::kafka) mod group_coordinators;
mod hostile;
mod log;
mod logins;
mod producing;
pub(in crate::kafka) mod support;
mod whole_batches;
