//! A Kafka client that sees record batches: the way from a broker's log to a buffer without a copy.
//!
//! librdkafka hands over records; what is lost on the way (batches, leader epochs, aborted ranges, messages of old formats) and what that
//! costs is in docs/decisions/0022. It shares the properties of the other one, and nothing else.
//!
//! ```text
//!   WireClient ── metadata, list_offsets, epoch_ends ──► one connection per broker, for small requests
//!       │
//!       └─ fetcher ──► Fetcher ─┬─► Reader (broker 1) ──► Connection ──► socket
//!                               └─► Reader (broker 2) ──► Connection ──► socket
//!
//!   request under way:    send n+1    receive n    walk headers    send n+2    check CRCs    events of n
//!
//!   WireSink ── records ──► batches ──► Slot (partition) ─┬─► lane (broker 1) ──► Connection ──► socket
//!       │                                                 └─► lane (broker 2) ──► Connection ──► socket
//!       └─ Transactions ──► coordinators
//! ```
//!
//! # How bytes travel
//!
//! A response is read into a buffer of a `pool`, once. [`protocol`] finds the records of each partition in it, `fetched` the whole
//! batches among them, and a [`FetchedBatches`] shares these bytes: [`FetchedBatches::batches`] lends each as a
//! [`RecordBatch`](kbk_format::batch::RecordBatch), and [`FetchedBatches::share`] shares one for longer. The buffer is used again when the
//! last of them is dropped. A batch that is produced is lent to the request: its header is written with its producer's fields, and the
//! rest goes to the socket from where it is.
//!
//! # What is bounded
//!
//! A length is checked before it is used: of a frame before anything is allocated for it, and then only as bytes arrive; a count against the
//! bytes that remain. There is one response per broker at a time, of [`FetchOptions::response_bytes`] unless one batch exceeds it. A request
//! has the time of `socket.timeout.ms`, a call that of all its attempts, and a partition that cannot be read fails after that of a stall.
//!
//! # What fails, and what is tried again
//!
//! [`WireError::is_transient`] decides. What may pass (a connection that ends, a leader that moves) is tried again with pauses that grow,
//! after leaders were looked up again. Each partition has a result of its own. All else is an error that names the broker, the request, and
//! what was expected and found.
//!
//! ```no_run
//! use kbk::kafka::ClientSettings;
//! use kbk::kafka::wire::{BatchKind, FetchEvent, FetchOptions, FetchRange, WireClient, WireSettings};
//! use kbk::kafka::wire::protocol::Isolation;
//! use kbk::kafka::wire::OffsetQuery;
//! use kbk::kafka::TopicPartition;
//! use kbk_format::PartitionNumber;
//!
//! # async fn backup() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = ClientSettings::new(Some("broker:9092"), None, &[])?;
//! let client = WireClient::new(WireSettings::new(&settings)?);
//! let orders = TopicPartition::new("orders", PartitionNumber::ZERO);
//! let mut ends = client
//!     .list_offsets(&[orders.clone()], OffsetQuery::Latest, Isolation::ReadCommitted)
//!     .await;
//! let end = ends.remove(&orders).ok_or("no answer")??.offset;
//! let range = FetchRange { partition: orders, start: 0, end, last_epoch: None };
//! let mut fetcher = client.fetcher(FetchOptions::default(), vec![range]);
//! while let Some(event) = fetcher.next().await {
//!     match event {
//!         FetchEvent::Batches(fetched) => {
//!             for batch in fetched.batches() {
//!                 let (batch, kind) = batch?;
//!                 if kind == BatchKind::Data {
//!                     println!("{:?}: {} bytes", batch.header(), batch.bytes().len());
//!                 }
//!             }
//!         }
//!         FetchEvent::Finished(partition) => println!("{partition} is read"),
//!         FetchEvent::Failed(partition, error) => println!("{partition}: {error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to find | look in |
//! |---|---|
//! | messages as bytes | [`protocol`] |
//! | reading a frame; buffers that are used again | `frame`, `pool` |
//! | one connection: versions, correlation ids, throttling | `connection`; TCP and addresses in `stream`, `address` |
//! | encryption; logins; when to log in again | `tls`, `login`, `session` |
//! | properties | `settings` |
//! | connections to all brokers, and metadata | `client` |
//! | who leads what | `leaders` |
//! | offsets and epochs; epochs for the engine | `offsets`; `epochs` |
//! | reading one broker; reading all of them | `reader`; `fetcher` |
//! | ranges of partitions, record by record, for the engine; its failures as those of the engine | `source`; `failure` |
//! | which batches are visible; damaged ones | `fetched` |
//! | writing records; batches that are being filled; those of a backup; refusals | `sink`; `filling`; `whole_batch`; `refusal` |
//! | several requests under way, in order and once; one partition; one broker | `producer`; `slot`; `lane` |
//! | transactions; who coordinates them; what a group has committed; whether coordinators are ready | `transactions`; `coordinators`; `committed`; `group_coordinators` |
//! | outages of all brokers | `outage_watch` |
//! | pauses, deadlines, and what a quota adds to them | `backoff`, `deadline`, `patience` |

mod address;
mod backoff;
mod client;
mod committed;
mod connection;
mod coordinators;
mod deadline;
mod epochs;
mod error;
mod failure;
mod fetched;
mod fetcher;
mod filling;
mod frame;
mod group_coordinators;
mod lane;
mod leaders;
mod login;
mod offsets;
mod outage_watch;
mod patience;
mod pool;
mod producer;
pub mod protocol;
mod reader;
mod refusal;
mod session;
mod settings;
mod sink;
mod slot;
mod source;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod transactions;
mod whole_batch;

pub use address::Address;
pub use client::{WireClient, runtime};
pub use committed::CommittedOffsets;
pub use epochs::epoch_ends;
pub use error::{BrokerName, WireError};
pub use fetched::{BatchKind, FetchedBatches};
pub use fetcher::{FetchEvent, FetchOptions, FetchRange, Fetcher};
pub use group_coordinators::GroupCoordinators;
pub use leaders::{ClusterMetadata, PartitionLeader, TopicMetadata};
pub use offsets::{FoundEpochEnd, FoundOffset, OffsetQuery, PartitionAnswers};
pub use settings::WireSettings;
pub use sink::WireSink;
pub use source::WireSource;
