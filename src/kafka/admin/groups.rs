//! Consumer groups: which there are, what they have committed, and changing that.
//!
//! Every broker lists the groups that it coordinates. librdkafka 2.12.1 keeps those of the protocol type `consumer`, which both the
//! classic consumers and those of KIP-848 have, and those of none, which only ever committed. It drops all others: of these, groups of the
//! Streams protocol (KIP-1071) have committed offsets, and share groups have offsets of another kind. States that it has
//! no name for, such as KIP-848's `Assigning`, are told as none.

#![expect(
    unsafe_code,
    reason = "these calls exist in librdkafka's C interface only"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use kbk_format::repo::CommittedOffset;
use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::items;
use super::coordinators::GroupCall;
use super::owned::{DeleteGroup, DeleteOffsets, ListOffsets, StoreOffsets, c_string};
use super::request::{Refusal, Request, Target};
use super::rights::DESCRIBE_CLUSTER;
use super::{Admin, invalid};
use crate::kafka::client::owned_text;
use crate::kafka::error::{Code, KafkaError};

/// A group, as the broker that coordinates it lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// `Classic` or `Consumer`, where the broker tells.
    pub r#type: Option<String>,
    /// Such as `Stable` or `Empty`, where the broker tells one that librdkafka knows.
    pub state: Option<String>,
}

/// A group, as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// As in [`GroupListing`].
    pub state: Option<String>,
    /// Consumers that are in it.
    pub members: usize,
}

/// What a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffsets {
    /// Its id.
    pub group: String,
    /// Ordered by name.
    pub topics: Vec<CommittedTopic>,
}

/// The part of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// Its name.
    pub topic: String,
    /// Ordered by partition.
    pub partitions: Vec<CommittedOffset>,
}

/// What one request commits or deletes becomes one batch of records of `__consumer_offsets`, whose `max.message.bytes` bounds it: 1 MB,
/// unless somebody made it less. This is far below.
const REQUEST_BYTES: usize = 256 << 10;
/// What such a record takes besides its names and metadata, generously.
const COMMIT_OVERHEAD_BYTES: usize = 100;

impl GroupOffsets {
    /// The same in pieces of which each fits a request.
    fn pieces(&self) -> Vec<GroupOffsets> {
        let mut pieces: Vec<GroupOffsets> = Vec::new();
        let mut room = 0;
        for CommittedTopic { topic, partitions } in &self.topics {
            for (index, committed) in partitions.iter().enumerate() {
                let names = self.group.len() + topic.len();
                let bytes = names + committed.metadata.len() + COMMIT_OVERHEAD_BYTES;
                if bytes > room || pieces.is_empty() {
                    pieces.push(GroupOffsets {
                        group: self.group.clone(),
                        topics: Vec::new(),
                    });
                    room = REQUEST_BYTES;
                }
                room = room.saturating_sub(bytes);
                let topics = &mut pieces.last_mut().expect("pushed").topics;
                if index == 0 || topics.is_empty() {
                    topics.push(CommittedTopic {
                        topic: topic.clone(),
                        partitions: Vec::new(),
                    });
                }
                let of_topic = topics.last_mut().expect("pushed");
                of_topic.partitions.push(committed.clone());
            }
        }
        pieces
    }
}

impl Admin {
    /// All groups that have or had consumers, or committed offsets; ordered by id. An error where one broker does not tell.
    ///
    /// Who may not describe the cluster is told only of the groups that it may describe, and not that there are others: see
    /// [`Admin::cluster_rights`].
    pub fn list_groups(&self) -> Result<Vec<GroupListing>, KafkaError> {
        let request = Request {
            doing: "list the consumer groups of every broker".to_owned(),
            op: Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS,
            target: Target::ByRequest,
        };
        let listed = self.request(
            &request,
            |client, options, queue| {
                // SAFETY: all handles are live.
                unsafe { sys::rd_kafka_ListConsumerGroups(client, options, queue) };
            },
            // SAFETY: the event is of this kind.
            |event| unsafe { from_listing(event) },
        );
        let mut groups = listed.map_err(|error| error.needing(DESCRIBE_CLUSTER))?;
        // While a group changes its coordinator, two brokers may list it.
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        groups.dedup_by(|later, first| later.group == first.group);
        Ok(groups)
    }

