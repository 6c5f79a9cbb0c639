//! Requests to a cluster: topics, offsets, configurations, consumer groups, ACLs and permissions.
//!
//! Every call has a deadline, is retried while its failure is transient (leaders move, coordinators load), and covers as many
//! topics or partitions per request as possible: clusters have thousands.
//!
//! A request whose answer is lost is repeated as well, so each must have the effect of one. Records are deleted below an offset and never "up
//! to the end", entries of a configuration are set or removed and never appended to, ACLs and offsets that exist are accepted, and a group
//! that does not exist counts as deleted. A topic can be created only once: `creation` finds out who did.
//!
//! | file | what |
//! |---|---|
//! | `cluster` | the cluster id, brokers, metadata |
//! | `topics` | describing topics |
//! | `creation` | creating topics |
//! | `offsets` | log bounds, deleting records |
//! | `configs` | configurations of topics and brokers |
//! | `groups` | consumer groups and their committed offsets |
//! | `coordinator_watch` | whether brokers know which groups they coordinate |
//! | `offset_delete` | whether brokers can be asked to delete committed offsets |
//! | `acls` | listing and creating ACLs |
//! | `rights` | what this principal may do |
//! | `request` | one request: deadline, retries, errors |
//! | `responder` | the broker that answers in the place of an unreachable controller |
//! | `coordinators` | one request for each of many groups |
//! | `owned` | librdkafka's objects, freed when dropped |
//! | `answer` | arrays in librdkafka's answers |

mod acls;
mod answer;
mod cluster;
mod configs;
mod coordinator_watch;
mod coordinators;
mod creation;
mod groups;
mod offset_delete;
mod offsets;
mod owned;
mod request;
mod responder;
mod rights;
mod topics;

use std::time::Duration;

pub use self::acls::{AclListing, knows_acl};
pub use self::cluster::Cluster;
pub use self::configs::{ConfigEntry, ConfigSource, Configuration};
pub use self::groups::{
    CommittedTopic, GroupDescription, GroupListing, GroupListings, GroupOffsets, PermittedOffsets,
};
pub use self::offsets::PartitionOffsets;
pub(super) use self::owned::PartitionList;
use self::responder::StandIn;
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
    /// The broker that is asked in place of the controller.
    stand_in: StandIn,
    /// How long a request may take, all its retries included.
    deadline: Duration,
}

impl Admin {
    /// Connects, within ten seconds, to a broker that answers requests.
    pub fn connect(settings: &ClientSettings) -> Result<Admin, KafkaError> {
        let client = Client::consumer(&settings.admin())?;
        client.connect(Client::PATIENCE)?;
        let admin = Admin {
            client,
            settings: settings.clone(),
            stand_in: StandIn::none(),
            deadline: settings.request_timeout(),
        };
        admin.find_responder(admin.deadline.min(Client::PATIENCE))?;
        tracing::debug!("connected to {}", settings.bootstrap_servers());
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
