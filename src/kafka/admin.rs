//! Asking a cluster what it holds, and creating and configuring topics.
//!
//! Every call has a deadline, is repeated while its failure is of the passing kind (leaders move, coordinators load), and
//! covers as many topics or partitions as it can at once: clusters have thousands.

#![expect(
    unsafe_code,
    reason = "half of these calls exist in librdkafka's C interface only"
)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::batch::Queue;
use super::client::{Client, Failure, Reason, millis, owned_text};
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
    /// Whom to ask where the controller that the cluster names is none of its brokers, as in librdkafka's own
    /// in-process cluster. Without this librdkafka would wait for that broker to appear.
    stand_in: Option<i32>,
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
            stand_in: None,
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
            configs.extend(self.topic_configs_at_once(some)?);
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
        let doing = format!("create topic {name}");
        let new = NewTopic::new(name, partitions, replication_factor, config).map_err(|cause| {
            KafkaError::Other {
                doing: doing.clone(),
                cause,
            }
        })?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_CREATETOPICS,
                isolation: None,
            },
            |client, options, queue| {
                let mut topics = [new.0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
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
        let mut resource = TopicConfig::new(name).map_err(|cause| KafkaError::Other {
            doing: doing.clone(),
            cause,
        })?;
        for (key, value) in changes {
            resource
                .change(key, value.as_deref())
                .map_err(|cause| KafkaError::Other {
                    doing: doing.clone(),
                    cause,
                })?;
        }
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS,
                isolation: None,
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
        let mut metadata = ptr::null();
        self.repeatedly("list the topics", |left| {
            // SAFETY: the client is live and the out parameter valid.
            let code = unsafe {
                sys::rd_kafka_metadata(
                    self.client.as_ptr(),
                    1,
                    ptr::null_mut(),
                    &mut metadata,
                    millis(left),
                )
            };
            Refusal::check(Code(code as i32), "", ptr::null())
        })?;
        // SAFETY: the call succeeded, so the metadata is there, and ours to destroy.
        unsafe {
            let result = read(&*metadata);
            sys::rd_kafka_metadata_destroy(metadata);
            Ok(result)
        }
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
        let collection = TopicCollection::new(names).map_err(|cause| KafkaError::Other {
            doing: doing.clone(),
            cause,
        })?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                isolation: None,
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
        let list = PartitionList::new(partitions, spec).map_err(|cause| KafkaError::Other {
            doing: doing.clone(),
            cause,
        })?;
        let found: HashMap<(String, i32), i64> = self.request(
            &Request {
                doing: doing.clone(),
                op: Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
                isolation: Some(isolation),
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
        let doing = "read the configuration of topics".to_owned();
        let resources: Vec<TopicConfig> = names
            .iter()
            .map(|name| TopicConfig::new(name))
            .collect::<Result<_, _>>()
            .map_err(|cause| KafkaError::Other {
                doing: doing.clone(),
                cause,
            })?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
                isolation: None,
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

    /// Sends a request of the admin interface and reads its answer.
    fn request<T>(
        &self,
        request: &Request,
        submit: impl Fn(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
        read: impl Fn(*mut sys::rd_kafka_event_t) -> Result<T, Refusal>,
    ) -> Result<T, KafkaError> {
        self.repeatedly(&request.doing, |left| {
            let options = self.options(request, left.min(Admin::ATTEMPT))?;
            let queue = Queue::new(&self.client);
            submit(self.client.as_ptr(), options.0.as_ptr(), queue.as_ptr());
            // librdkafka answers by the deadline in the options at the latest; the second is for its own way back.
            let wait = Admin::ATTEMPT + Duration::from_secs(1);
            // SAFETY: the queue is live.
            let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), millis(wait)) };
            let event = Event(NonNull::new(event).ok_or_else(|| Refusal::of(Code::TIMED_OUT))?);
            // SAFETY: the event is live.
            let (code, text) = unsafe {
                (
                    Code(sys::rd_kafka_event_error(event.0.as_ptr()) as i32),
                    sys::rd_kafka_event_error_string(event.0.as_ptr()),
                )
            };
            Refusal::check(code, "", text)?;
            read(event.0.as_ptr())
        })
    }

    fn options(&self, request: &Request, wait: Duration) -> Result<Options, Refusal> {
        let mut reason = Reason::new();
        // SAFETY: client and options are live; the constructor returns null for an unknown operation only.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.client.as_ptr(), request.op);
            let options =
                NonNull::new(options).ok_or_else(|| Refusal::of(Code::UNSUPPORTED_FEATURE))?;
            let (options, raw) = (Options(options), options.as_ptr());
            let size = Reason::SIZE;
            let code = sys::rd_kafka_AdminOptions_set_request_timeout(
                raw,
                millis(wait),
                reason.as_mut_ptr(),
                size,
            );
            Refusal::check(Code(code as i32), "", reason.as_mut_ptr())?;
            if let Some(isolation) = request.isolation {
                // Set for requests that go to the leaders of partitions.
                let error = sys::rd_kafka_AdminOptions_set_isolation_level(raw, isolation);
                if let Some(Failure { code, text }) = Failure::of(error) {
                    return Err(Refusal {
                        code,
                        topic: String::new(),
                        text,
                    });
                }
            } else if let Some(broker) = self.stand_in {
                let code =
                    sys::rd_kafka_AdminOptions_set_broker(raw, broker, reason.as_mut_ptr(), size);
                Refusal::check(Code(code as i32), "", reason.as_mut_ptr())?;
            }
            Ok(options)
        }
    }

    /// How long one attempt may take, of [`Admin::DEADLINE`] for all.
    const ATTEMPT: Duration = Duration::from_secs(10);
    const DEADLINE: Duration = Duration::from_secs(30);

    /// Repeats what fails for passing reasons, a little later each time, until the deadline.
    fn repeatedly<T>(
        &self,
        doing: &str,
        mut attempt: impl FnMut(Duration) -> Result<T, Refusal>,
    ) -> Result<T, KafkaError> {
        const FIRST_PAUSE: Duration = Duration::from_millis(50);
        const LONGEST_PAUSE: Duration = Duration::from_secs(1);
        const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = Admin::DEADLINE.saturating_sub(started.elapsed());
            let refusal = match attempt(left) {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            self.client.poll(Duration::ZERO);
            if !refusal.code.is_transient() {
                let topic = (!refusal.topic.is_empty()).then_some(refusal.topic.as_str());
                return Err(KafkaError::of(refusal.code, doing, topic, &refusal.text));
            }
            if started.elapsed() + pause + SHORTEST_ATTEMPT >= Admin::DEADLINE {
                return Err(KafkaError::Timeout {
                    doing: doing.to_owned(),
                    waited: started.elapsed(),
                    cause: refusal.code.explain(&refusal.text),
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What a request is about.
struct Request {
    doing: String,
    op: Op,
    isolation: Option<sys::rd_kafka_IsolationLevel_t>,
}

/// An answer that is none.
struct Refusal {
    code: Code,
    /// The topic it is about, or empty.
    topic: String,
    text: String,
}

impl Refusal {
    fn of(code: Code) -> Refusal {
        Refusal {
            code,
            topic: String::new(),
            text: String::new(),
        }
    }

    /// An error unless `code` is none. `text` is null or a live C string of librdkafka.
    fn check(code: Code, topic: &str, text: *const c_char) -> Result<(), Refusal> {
        if code == Code::NONE {
            return Ok(());
        }
        // SAFETY: all callers pass null, or a string out of an answer that they hold.
        let text = unsafe { owned_text(text) };
        Err(Refusal {
            code,
            topic: topic.to_owned(),
            text,
        })
    }
}

/// Makes an owner of a librdkafka object that one function frees.
macro_rules! owner {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $free:path) => {
        $(#[$doc])*
        struct $name(NonNull<$raw>);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the object is ours.
                unsafe { $free(self.0.as_ptr()) };
            }
        }
    };
}

owner!(
    /// An answer.
    Event, sys::rd_kafka_event_t, sys::rd_kafka_event_destroy
);
owner!(
    /// How a request is to be made.
    Options, sys::rd_kafka_AdminOptions_t, sys::rd_kafka_AdminOptions_destroy
);
owner!(
    /// A topic to be created.
    NewTopic, sys::rd_kafka_NewTopic_t, sys::rd_kafka_NewTopic_destroy
);
owner!(
    /// The names of topics.
    TopicCollection, sys::rd_kafka_TopicCollection_t, sys::rd_kafka_TopicCollection_destroy
);
owner!(
    /// A topic's configuration, as a question or as a change.
    TopicConfig, sys::rd_kafka_ConfigResource_t, sys::rd_kafka_ConfigResource_destroy
);
owner!(
    /// Partitions with an offset each.
    PartitionList,
    sys::rd_kafka_topic_partition_list_t,
    sys::rd_kafka_topic_partition_list_destroy
);

impl NewTopic {
    fn new(
        name: &str,
        partitions: i32,
        replication_factor: Option<i32>,
        config: &BTreeMap<String, String>,
    ) -> Result<NewTopic, String> {
        const CLUSTER_DEFAULT: c_int = -1;
        let name = c_string(name)?;
        let mut reason = Reason::new();
        // SAFETY: the name is a C string and the buffer's size is given.
        let topic = unsafe {
            sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                partitions,
                replication_factor.unwrap_or(CLUSTER_DEFAULT),
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        let topic = NewTopic(NonNull::new(topic).ok_or_else(|| reason.to_string())?);
        for (key, value) in config {
            let (key, value) = (c_string(key)?, c_string(value)?);
            // SAFETY: the topic is live; both strings are copied.
            let code = unsafe {
                sys::rd_kafka_NewTopic_set_config(topic.0.as_ptr(), key.as_ptr(), value.as_ptr())
            };
            match Code(code as i32) {
                Code::NONE => {}
                code => return Err(code.to_string()),
            }
        }
        Ok(topic)
    }
}

impl TopicCollection {
    fn new(names: &[String]) -> Result<TopicCollection, String> {
        let names: Vec<CString> = names
            .iter()
            .map(|name| c_string(name))
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the array has as many C strings as said; they are copied.
        let collection = unsafe {
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
        };
        NonNull::new(collection)
            .map(TopicCollection)
            .ok_or_else(|| "no topics".to_owned())
    }
}

impl TopicConfig {
    fn new(name: &str) -> Result<TopicConfig, String> {
        let name = c_string(name)?;
        // SAFETY: the name is a C string, which is copied.
        let resource = unsafe {
            sys::rd_kafka_ConfigResource_new(
                sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                name.as_ptr(),
            )
        };
        NonNull::new(resource)
            .map(TopicConfig)
            .ok_or_else(|| "the topic has no name".to_owned())
    }

    fn change(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        use sys::rd_kafka_AlterConfigOpType_t::{
            RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE as DELETE,
            RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET as SET,
        };
        let key = c_string(key)?;
        let value = value.map(c_string).transpose()?;
        // SAFETY: the resource is live; both strings are copied; a deletion has no value.
        let failure = unsafe {
            Failure::of(sys::rd_kafka_ConfigResource_add_incremental_config(
                self.0.as_ptr(),
                key.as_ptr(),
                if value.is_some() { SET } else { DELETE },
                value.as_ref().map_or(ptr::null(), |value| value.as_ptr()),
            ))
        };
        failure.map_or(Ok(()), |failure| Err(failure.text))
    }
}

impl PartitionList {
    fn new(partitions: &[(String, i32)], offset: i64) -> Result<PartitionList, String> {
        let size = c_int::try_from(partitions.len()).map_err(|error| error.to_string())?;
        // SAFETY: a plain constructor.
        let list = unsafe { sys::rd_kafka_topic_partition_list_new(size) };
        let list = PartitionList(NonNull::new(list).expect("the constructor never returns null"));
        for (topic, partition) in partitions {
            let topic = c_string(topic)?;
            // SAFETY: the list is live, the name is copied, and the element returned is in the list.
            unsafe {
                let element = sys::rd_kafka_topic_partition_list_add(
                    list.0.as_ptr(),
                    topic.as_ptr(),
                    *partition,
                );
                (*element).offset = offset;
            }
        }
        Ok(list)
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} contains a NUL character"))
}

/// # Safety
/// `array` has `count` pointers to live objects, or `count` is 0.
unsafe fn items<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    // SAFETY: by contract.
    if count == 0 {
        &[]
    } else {
        unsafe { slice::from_raw_parts(array, count) }
    }
}

/// # Safety
/// `array` has `count` live values, or `count` is 0.
unsafe fn structs<'a, T>(array: *const T, count: c_int) -> &'a [T] {
    match usize::try_from(count) {
        // SAFETY: by contract.
        Ok(count @ 1..) => unsafe { slice::from_raw_parts(array, count) },
        _ => &[],
    }
}

/// # Safety
/// `topic` is part of live metadata.
unsafe fn from_metadata(topic: &sys::rd_kafka_metadata_topic) -> TopicDescription {
    // SAFETY: by contract.
    let (name, partitions) = unsafe {
        (
            owned_text(topic.topic),
            structs(topic.partitions, topic.partition_cnt),
        )
    };
    let partitions = partitions
        .iter()
        .map(|partition| PartitionDescription {
            id: partition.id,
            leader: partition.leader,
            // SAFETY: by contract.
            replicas: unsafe { structs(partition.replicas, partition.replica_cnt) }.to_vec(),
        })
        .collect();
    // Metadata through this call does not say which topics are internal; these are the names Kafka has for them.
    let internal = [
        "__consumer_offsets",
        "__transaction_state",
        "__share_group_state",
    ]
    .contains(&name.as_str());
    TopicDescription::new(name, [0; 16], internal, partitions)
}

impl TopicDescription {
    fn new(
        name: String,
        topic_id: [u8; 16],
        internal: bool,
        mut partitions: Vec<PartitionDescription>,
    ) -> TopicDescription {
        partitions.sort_by_key(|partition| partition.id);
        let replication_factor = partitions
            .first()
            .map_or(0, |partition| partition.replicas.len());
        TopicDescription {
            name,
            topic_id,
            internal,
            partitions,
            replication_factor,
        }
    }
}

/// # Safety
/// `topic` is part of a live answer.
unsafe fn from_description(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> Result<TopicDescription, Refusal> {
    // SAFETY: by contract, for all that is reached from the topic.
    unsafe {
        let name = owned_text(sys::rd_kafka_TopicDescription_name(topic));
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            let code = Code(sys::rd_kafka_error_code(error) as i32);
            Refusal::check(code, &name, sys::rd_kafka_error_string(error))?;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let topic_id = if id.is_null() {
            [0; 16]
        } else {
            let high = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let low = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
        };
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = items(partitions, count)
            .iter()
            .map(|&partition| from_partition(partition))
            .collect();
        let internal = sys::rd_kafka_TopicDescription_is_internal(topic) != 0;
        Ok(TopicDescription::new(name, topic_id, internal, partitions))
    }
}

/// # Safety
/// `partition` is part of a live answer.
unsafe fn from_partition(
    partition: *const sys::rd_kafka_TopicPartitionInfo_t,
) -> PartitionDescription {
    let node_id = |node: *const sys::rd_kafka_Node_t| {
        // SAFETY: null, or part of the same answer.
        if node.is_null() {
            -1
        } else {
            unsafe { sys::rd_kafka_Node_id(node) }
        }
    };
    // SAFETY: by contract.
    unsafe {
        let mut count = 0;
        let replicas = sys::rd_kafka_TopicPartitionInfo_replicas(partition, &mut count);
        PartitionDescription {
            id: sys::rd_kafka_TopicPartitionInfo_partition(partition),
            leader: node_id(sys::rd_kafka_TopicPartitionInfo_leader(partition)),
            replicas: items(replicas, count)
                .iter()
                .map(|&node| node_id(node))
                .collect(),
        }
    }
}

/// # Safety
/// `info` is part of a live answer.
unsafe fn from_offset(
    info: *const sys::rd_kafka_ListOffsetsResultInfo_t,
) -> Result<((String, i32), i64), Refusal> {
    // SAFETY: by contract; the code is read as a number.
    unsafe {
        let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        let topic = owned_text((&raw const (*partition).topic).read());
        let number = (&raw const (*partition).partition).read();
        let code = Code((&raw const (*partition).err).cast::<i32>().read());
        Refusal::check(code, &topic, ptr::null())?;
        Ok(((topic, number), (&raw const (*partition).offset).read()))
    }
}

/// # Safety
/// `resource` is part of a live answer.
unsafe fn checked(resource: *const sys::rd_kafka_ConfigResource_t) -> Result<(), Refusal> {
    // SAFETY: by contract.
    unsafe {
        Refusal::check(
            Code(sys::rd_kafka_ConfigResource_error(resource) as i32),
            &owned_text(sys::rd_kafka_ConfigResource_name(resource)),
            sys::rd_kafka_ConfigResource_error_string(resource),
        )
    }
}

/// # Safety
/// `resource` is part of a live answer.
unsafe fn from_config(
    resource: *const sys::rd_kafka_ConfigResource_t,
) -> Result<(String, BTreeMap<String, ConfigEntry>), Refusal> {
    // SAFETY: by contract, for all that is reached from the resource.
    unsafe {
        checked(resource)?;
        let mut count = 0;
        let entries = sys::rd_kafka_ConfigResource_configs(resource, &mut count);
        let entries = items(entries, count).iter().map(|&entry| {
            let value = sys::rd_kafka_ConfigEntry_value(entry);
            let config = ConfigEntry {
                value: (!value.is_null()).then(|| owned_text(value)),
                is_default: sys::rd_kafka_ConfigEntry_is_default(entry) == 1,
                source: ConfigSource::from(sys::rd_kafka_ConfigEntry_source(entry)),
                sensitive: sys::rd_kafka_ConfigEntry_is_sensitive(entry) == 1,
            };
            (owned_text(sys::rd_kafka_ConfigEntry_name(entry)), config)
        });
        Ok((
            owned_text(sys::rd_kafka_ConfigResource_name(resource)),
            entries.collect(),
        ))
    }
}

impl From<sys::rd_kafka_ConfigSource_t> for ConfigSource {
    fn from(source: sys::rd_kafka_ConfigSource_t) -> ConfigSource {
        use sys::rd_kafka_ConfigSource_t as Source;
        match source {
            Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG => ConfigSource::Topic,
            Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG
            | Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG
            | Source::RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG => ConfigSource::Broker,
            Source::RD_KAFKA_CONFIG_SOURCE_DEFAULT_CONFIG => ConfigSource::Default,
            _ => ConfigSource::Unknown,
        }
    }
}