    /// The committed offsets of groups, in the order asked; `None` for a group that does not exist. One that has committed nothing
    /// and one that has just been deleted look alike, with no topics.
    ///
    /// Offsets of topics that this principal may not describe are left out by the brokers, who do not say so.
    pub fn committed_offsets(
        &self,
        groups: &[&str],
    ) -> Result<Vec<Option<Vec<CommittedTopic>>>, KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            doing: "read the committed offsets of",
            on_group: "DESCRIBE",
            on_topic: "DESCRIBE",
        };
        let questions = each(groups, call.doing, |group| ListOffsets::all(group))?;
        self.ask_coordinators(
            &call,
            groups,
            &|index, client, options, queue| {
                let mut question = [questions[index].0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_ListConsumerGroupOffsets(
                        client,
                        question.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            // SAFETY: the event is of this kind, and what it holds lives as long as it.
            &|event| unsafe {
                let mut count = 0;
                let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
                let groups =
                    sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
                let mut topics = BTreeMap::new();
                for &group in items(groups, count) {
                    add_committed(group, &mut topics)?;
                }
                Ok(in_order(topics))
            },
        )
    }

    /// States and members of groups, in the order asked; `None` for a group that does not exist.
    pub fn describe_groups(
        &self,
        groups: &[&str],
    ) -> Result<Vec<Option<GroupDescription>>, KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            doing: "ask for the state of",
            on_group: "DESCRIBE",
            on_topic: "DESCRIBE",
        };
        let names = each(groups, call.doing, |group| c_string(group))?;
        self.ask_coordinators(
            &call,
            groups,
            &|index, client, options, queue| {
                let mut name = [names[index].as_ptr()];
                // SAFETY: all handles are live; the name is copied.
                unsafe {
                    sys::rd_kafka_DescribeConsumerGroups(
                        client,
                        name.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            // SAFETY: the event is of this kind, and what it holds lives as long as it.
            &|event| unsafe {
                let mut count = 0;
                let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
                let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
                match items(groups, count) {
                    [group] => from_group(*group),
                    _ => Err(Refusal::of(Code::GROUP_NOT_FOUND)),
                }
            },
        )
    }

    /// Commits offsets in the place of groups, which must be without members; one that does not exist is made. Offsets that are not named
    /// stay as they are. No leader epoch is committed: those of another cluster mean nothing here. What one group commits may take
    /// several requests.
    pub fn commit_offsets(&self, groups: &[GroupOffsets]) -> Result<(), KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
            doing: "commit the offsets of",
            on_group: "READ",
            on_topic: "READ",
        };
        let groups: Vec<GroupOffsets> = groups.iter().flat_map(GroupOffsets::pieces).collect();
        let names: Vec<&str> = groups.iter().map(|group| group.group.as_str()).collect();
        let changes = each(&groups, call.doing, StoreOffsets::new)?;
        self.ask_coordinators(
            &call,
            &names,
            &|index, client, options, queue| {
                let mut change = [changes[index].0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_AlterConsumerGroupOffsets(
                        client,
                        change.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            // SAFETY: the event is of this kind, and what it holds lives as long as it.
            &|event| unsafe {
                let mut count = 0;
                let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
                let groups =
                    sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &mut count);
                items(groups, count)
                    .iter()
                    .try_for_each(|&group| all_done(group))
            },
        )?;
        Ok(())
    }

    /// Takes the committed offsets of some partitions away from a group that does not read their topics now.
    pub fn delete_offsets(
        &self,
        group: &str,
        partitions: &[(String, i32)],
    ) -> Result<(), KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS,
            doing: "delete committed offsets of",
            on_group: "DELETE",
            on_topic: "READ",
        };
        const LONGEST_TOPIC: usize = 249;
        let at_once = REQUEST_BYTES / (group.len() + LONGEST_TOPIC + COMMIT_OVERHEAD_BYTES);
        let pieces: Vec<_> = partitions.chunks(at_once.max(1)).collect();
        let changes = each(&pieces, call.doing, |piece| {
            DeleteOffsets::new(group, piece)
        })?;
        self.ask_coordinators(
            &call,
            &vec![group; pieces.len()],
            &|index, client, options, queue| {
                let mut change = [changes[index].0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_DeleteConsumerGroupOffsets(
                        client,
                        change.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            // SAFETY: the event is of this kind, and what it holds lives as long as it.
            &|event| unsafe {
                let mut count = 0;
                let result = sys::rd_kafka_event_DeleteConsumerGroupOffsets_result(event);
                let groups =
                    sys::rd_kafka_DeleteConsumerGroupOffsets_result_groups(result, &mut count);
                items(groups, count)
                    .iter()
                    .try_for_each(|&group| all_done(group))
            },
        )?;
        Ok(())
    }

    /// Deletes groups, which must be without members, with all that they have committed. One that does not exist is deleted already.
    pub fn delete_groups(&self, groups: &[&str]) -> Result<(), KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_DELETEGROUPS,
            doing: "delete",
            on_group: "DELETE",
            on_topic: "READ",
        };
        let changes = each(groups, call.doing, |group| DeleteGroup::new(group))?;
        self.ask_coordinators(
            &call,
            groups,
            &|index, client, options, queue| {
                let mut change = [changes[index].0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_DeleteGroups(client, change.as_mut_ptr(), 1, options, queue);
                }
            },
            // SAFETY: the event is of this kind, and what it holds lives as long as it.
            &|event| unsafe {
                let mut count = 0;
                let result = sys::rd_kafka_event_DeleteGroups_result(event);
                let groups = sys::rd_kafka_DeleteGroups_result_groups(result, &mut count);
                items(groups, count)
                    .iter()
                    .try_for_each(|&group| checked(group))
            },
        )?;
        Ok(())
    }
}

/// Makes the request of each group.
fn each<G, T>(
    groups: &[G],
    doing: &str,
    make: impl Fn(&G) -> Result<T, String>,
) -> Result<Vec<T>, KafkaError> {
    let made: Result<Vec<T>, String> = groups.iter().map(make).collect();
    made.map_err(|cause| invalid(&format!("{doing} a group"), cause))
}

/// # Safety
/// `event` is a live answer to a listing of groups.
unsafe fn from_listing(event: *mut sys::rd_kafka_event_t) -> Result<Vec<GroupListing>, Refusal> {
    // SAFETY: by contract, for all that is reached from the event.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event);
        let mut count = 0;
        let errors = sys::rd_kafka_ListConsumerGroups_result_errors(result, &mut count);
        for &error in items(errors, count) {
            Refusal::check_error(error, "")?;
        }
        let groups = sys::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
        let listed = items(groups, count).iter().map(|&group| GroupListing {
            group: owned_text(sys::rd_kafka_ConsumerGroupListing_group_id(group)),
            r#type: known(sys::rd_kafka_consumer_group_type_name(
                sys::rd_kafka_ConsumerGroupListing_type(group),
            )),
            state: known(sys::rd_kafka_consumer_group_state_name(
                sys::rd_kafka_ConsumerGroupListing_state(group),
            )),
        });
        Ok(listed.collect())
    }
}

