//! The Kafka clients of kbk: the only module that names rdkafka.
//!
//! ```text
//!                  ClientSettings   --bootstrap-server, --command-config, -X
//!                        │
//!        ┌───────────────┼────────────────┐
//!        ▼               ▼                ▼
//!      Admin          Consumer         Producer
//!    describe,        ranges of        records to
//!  create, alter      partitions       partitions
//!        │               │                ▲
//!        ▼               ▼                │
//!     values       RecordHandler     &Record<'_>
//! ```
//!
//! [`Consumer`] and [`Producer`] exchange [`Record`](kbk_format::record::Record)s that borrow their bytes: the consumer from
//! librdkafka's fetch buffers, without copies or allocations of its own. Both block on the caller's thread, and bound their memory.
//! Backup and restore reach them through the traits in `src/records/`, which a second transport can implement as well.
//!
//! Of this crate's modules, `kafka` uses none but itself: it builds on `kbk_format` alone.
//!
//! | to find | look in |
//! |---|---|
//! | tokens for OAUTHBEARER from an endpoint | `oidc` |
//! | which properties are set, and why; precedence; what is rejected; properties of Java clients | [`settings`] |
//! | how a range ends, lost offsets, stalls | [`consumer`] |
//! | timestamps, sizes, delivery reports | [`producer`], `delivered` |
//! | compression of batches, by topic | `topic` |
//! | transactions, and offsets committed in them | [`transaction`]; what these are for both clients: `commit` |
//! | topics, offsets, configurations, groups, ACLs | [`admin`] |
//! | partitions, ranges, and answers by partition or group | `partition`, `answers` |
//! | where a leader epoch ends | `leader_epoch` |
//! | permissions as administrators grant them | `permission` |
//! | memory bounds of both | `options` |
//! | how long each request may take | [`settings`], and `request` in [`admin`] |
//! | the callbacks of a read | `handler` |
//! | the size of fetches | `fetch_size` |
//! | why header names need care | `headers` |
//! | callbacks, logging, connecting | `client` |
//! | what a client's callbacks have reported: failures, answers, quotas | `events` |
//! | what librdkafka reports, in kbk's words; what is said of an outage | `cause`, `outage` |
//! | the client that reads record batches as brokers store them | [`wire`] |
//! | the in-process cluster of `kbk demo` and of tests | [`mock`] |

pub mod admin;
mod answers;
mod cause;
mod client;
mod commit;
pub mod consumer;
mod delivered;
pub mod error;
mod events;
mod fetch_size;
mod foreign;
mod handler;
mod headers;
mod leader_epoch;
mod message;
pub mod mock;
mod oidc;
mod options;
mod outage;
mod partition;
mod permission;
pub mod producer;
pub mod settings;
#[cfg(test)]
mod tests;
mod topic;
pub mod transaction;
pub mod wire;

pub use admin::{
    AclListing, Admin, Cluster, ClusterRights, CommittedTopic, ConfigEntry, ConfigSource,
    Configuration, GroupDescription, GroupListing, GroupListings, GroupOffsets, INTERNAL_TOPICS,
    PartitionDescription, PartitionOffsets, PermittedOffsets, Rights, TopicDescription, knows_acl,
};
pub use answers::Answers;
pub use commit::{OffsetCommit, Positions, TransactionError};
pub use consumer::Consumer;
pub use delivered::Delivered;
pub use error::KafkaError;
pub use handler::{RecordHandler, SourceError};
pub use kbk_format::batch::BatchCodec;
pub use leader_epoch::EpochEnd;
pub use mock::EmbeddedCluster;
pub use oidc::TokenFailure;
pub use options::{SinkOptions, SourceOptions, StopRequest, WholeBatches};
pub use outage::{Outages, outages, outlast};
pub use partition::{PartitionRange, TopicPartition};
pub use permission::{AclOperation, AclResource, Permission};
pub use producer::Producer;
pub use settings::{ClientSettings, Origin, SettingsError};
pub use transaction::committed;
