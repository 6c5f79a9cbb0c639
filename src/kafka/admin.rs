//! Asking a cluster what it holds, creating and configuring topics, the offsets of groups, and ACLs.
//!
//! Every call has a deadline, is repeated while its failure is of the passing kind (leaders move, coordinators load), and
//! covers as many topics or partitions as it can at once: clusters have thousands.

#![expect(
    unsafe_code,
    reason = "half of these calls exist in librdkafka's C interface only"
)]

mod acls;
mod answer;
mod coordinators;
mod groups;
mod owned;
mod request;
mod rights;

use std::collections::{BTreeMap, HashMap};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

pub use self::acls::{AclListing, knows_acl};
use self::answer::{
    checked, from_config, from_description, from_metadata, from_offset, items, refused_partitions,
    structs,
};
pub use self::groups::{CommittedTopic, GroupDescription, GroupListing, GroupOffsets};
pub(super) use self::owned::PartitionList;
use self::owned::{Config, DeleteRecords, Metadata, NewTopic, TopicCollection};
use self::request::{Refusal, Request, Target};
pub use self::rights::{ClusterRights, TopicRights};
use super::client::{Client, Reason, millis, owned_text};
use super::error::{Code, KafkaError};
use super::settings::ClientSettings;
use super::source::log_bounds;

/// A cluster, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its id; very old brokers have none.
    pub id: Option<String>,
    /// Brokers that are up.
    pub brokers: usize,
}

/// A topic and where its partitions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The name.
    pub name: String,
    /// What tells this topic from an earlier one of the same name; zero where the cluster gives none.
    pub topic_id: [u8; 16],
    /// Whether it is Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
    /// In the order of their numbers.
    pub partitions: Vec<PartitionDescription>,
    /// Replicas of the first partition.
    pub replication_factor: usize,
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub id: i32,
    /// The broker that leads it; -1 while there is none.
    pub leader: i32,
    /// The brokers that have copies.
    pub replicas: Vec<i32>,
}

/// The bounds of a partition's log. All three are offsets of the next record, or the first, never of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The first offset that the log still holds.
    pub log_start_offset: i64,
    /// The end of what all replicas have.
    pub high_watermark: i64,
    /// Where the first open transaction begins, or the high watermark: `read_committed` reads up to here.
    pub last_stable_offset: i64,
}

/// One entry of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Null for a sensitive one.
    pub value: Option<String>,
    /// Whether it is Kafka's built-in default.
    pub is_default: bool,
    /// Who set it.
    pub source: ConfigSource,
    /// Whether brokers hide the value.
    pub sensitive: bool,
}

/// Where a configuration value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on one broker or on all, in its file or since.
    Broker,
    /// Built in.
    Default,
    /// Not said.
    Unknown,
}

