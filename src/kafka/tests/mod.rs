//! Consumer, producer and admin against librdkafka's in-process cluster.

mod admin;
mod connecting;
mod consumer;
mod producer;
mod support;
mod transaction;