/// A name of librdkafka's, unless it says that it knows none.
///
/// # Safety
/// `name` is null or a static C string.
unsafe fn known(name: *const c_char) -> Option<String> {
    // SAFETY: by contract.
    let name = unsafe { owned_text(name) };
    (!matches!(name.as_str(), "" | "Unknown")).then_some(name)
}

/// # Safety
/// `group` is part of a live answer.
unsafe fn from_group(
    group: *const sys::rd_kafka_ConsumerGroupDescription_t,
) -> Result<GroupDescription, Refusal> {
    use sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD as DEAD;
    // SAFETY: by contract, for all that is reached from the group.
    unsafe {
        Refusal::check_error(sys::rd_kafka_ConsumerGroupDescription_error(group), "")?;
        let state = sys::rd_kafka_ConsumerGroupDescription_state(group);
        // How brokers before KIP-1043 say that there is no such group.
        if state == DEAD {
            return Err(Refusal::of(Code::GROUP_NOT_FOUND));
        }
        Ok(GroupDescription {
            state: known(sys::rd_kafka_consumer_group_state_name(state)),
            members: sys::rd_kafka_ConsumerGroupDescription_member_count(group),
        })
    }
}

/// # Safety
/// `group` is part of a live answer.
unsafe fn checked(group: *const sys::rd_kafka_group_result_t) -> Result<(), Refusal> {
    // SAFETY: by contract.
    unsafe { Refusal::check_error(sys::rd_kafka_group_result_error(group), "") }
}