/// A connection for questions and changes.
pub struct Admin {
    client: Client,
    /// For clients that ask the coordinators of groups.
    settings: ClientSettings,
    /// Whom to ask where the controller that the cluster names is none of its brokers, as in librdkafka's own
    /// in-process cluster. Without this librdkafka would wait for that broker to appear.
    stand_in: Option<i32>,
    /// How long a request may take, with all its repetitions.
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
            brokers.first().filter(|_| !known).map(|broker| broker.id)
        })?;
        Ok(admin)
    }

    /// What the cluster is called, and how large it is.
    pub fn cluster(&self) -> Result<Cluster, KafkaError> {
        // SAFETY: the client is live; the id is a C string that is freed as its documentation says.
        let id = unsafe {
            let id = sys::rd_kafka_clusterid(self.client.as_ptr(), millis(Client::PATIENCE));
            let text = (!id.is_null()).then(|| owned_text(id));
            sys::rd_kafka_mem_free(self.client.as_ptr(), id.cast());
            text
        };
        let brokers = self.metadata(|metadata| metadata.broker_cnt)?;
        Ok(Cluster {
            id,
            brokers: usize::try_from(brokers).unwrap_or(0),
        })
    }

    /// All topics, or those named, of which each must exist.
    pub fn describe_topics(
        &self,
        names: Option<&[String]>,
    ) -> Result<Vec<TopicDescription>, KafkaError> {
        const AT_ONCE: usize = 500;
        let listed = match names {
            None => self.list_topics()?,
            Some(_) => Vec::new(),
        };
        let all: Vec<String> = match names {
            None => listed.iter().map(|topic| topic.name.clone()).collect(),
            Some(names) => names.to_vec(),
        };
        let mut topics = Vec::with_capacity(all.len());
        for some in all.chunks(AT_ONCE) {
            match self.describe_at_once(some, names.is_some()) {
                Ok(described) => topics.extend(described),
                Err(error) if error.is_unsupported() => return self.pick(listed, names),
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }

    /// The offsets of many partitions, in the order asked.
    pub fn offsets(
        &self,
        partitions: &[(String, i32)],
    ) -> Result<Vec<PartitionOffsets>, KafkaError> {
        use sys::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED as COMMITTED,
            RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED as UNCOMMITTED,
        };
        const EARLIEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
        const LATEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        // The stable offset first and the start last: whatever moves in between, start <= stable <= high holds unless
        // retention overtakes, and then the start is the newer truth.
        let stable = match self.list_offsets(partitions, LATEST, COMMITTED) {
            Err(error) if error.is_unsupported() => return self.offsets_one_by_one(partitions),
            stable => stable?,
        };
        let high = self.list_offsets(partitions, LATEST, UNCOMMITTED)?;
        let start = self.list_offsets(partitions, EARLIEST, UNCOMMITTED)?;
        Ok(start
            .into_iter()
            .zip(high)
            .zip(stable)
            .map(
                |((log_start_offset, high_watermark), last_stable_offset)| PartitionOffsets {
                    log_start_offset,
                    high_watermark,
                    last_stable_offset,
                },
            )
            .collect())
    }

    /// The whole configuration of topics, defaults included.
    pub fn topic_configs(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, ConfigEntry>>, KafkaError> {
        const AT_ONCE: usize = 500;
        let mut configs = BTreeMap::new();
        for some in names.chunks(AT_ONCE) {
            let told = self.topic_configs_at_once(some);
            configs.extend(told.map_err(|error| error.needing("DESCRIBE_CONFIGS on TOPIC"))?);
        }
        Ok(configs)
    }

    /// Creates a topic. A replication factor of `None` is the cluster's default.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: Option<i32>,
        config: &BTreeMap<String, String>,
    ) -> Result<(), KafkaError> {
        let new = NewTopic::new(name, partitions, replication_factor, config);
        self.create(name, new, false)
    }

    /// Asks whether the topic could be created, and creates none.
    pub fn try_create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: Option<i32>,
        config: &BTreeMap<String, String>,
    ) -> Result<(), KafkaError> {
        let new = NewTopic::new(name, partitions, replication_factor, config);
        self.create(name, new, true)
    }

    fn create(
        &self,
        name: &str,
        new: Result<NewTopic, String>,
        validate_only: bool,
    ) -> Result<(), KafkaError> {
        let doing = format!("create topic {name}");
        let new = new.map_err(|cause| invalid(&doing, cause))?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_CREATETOPICS,
                target: Target::Controller,
            },
            |client, options, queue| {
                let mut topics = [new.0.as_ptr()];
                let mut reason = Reason::new();
                // SAFETY: all handles are live; the options are not shared with another request, and the option exists for this
                // operation. The array is read during the call.
                unsafe {
                    sys::rd_kafka_AdminOptions_set_validate_only(
                        options.cast_mut(),
                        validate_only.into(),
                        reason.as_mut_ptr(),
                        Reason::SIZE,
                    );
                    sys::rd_kafka_CreateTopics(client, topics.as_mut_ptr(), 1, options, queue)
                };
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_CreateTopics_result(event);
                    let topics = sys::rd_kafka_CreateTopics_result_topics(result, &mut count);
                    for &topic in items(topics, count) {
                        Refusal::check(
                            Code(sys::rd_kafka_topic_result_error(topic) as i32),
                            name,
                            sys::rd_kafka_topic_result_error_string(topic),
                        )?;
                    }
                }
                Ok(())
            },
        )
    }

    /// Changes entries of a topic's configuration and leaves the others as they are. `None` takes the topic's own
    /// value away, so that the cluster's holds again.
    pub fn alter_topic_config(
        &self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), KafkaError> {
        let doing = format!("change the configuration of topic {name}");
        let mut resource = Config::of_topic(name).map_err(|cause| invalid(&doing, cause))?;
        for (key, value) in changes {
            resource
                .change(key, value.as_deref())
                .map_err(|cause| invalid(&doing, cause))?;
        }
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS,
                target: Target::Controller,
            },
            |client, options, queue| {
                let mut resources = [resource.0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_IncrementalAlterConfigs(
                        client,
                        resources.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event);
                    let resources =
                        sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
                    items(resources, count)
                        .iter()
                        .try_for_each(|&resource| checked(resource))
                }
            },
        )
    }

    /// Deletes the records of partitions in front of an offset each, which must not be behind the high watermark. What is
    /// deleted already stays deleted.
    pub fn delete_records(&self, before: &[(String, i32, i64)]) -> Result<(), KafkaError> {
        if before.is_empty() {
            return Ok(());
        }
        let doing = "delete the records of partitions".to_owned();
        let records = DeleteRecords::new(before).map_err(|cause| invalid(&doing, cause))?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_DELETERECORDS,
                target: Target::Controller,
            },
            |client, options, queue| {
                let mut records = [records.0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_DeleteRecords(client, records.as_mut_ptr(), 1, options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let result = sys::rd_kafka_event_DeleteRecords_result(event);
                    refused_partitions(sys::rd_kafka_DeleteRecords_result_offsets(result))
                }
            },
        )
    }

    /// All topics with what a metadata response tells, which is no topic id.
    fn list_topics(&self) -> Result<Vec<TopicDescription>, KafkaError> {
        self.metadata(|metadata| {
            // SAFETY: the arrays and names live as long as the metadata.
            unsafe { structs(metadata.topics, metadata.topic_cnt) }
                .iter()
                // SAFETY: as above.
                .map(|topic| unsafe { from_metadata(topic) })
                .collect()
        })
    }

    /// Asks for all metadata, and reads from it.
    fn metadata<T>(
        &self,
        read: impl FnOnce(&sys::rd_kafka_metadata) -> T,
    ) -> Result<T, KafkaError> {
        let metadata = self.repeatedly("list the topics", |left| self.ask_metadata(left))?;
        // SAFETY: the metadata is live.
        Ok(read(unsafe { metadata.0.as_ref() }))
    }

    /// Asks for all metadata, once. What the answer says of leaders is what librdkafka goes by from then on.
    fn ask_metadata(&self, wait: Duration) -> Result<Metadata, Refusal> {
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
        Refusal::check(Code(code as i32), "", ptr::null())?;
        NonNull::new(metadata.cast_mut())
            .map(Metadata)
            .ok_or_else(|| Refusal::of(Code::TIMED_OUT))
    }

    /// What the fallback of [`Admin::describe_topics`] makes of a metadata response.
    fn pick(
        &self,
        listed: Vec<TopicDescription>,
        names: Option<&[String]>,
    ) -> Result<Vec<TopicDescription>, KafkaError> {
        let Some(names) = names else {
            return Ok(listed);
        };
        let mut by_name: HashMap<String, TopicDescription> = self
            .list_topics()?
            .into_iter()
            .map(|topic| (topic.name.clone(), topic))
            .collect();
        names
            .iter()
            .map(|name| {
                by_name
                    .remove(name)
                    .ok_or_else(|| KafkaError::UnknownTopic {
                        topic: name.clone(),
                        doing: "describe it".to_owned(),
                    })
            })
            .collect()
    }

    fn describe_at_once(
        &self,
        names: &[String],
        all_must_exist: bool,
    ) -> Result<Vec<TopicDescription>, KafkaError> {
        let doing = "describe topics".to_owned();
        let collection = TopicCollection::new(names).map_err(|cause| invalid(&doing, cause))?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                target: Target::Controller,
            },
            |client, options, queue| {
                // SAFETY: all handles are live; the collection is copied.
                unsafe {
                    sys::rd_kafka_DescribeTopics(client, collection.0.as_ptr(), options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeTopics_result(event);
                    let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
                    let described = items(topics, count)
                        .iter()
                        .map(|&topic| from_description(topic));
                    let is_gone = |described: &Result<_, Refusal>| {
                        described
                            .as_ref()
                            .is_err_and(|refusal| refusal.code == Code::UNKNOWN_TOPIC)
                    };
                    described
                        .filter(|topic| all_must_exist || !is_gone(topic))
                        .collect()
                }
            },
        )
    }

    /// One offset per partition in one call, whatever the number of partitions and brokers.
    fn list_offsets(
        &self,
        partitions: &[(String, i32)],
        spec: i64,
        isolation: sys::rd_kafka_IsolationLevel_t,
    ) -> Result<Vec<i64>, KafkaError> {
        let doing = "list the offsets of partitions".to_owned();
        let list = PartitionList::new(partitions, spec).map_err(|cause| invalid(&doing, cause))?;
        let found: HashMap<(String, i32), i64> = self.request(
            &Request {
                doing: doing.clone(),
                op: Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
                target: Target::Leaders(isolation),
            },
            |client, options, queue| {
                // SAFETY: all handles are live; the list is copied.
                unsafe { sys::rd_kafka_ListOffsets(client, list.0.as_ptr(), options, queue) };
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_ListOffsets_result(event);
                    let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
                    items(infos, count)
                        .iter()
                        .map(|&info| from_offset(info))
                        .collect()
                }
            },
        )?;
        partitions
            .iter()
            .map(|partition| {
                found
                    .get(partition)
                    .copied()
                    .ok_or_else(|| KafkaError::Other {
                        doing: doing.clone(),
                        cause: format!("the answer lacks {}/{}", partition.0, partition.1),
                    })
            })
            .collect()
    }

    /// For clusters without the call above, which have no transactions worth a difference.
    fn offsets_one_by_one(
        &self,
        partitions: &[(String, i32)],
    ) -> Result<Vec<PartitionOffsets>, KafkaError> {
        partitions
            .iter()
            .map(|(topic, partition)| {
                let (log_start_offset, high_watermark) =
                    log_bounds(&self.client, topic, *partition, Client::PATIENCE)?;
                Ok(PartitionOffsets {
                    log_start_offset,
                    high_watermark,
                    last_stable_offset: high_watermark,
                })
            })
            .collect()
    }

    fn topic_configs_at_once(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, ConfigEntry>>, KafkaError> {
        let doing = "read the configuration of topics";
        let resources: Result<Vec<Config>, String> =
            names.iter().map(|name| Config::of_topic(name)).collect();
        let resources = resources.map_err(|cause| invalid(doing, cause))?;
        self.configs(doing, &resources)
    }

    /// The configurations of topics, or of one broker, which is asked then.
    fn configs(
        &self,
        doing: &str,
        resources: &[Config],
    ) -> Result<BTreeMap<String, BTreeMap<String, ConfigEntry>>, KafkaError> {
        self.request(
            &Request {
                doing: doing.to_owned(),
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
                target: Target::Controller,
            },
            |client, options, queue| {
                let mut resources: Vec<_> = resources
                    .iter()
                    .map(|resource| resource.0.as_ptr())
                    .collect();
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_DescribeConfigs(
                        client,
                        resources.as_mut_ptr(),
                        resources.len(),
                        options,
                        queue,
                    );
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeConfigs_result(event);
                    let resources =
                        sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
                    items(resources, count)
                        .iter()
                        .map(|&resource| from_config(resource))
                        .collect()
                }
            },
        )
    }
}

/// A question that cannot even be asked, such as about a name with a NUL in it.
fn invalid(doing: &str, cause: String) -> KafkaError {
    KafkaError::Other {
        doing: doing.to_owned(),
        cause,
    }
}
