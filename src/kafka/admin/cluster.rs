//! What a cluster says about itself: its id, its brokers, and its metadata.

#![expect(
    unsafe_code,
    reason = "metadata is read through librdkafka's C interface"
)]

use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka_sys as sys;

use super::Admin;
use super::owned::Metadata;
use super::request::BrokerError;
use crate::kafka::client::{Client, length, millis, owned_text};
use crate::kafka::error::{Code, KafkaError};

/// A cluster, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its id; brokers before 0.10.1 have none.
    pub id: Option<String>,
    /// Number of brokers that are up.
    pub brokers: usize,
}

impl Admin {
    /// Describes the cluster.
    pub fn cluster(&self) -> Result<Cluster, KafkaError> {
        // SAFETY: the client is live; the id is a C string or null, and is freed as rdkafka.h prescribes.
        let id = unsafe {
            let id = sys::rd_kafka_clusterid(self.client.as_ptr(), millis(Client::PATIENCE));
            let text = (!id.is_null()).then(|| owned_text(id));
            sys::rd_kafka_mem_free(self.client.as_ptr(), id.cast());
            text
        };
        let brokers = self.metadata(|metadata| Ok(length(metadata.broker_cnt, "brokers")))?;
        Ok(Cluster { id, brokers })
    }

    /// Requests the metadata of all topics, and reads from it.
    pub(super) fn metadata<T>(
        &self,
        read: impl Fn(&sys::rd_kafka_metadata) -> Result<T, BrokerError>,
    ) -> Result<T, KafkaError> {
        self.repeatedly("list the topics", |left| {
            let metadata = self.ask_metadata(left)?;
            // SAFETY: the metadata is live.
            read(unsafe { metadata.0.as_ref() })
        })
    }

    /// Requests the metadata of all topics, once. librdkafka uses the leaders in the answer from then on.
    pub(super) fn ask_metadata(&self, wait: Duration) -> Result<Metadata, BrokerError> {
        let mut metadata = ptr::null();
        // SAFETY: the client is live and the out parameter valid.
        let code = unsafe {
            sys::rd_kafka_metadata(
                self.client.as_ptr(),
                1,
                ptr::null_mut(),
                &mut metadata,
                millis(wait),
            )
        };
        BrokerError::check(Code(code as i32), "", ptr::null())?;
        NonNull::new(metadata.cast_mut())
            .map(Metadata)
            .ok_or_else(|| BrokerError::of(Code::TIMED_OUT))
    }
}
