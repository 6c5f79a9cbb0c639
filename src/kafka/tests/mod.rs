//! Consumer, producer and admin against librdkafka's in-process cluster, and admin against brokers that are scripted.

mod admin;
mod connecting;
mod consumer;
mod lost_answers;
mod old_brokers;
mod producer;
mod slow_leaders;
mod support;
mod transaction;
