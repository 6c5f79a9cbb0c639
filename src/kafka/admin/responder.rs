//! The broker that answers requests to the controller, where the controller that the cluster names cannot be reached.
//!
//! In a KRaft cluster every broker forwards such requests, and the controller that metadata names is any broker. A broker that has died
//! is named for as long as its session lasts, and one whose advertised address is wrong for ever. In librdkafka's in-process cluster
//! the controller is not among the brokers at all. librdkafka would wait for it until the request times out.

#![expect(unsafe_code, reason = "reads the brokers out of librdkafka's metadata")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::Admin;
use super::answer::structs;
use super::owned::{Event, Options};
use super::request::BrokerError;
use crate::kafka::client::{millis, owned_text};
use crate::kafka::error::KafkaError;
use crate::kafka::message::Queue;

/// The id of the broker that is asked in place of the controller, if any.
pub(super) struct StandIn(AtomicI32);

impl StandIn {
    const NONE: i32 = -1;

    pub(super) fn none() -> StandIn {
        StandIn(AtomicI32::new(StandIn::NONE))
    }

    pub(super) fn get(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&id| id != StandIn::NONE)
    }

    fn set(&self, id: Option<i32>) {
        self.0.store(id.unwrap_or(StandIn::NONE), Ordering::Relaxed);
    }
}

impl Admin {
    /// Chooses the broker to ask: the controller if it answers, or else the first broker that does. Fails if none answers `within`
    /// that time, of which a cluster that takes long to name its brokers leaves little: one is asked nevertheless.
    pub(super) fn find_responder(&self, within: Duration) -> Result<(), KafkaError> {
        const ATTEMPT: Duration = Duration::from_secs(2);
        let started = Instant::now();
        let metadata = self.ask_metadata(within);
        let metadata = metadata.map_err(|error| {
            // Serves the callbacks that say why.
            while self.client.poll(Duration::ZERO) > 0 {}
            match error.code.is_local_timeout() {
                true => self.client.unreachable(),
                false => error.into_kafka_error("list the brokers"),
            }
        })?;
        // SAFETY: the metadata and the client are live.
        let (mut brokers, controller) = unsafe {
            let metadata = metadata.0.as_ref();
            let controller = sys::rd_kafka_controllerid(self.client.as_ptr(), 0);
            let named = |broker: &sys::rd_kafka_metadata_broker| {
                let (host, port) = (owned_text(broker.host), broker.port);
                (broker.id, format!("broker {} ({host}:{port})", broker.id))
            };
            let brokers = structs(metadata.brokers, metadata.broker_cnt).iter();
            (brokers.map(named).collect::<Vec<_>>(), controller)
        };
        brokers.sort_by_key(|(id, _)| *id != controller);
        let mut is_first = true;
        for (id, name) in brokers.iter().cycle() {
            let left = within.saturating_sub(started.elapsed());
            // However late it is, one is asked: a broker that refuses does so at once, and is named then.
            if left < Admin::SHORTEST_ATTEMPT && !is_first {
                return Err(self.none_answers(name));
            }
            is_first = false;
            let wait = left.clamp(Admin::SHORTEST_ATTEMPT, ATTEMPT);
            if self.is_answering(*id, wait) {
                self.stand_in.set((*id != controller).then_some(*id));
                return Ok(());
            }
            tracing::debug!(
                "{name} does not answer: {}",
                self.client.events().cause().text
            );
        }
        Err(self.client.unreachable())
    }

    /// The error that no broker of the cluster answers, with the name of one where nothing else is known.
    fn none_answers(&self, name: &str) -> KafkaError {
        let mut error = self.client.unreachable();
        if let KafkaError::Unreachable { cause, .. } = &mut error
            && self.client.events().last_failure().is_none()
        {
            *cause = format!("{name}, which the cluster names, does not answer");
        }
        error
    }

    /// Whether a broker answers a request within `wait`, be it with an error.
    fn is_answering(&self, broker: i32, wait: Duration) -> bool {
        let options = Options::new(&self.client, Op::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER, wait);
        let Ok(options) = options.and_then(|options| options.set_broker(broker).map(|()| options))
        else {
            return false;
        };
        let queue = Queue::new(&self.client);
        // SAFETY: all handles are live.
        let event = unsafe {
            sys::rd_kafka_DescribeCluster(self.client.as_ptr(), options.0.as_ptr(), queue.as_ptr());
            sys::rd_kafka_queue_poll(queue.as_ptr(), millis(wait + Admin::SHORTEST_ATTEMPT))
        };
        self.client.poll(Duration::ZERO);
        let Some(event) = NonNull::new(event).map(Event) else {
            return false;
        };
        let silent = |error: &BrokerError| error.code.is_local_timeout();
        event.check().err().is_none_or(|error| !silent(&error))
    }
}