/// That a change was made to every partition.
///
/// # Safety
/// `group` is part of a live answer.
unsafe fn all_done(group: *const sys::rd_kafka_group_result_t) -> Result<(), Refusal> {
    // SAFETY: by contract, for all that is reached from the group.
    unsafe {
        checked(group)?;
        elements(group).try_for_each(|element| {
            let topic = owned_text((&raw const (*element).topic).read());
            Refusal::check(code(element), &topic, ptr::null())
        })
    }
}

/// Adds the offsets of an answer to those of their topics.
///
/// # Safety
/// `group` is part of a live answer.
unsafe fn add_committed(
    group: *const sys::rd_kafka_group_result_t,
    topics: &mut BTreeMap<String, Vec<CommittedOffset>>,
) -> Result<(), Refusal> {
    // SAFETY: by contract, for all that is reached from the group.
    unsafe {
        checked(group)?;
        for element in elements(group) {
            let name = (&raw const (*element).topic).read();
            Refusal::check(code(element), &owned_text(name), ptr::null())?;
            let Some(committed) = from_element(element) else {
                continue;
            };
            let name = CStr::from_ptr(name).to_string_lossy();
            match topics.get_mut(&*name) {
                Some(partitions) => partitions.push(committed),
                None => drop(topics.insert(name.into_owned(), vec![committed])),
            }
        }
    }
    Ok(())
}

/// What is committed, if anything is.
///
/// # Safety
/// `element` is part of a live answer.
unsafe fn from_element(element: *const sys::rd_kafka_topic_partition_t) -> Option<CommittedOffset> {
    // SAFETY: by contract; the metadata has as many bytes as said.
    unsafe {
        let offset = (&raw const (*element).offset).read();
        let metadata = (&raw const (*element).metadata).read();
        let metadata = if metadata.is_null() {
            String::new()
        } else {
            let size = (&raw const (*element).metadata_size).read();
            let bytes = std::slice::from_raw_parts(metadata.cast::<u8>(), size);
            String::from_utf8_lossy(bytes).into_owned()
        };
        let epoch = sys::rd_kafka_topic_partition_get_leader_epoch(element);
        (offset >= 0).then_some(CommittedOffset {
            partition: (&raw const (*element).partition).read(),
            offset,
            leader_epoch: (epoch >= 0).then_some(epoch),
            metadata,
        })
    }
}

fn in_order(topics: BTreeMap<String, Vec<CommittedOffset>>) -> Vec<CommittedTopic> {
    let topic = |(topic, mut partitions): (String, Vec<CommittedOffset>)| {
        partitions.sort_by_key(|committed| committed.partition);
        partitions.shrink_to_fit();
        CommittedTopic { topic, partitions }
    };
    topics.into_iter().map(topic).collect()
}

/// The partitions of an answer, behind pointers: a code that librdkafka has no name for must not become its enum.
///
/// # Safety
/// `group` is part of a live answer, which lives as long as the pointers are used.
unsafe fn elements(
    group: *const sys::rd_kafka_group_result_t,
) -> impl Iterator<Item = *const sys::rd_kafka_topic_partition_t> {
    // SAFETY: by contract; the list has as many elements as said.
    unsafe {
        let list = sys::rd_kafka_group_result_partitions(group).as_ref();
        let (first, count) = list.map_or((ptr::null_mut(), 0), |list| (list.elems, list.cnt));
        let count = usize::try_from(count).unwrap_or(0);
        (0..count).map(move |index| first.add(index).cast_const())
    }
}

/// # Safety
/// `element` is part of a live answer.
unsafe fn code(element: *const sys::rd_kafka_topic_partition_t) -> Code {
    // SAFETY: by contract; read as a number.
    Code(unsafe { (&raw const (*element).err).cast::<i32>().read() })
}
