//! The Kafka client of kbk: the one place that names rdkafka.
//!
//! ```text
//!                  ClientSettings   --bootstrap-server, --command-config, -X
//!                        │
//!        ┌───────────────┼────────────────┐
//!        ▼               ▼                ▼
//!      Admin           Source          Producer
//!  what is there    ranges of        records to
//!  create, alter    partitions       partitions
//!        │               │                ▲
//!        ▼               ▼                │
//!     values         RecordSink      &Record<'_>
//!                  (backup's blocks)  (restore)
//! ```
//!
//! [`Source`] and [`Producer`] hand records over as [`Record`](kbk_format::record::Record)s that borrow their bytes: the
//! source from librdkafka's fetch buffers, without a copy or an allocation of ours. Both use plain threads, the caller's:
//! they block, and bound what they hold in memory.
//!
//! | to find | look in |
//! |---|---|
//! | which property is set, and why; precedence; what is refused | [`settings`] |
//! | what a Java client's property becomes | `java`, `jaas`, and `properties` for the file |
//! | where a range ends, lost offsets, waiting and giving up | [`source`] |
//! | timestamps, sizes, delivery reports | [`sink`] |
//! | transactions, and offsets committed in them | [`transaction`] |
//! | topics, offsets, configurations, groups, ACLs | [`admin`] |
//! | how much is fetched at a time | `fetch_size` |
//! | why header names need care | `headers` |
//! | callbacks, logging, connecting | `client` |
//! | the embedded cluster of `kbk demo` and of tests | [`mock`] |

pub mod admin;
mod batch;
mod client;
pub mod error;
mod fetch_size;
mod headers;
mod jaas;
mod java;
pub mod mock;
mod properties;
pub mod settings;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;
mod topic;
pub mod transaction;

pub use admin::{
    AclListing, Admin, Cluster, ClusterRights, CommittedTopic, ConfigEntry, ConfigSource,
    GroupDescription, GroupListing, GroupOffsets, PartitionDescription, PartitionOffsets,
    TopicDescription, TopicRights, knows_acl,
};
pub use error::KafkaError;
pub use mock::EmbeddedCluster;
pub use settings::{ClientSettings, Origin, SettingsError};
pub use sink::{Delivered, Producer, ProducerOptions, Target};
pub use source::{PartitionRange, RecordSink, Source, SourceError, SourceOptions};
pub use transaction::{OffsetCommit, Positions, TransactionError, committed};
