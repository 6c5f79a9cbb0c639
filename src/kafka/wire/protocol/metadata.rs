//! Metadata: brokers, topics, and who leads which partition.

use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output, TopicId};

/// Asks about topics, and always about all brokers.
#[derive(Clone, Copy, Debug)]
pub struct MetadataRequest<'a> {
    /// The topics; `None` for all.
    pub topics: Option<&'a [&'a str]>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataBroker<'a> {
    /// Its number.
    pub id: i32,
    /// The host that it advertises on the listener that was asked.
    pub host: &'a str,
    /// The port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<&'a str>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataTopic<'a> {
    /// Whether it exists, and may be described.
    pub error: ErrorCode,
    /// Its name.
    pub name: &'a str,
    /// Its id; all zeros where the broker has none.
    pub id: TopicId,
    /// Whether it is one of Kafka's own.
    pub is_internal: bool,
    /// Its partitions, in any order.
    pub partitions: Vec<MetadataPartition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPartition {
    /// Whether it has a leader.
    pub error: ErrorCode,
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; -1 for none.
    pub leader: i32,
    /// The leader epoch; -1 where the broker does not say.
    pub leader_epoch: i32,
}

/// What a broker knows of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponse<'a> {
    /// The brokers that are alive.
    pub brokers: Vec<MetadataBroker<'a>>,
    /// The id of the cluster.
    pub cluster_id: Option<&'a str>,
    /// The broker that is, or passes requests to, the controller; -1 for none.
    pub controller: i32,
    /// The topics that were asked about.
    pub topics: Vec<MetadataTopic<'a>>,
    throttle_ms: i32,
}

impl Request for MetadataRequest<'_> {
    const API: Api = Api::Metadata;
    type Response<'a> = MetadataResponse<'a>;

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        match self.topics {
            None => output.null_array(),
            Some(topics) => output.array(topics.iter(), |output, name| {
                if version >= 10 {
                    output.uuid(TopicId::default());
                }
                output.string(name);
                output.tags();
            }),
        }
        if version >= 4 {
            // Describing a topic must not create it.
            output.boolean(false);
        }
        if (8..=10).contains(&version) {
            output.boolean(false);
        }
        if version >= 8 {
            output.boolean(false);
        }
        output.tags();
    }

    fn decode<'a>(version: i16, input: &mut Input<'a>) -> Result<MetadataResponse<'a>, Malformed> {
        let throttle_ms = if version >= 3 { input.int32()? } else { 0 };
        let brokers = input.array(11, |input| {
            let broker = MetadataBroker {
                id: input.int32()?,
                host: input.string()?,
                port: input.int32()?,
                rack: input.nullable_string()?,
            };
            input.tags()?;
            Ok(broker)
        })?;
        let cluster_id = match version {
            2.. => input.nullable_string()?,
            _ => None,
        };
        let controller = input.int32()?;
        let topics = input.array(8, |input| topic(version, input))?;
        if (8..=10).contains(&version) {
            let _authorized_operations = input.int32()?;
        }
        input.tags()?;
        Ok(MetadataResponse {
            brokers,
            cluster_id,
            controller,
            topics,
            throttle_ms,
        })
    }
}

fn topic<'a>(version: i16, input: &mut Input<'a>) -> Result<MetadataTopic<'a>, Malformed> {
    let error = ErrorCode(input.int16()?);
    // Null is for requests by id, which are not made here.
    let name = match version {
        12.. => input.nullable_string()?.unwrap_or_default(),
        _ => input.string()?,
    };
    let id = match version {
        10.. => input.uuid()?,
        _ => TopicId::default(),
    };
    let is_internal = input.boolean()?;
    let partitions = input.array(12, |input| partition(version, input))?;
    if version >= 8 {
        let _authorized_operations = input.int32()?;
    }
    input.tags()?;
    Ok(MetadataTopic {
        error,
        name,
        id,
        is_internal,
        partitions,
    })
}

fn partition(version: i16, input: &mut Input<'_>) -> Result<MetadataPartition, Malformed> {
    let partition = MetadataPartition {
        error: ErrorCode(input.int16()?),
        partition: input.int32()?,
        leader: input.int32()?,
        leader_epoch: if version >= 7 { input.int32()? } else { -1 },
    };
    let _replicas = input.array(4, Input::int32)?;
    let _in_sync = input.array(4, Input::int32)?;
    if version >= 5 {
        let _offline = input.array(4, Input::int32)?;
    }
    input.tags()?;
    Ok(partition)
}

impl Response for MetadataResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}
