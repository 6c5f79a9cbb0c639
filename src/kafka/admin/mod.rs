//! Requests to a cluster: topics, offsets, configurations, consumer groups, ACLs and permissions.
//!
//! Every call has a deadline, is retried while its failure is transient (leaders move, coordinators load), and covers as many
//! topics or partitions per request as possible: clusters have thousands.
//!
//! | file | what |
//! |---|---|
//! | `cluster` | the cluster id, brokers, metadata |
//! | `topics` | describing and creating topics |
//! | `offsets` | log bounds, deleting records |
//! | `configs` | configurations of topics and brokers |
//! | `groups` | consumer groups and their committed offsets |
//! | `acls` | listing and creating ACLs |
//! | `rights` | what this principal may do |
//! | `request` | one request: deadline, retries, errors |
//! | `coordinators` | one request for each of many groups |
//! | `owned` | librdkafka's objects, freed when dropped |
//! | `answer` | arrays in librdkafka's answers |

#![expect(unsafe_code, reason = "reads the brokers out of librdkafka's metadata")]

mod acls;
mod answer;
mod cluster;
mod configs;
mod coordinators;
mod groups;
mod offsets;
mod owned;
mod request;
mod rights;
mod topics;

use std::time::Duration;

use rdkafka_sys as sys;

pub use self::acls::{AclListing, knows_acl};
use self::answer::structs;
pub use self::cluster::Cluster;
pub use self::configs::{ConfigEntry, ConfigSource};
pub use self::groups::{CommittedTopic, GroupDescription, GroupListing, GroupOffsets};
pub use self::offsets::PartitionOffsets;
pub(super) use self::owned::PartitionList;
pub use self::rights::{ClusterRights, Rights};
pub use self::topics::{INTERNAL_TOPICS, PartitionDescription, TopicDescription};
use super::client::Client;
use super::error::KafkaError;
use super::settings::ClientSettings;

/// A connection for administrative requests.
pub struct Admin {
    client: Client,
    /// For clients that send requests to group coordinators.
    settings: ClientSettings,
    /// The broker that answers where the controller that the cluster names is not among its brokers, as in librdkafka's
    /// in-process cluster. Without it librdkafka would wait for the controller to appear.
    stand_in: Option<i32>,
    /// How long a request may take, all its retries included.
    deadline: Duration,
}

impl Admin {
    /// Connects, within ten seconds.
    pub fn connect(settings: &ClientSettings) -> Result<Admin, KafkaError> {
        let client = Client::consumer(&settings.admin())?;
        client.connect(Client::PATIENCE)?;
        // SAFETY: the client is live.
        let controller = unsafe { sys::rd_kafka_controllerid(client.as_ptr(), 0) };
        let mut admin = Admin {
            client,
            settings: settings.clone(),
            stand_in: None,
            deadline: Admin::DEADLINE,
        };
        admin.stand_in = admin.metadata(|metadata| {
            // SAFETY: the array lives as long as the metadata.
            let brokers = unsafe { structs(metadata.brokers, metadata.broker_cnt) };
            let known = brokers.iter().any(|broker| broker.id == controller);
            Ok(brokers.first().filter(|_| !known).map(|broker| broker.id))
        })?;
        Ok(admin)
    }
}

/// The error of a request that cannot be sent, as when a name contains a NUL character.
fn invalid(doing: &str, cause: String) -> KafkaError {
    KafkaError::Other {
        doing: doing.to_owned(),
        cause,
    }
}
