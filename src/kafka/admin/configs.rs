//! Configurations of topics and brokers: reading and changing them.

#![expect(
    unsafe_code,
    reason = "these calls exist in librdkafka's C interface only"
)]

use std::collections::{BTreeMap, BTreeSet};

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::items;
use super::owned::Config;
use super::request::{BrokerError, Request, Responder, permanent, set_validate_only};
use super::{Admin, invalid};
use crate::kafka::client::owned_text;
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::permission::{AclOperation, Permission};

/// One entry of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The value; null for a sensitive entry.
    pub value: Option<String>,
    /// Whether the value is Kafka's built-in default.
    pub is_default: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether brokers hide the value.
    pub sensitive: bool,
}

/// Where a configuration value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on one broker or on all of them, in server.properties or dynamically.
    Broker,
    /// Built in.
    Default,
    /// Not reported by the broker.
    Unknown,
}

/// The configuration of a topic, or of a broker, by name.
pub type Configuration = BTreeMap<String, ConfigEntry>;

impl Admin {
    /// Returns the complete configuration of each topic, defaults included, by topic. Fails if one is not reported.
    pub fn topic_configs(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Configuration>, KafkaError> {
        let each = self.topic_configs_each(names)?.into_iter();
        each.map(|(name, config)| Ok((name, config?))).collect()
    }

    /// Returns the complete configuration of each topic, defaults included, by topic, or why the cluster does not report it.
    pub fn topic_configs_each(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Result<Configuration, KafkaError>>, KafkaError> {
        const AT_ONCE: usize = 500;
        const DOING: &str = "read the configuration of topics";
        let mut configs = BTreeMap::new();
        for chunk in names.chunks(AT_ONCE) {
            let resources = of_topics(chunk).map_err(|cause| invalid(DOING, cause))?;
            let reported = self.describe(DOING, &resources, |found| {
                // SAFETY: `describe` passes resources of a live answer.
                permanent(found.iter().map(|&one| unsafe { from_config(one) }))
            })?;
            configs.extend(reported.into_iter().map(|reported| match reported {
                Ok((name, config)) => (name, Ok(config)),
                Err(error) => {
                    let name = error.topic.clone();
                    let needed = Permission::topic(AclOperation::DescribeConfigs, &name);
                    (name, Err(error.into_kafka_error(DOING).needing(needed)))
                }
            }));
        }
        Ok(configs)
    }

    /// Changes entries of a topic's configuration and keeps the others. `None` removes the topic's own value, so that the
    /// cluster's applies again.
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
        self.alter(doing, &[resource], false, |resources| {
            resources
                .iter()
                // SAFETY: `alter` passes resources of a live answer.
                .try_for_each(|&resource| unsafe { checked(resource) })
        })
    }

    /// Fails where brokers do not know the request that changes the configuration of a topic, which need not exist. Nothing is changed.
    ///
    /// # Errors
    ///
    /// [`KafkaError::Unsupported`], or that no broker answers.
    pub fn check_config_changes(&self, topic: &str) -> Result<(), KafkaError> {
        let tried = self.topics_with_fixed_config(&[topic.to_owned()]);
        match tried {
            Err(error) if error.is_unsupported() => Err(KafkaError::Unsupported {
                doing: "change the configuration of topics".to_owned(),
                cause: "its brokers do not know the request IncrementalAlterConfigs".to_owned(),
            }),
            // What is not permitted, or not possible, has its own place.
            Ok(_) | Err(KafkaError::Other { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the topics whose configuration this principal may not read. They need not exist: brokers check permissions first.
    pub(super) fn topics_with_hidden_config(
        &self,
        names: &[String],
    ) -> Result<BTreeSet<String>, KafkaError> {
        const DOING: &str = "read the permissions on the configuration of topics";
        let resources = of_topics(names).map_err(|cause| invalid(DOING, cause))?;
        // SAFETY: `describe` passes resources of a live answer.
        self.describe(DOING, &resources, |found| unsafe { denied(found) })
    }

    /// Returns the topics whose configuration this principal may not change. They need not exist, and nothing is changed.
    pub(super) fn topics_with_fixed_config(
        &self,
        names: &[String],
    ) -> Result<BTreeSet<String>, KafkaError> {
        const DOING: &str = "read the permissions on the configuration of topics";
        let mut resources = of_topics(names).map_err(|cause| invalid(DOING, cause))?;
        for resource in &mut resources {
            let changed = resource.change("retention.ms", Some("-1"));
            changed.map_err(|cause| invalid(DOING, cause))?;
        }
        self.alter(DOING.to_owned(), &resources, true, |found| {
            // SAFETY: `alter` passes resources of a live answer.
            unsafe { denied(found) }
        })
    }

    fn alter<T>(
        &self,
        doing: String,
        resources: &[Config],
        validate_only: bool,
        read: impl Fn(&[*const sys::rd_kafka_ConfigResource_t]) -> Result<T, BrokerError>,
    ) -> Result<T, KafkaError> {
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS,
                responder: Responder::Controller,
            },
            |client, options, queue| {
                let mut resources: Vec<_> = resources
                    .iter()
                    .map(|resource| resource.0.as_ptr())
                    .collect();
                // SAFETY: all handles are live; the options are not shared with another request, and this operation has the
                // option. The array is read during the call.
                unsafe {
                    set_validate_only(options, validate_only);
                    sys::rd_kafka_IncrementalAlterConfigs(
                        client,
                        resources.as_mut_ptr(),
                        resources.len(),
                        options,
                        queue,
                    );
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                let resources = unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event);
                    let resources =
                        sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
                    items(resources, count)
                };
                read(resources)
            },
        )
    }

    /// Reads the configurations of topics, or of one broker, to which the request is then sent.
    pub(super) fn configs(
        &self,
        doing: &str,
        resources: &[Config],
    ) -> Result<BTreeMap<String, Configuration>, KafkaError> {
        self.describe(doing, resources, |found| {
            found
                .iter()
                // SAFETY: `describe` passes resources of a live answer.
                .map(|&resource| unsafe { from_config(resource) })
                .collect()
        })
    }

    fn describe<T>(
        &self,
        doing: &str,
        resources: &[Config],
        read: impl Fn(&[*const sys::rd_kafka_ConfigResource_t]) -> Result<T, BrokerError>,
    ) -> Result<T, KafkaError> {
        self.request(
            &Request {
                doing: doing.to_owned(),
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
                responder: Responder::Controller,
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
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                let resources = unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeConfigs_result(event);
                    let resources =
                        sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
                    items(resources, count)
                };
                read(resources)
            },
        )
    }
}

fn of_topics(names: &[String]) -> Result<Vec<Config>, String> {
    names.iter().map(|name| Config::of_topic(name)).collect()
}

/// Returns the names of the resources whose answer is that a permission is missing. Those of topics that do not exist are not.
///
/// # Safety
/// `resources` are part of a live answer.
unsafe fn denied(
    resources: &[*const sys::rd_kafka_ConfigResource_t],
) -> Result<BTreeSet<String>, BrokerError> {
    let mut denied = BTreeSet::new();
    for &resource in resources {
        // SAFETY: by contract.
        match unsafe { checked(resource) } {
            Err(error) if error.code == Code::TOPIC_DENIED => drop(denied.insert(error.topic)),
            Err(error) if error.code != Code::UNKNOWN_TOPIC => return Err(error),
            _ => {}
        }
    }
    Ok(denied)
}

/// Returns the error of a resource, if it has one.
///
/// # Safety
/// `resource` is part of a live answer.
unsafe fn checked(resource: *const sys::rd_kafka_ConfigResource_t) -> Result<(), BrokerError> {
    // SAFETY: by contract.
    unsafe {
        BrokerError::check(
            Code(sys::rd_kafka_ConfigResource_error(resource) as i32),
            &owned_text(sys::rd_kafka_ConfigResource_name(resource)),
            sys::rd_kafka_ConfigResource_error_string(resource),
        )
    }
}

/// Reads the configuration of one resource, by its name.
///
/// # Safety
/// `resource` is part of a live answer.
unsafe fn from_config(
    resource: *const sys::rd_kafka_ConfigResource_t,
) -> Result<(String, Configuration), BrokerError> {
    // SAFETY: by contract, for everything reached from the resource.
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
