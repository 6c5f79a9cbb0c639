//! Consumer groups: listing and describing them, and reading, committing and deleting their offsets.
//!
//! Every broker lists the groups that it coordinates. librdkafka 2.12.1 keeps groups of protocol type `consumer`, which both classic
//! and KIP-848 consumers have, and groups without one, which only ever committed offsets. It drops all others, among them groups of
//! the Streams protocol (KIP-1071), which have committed offsets, and share groups, whose offsets are of another kind. It reports
//! states that it does not know, such as KIP-848's `Assigning`, as unknown; here they are `None`.

#![expect(
    unsafe_code,
    reason = "these calls exist in librdkafka's C interface only"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;
use std::time::Instant;

use kbk_format::PartitionNumber;
use kbk_format::repo::CommittedOffset;
use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::items;
use super::coordinator_watch::{CoordinatorWatch, Unproven};
use super::coordinators::{GroupAnswer, GroupCall};
use super::owned::{DeleteGroup, DeleteOffsets, ListOffsets, StoreOffsets, c_string};
use super::request::{BrokerError, Request, Responder};
use super::{Admin, invalid};
use crate::kafka::answers::Answers;
use crate::kafka::client::{length, owned_text};
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::partition::TopicPartition;
use crate::kafka::permission::{AclOperation, Permission};

/// A group, as the broker that coordinates it lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id, up to the first NUL, at which librdkafka cuts it.
    pub group: String,
    /// The number of entries with this id: several while the group moves to another coordinator, and of groups whose ids differ only
    /// after a NUL.
    pub entries: usize,
    /// `Classic` or `Consumer`, where the broker reports it.
    pub r#type: Option<String>,
    /// Such as `Stable` or `Empty`, where the broker reports a state that librdkafka knows.
    pub state: Option<String>,
}

/// The groups that brokers have listed.
#[derive(Debug)]
pub struct GroupListings {
    /// Ordered by id.
    pub groups: Vec<GroupListing>,
    /// Why groups may be missing: a broker that did not list its groups in time, or that does not know yet which ones it coordinates.
    pub unanswered: Option<KafkaError>,
}

/// A group, as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// As in [`GroupListing`].
    pub state: Option<String>,
    /// Number of members.
    pub members: usize,
}

/// The committed offsets of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffsets {
    /// Its id.
    pub group: String,
    /// Ordered by name.
    pub topics: Vec<CommittedTopic>,
}

/// The committed offsets of a group for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// Its name.
    pub topic: String,
    /// Ordered by partition.
    pub partitions: Vec<CommittedOffset>,
}

/// Bytes of offsets per request. The coordinator writes a request as one batch of `__consumer_offsets`, which that topic's
/// `max.message.bytes` bounds: 1 MB by default. This stays well below, should somebody have lowered it.
const REQUEST_BYTES: usize = 256 << 10;
/// Upper estimate of what such a record takes besides its names and metadata.
const COMMIT_OVERHEAD_BYTES: usize = 100;

/// As in "cannot *list the consumer groups of every broker*".
const LIST_GROUPS: &str = "list the consumer groups of every broker";
/// As in "cannot *read the committed offsets of groups*".
const OFFSETS_OF_GROUPS: &str = "read the committed offsets of groups";

impl GroupOffsets {
    /// Splits the offsets into parts that fit one request each.
    fn parts(&self) -> Vec<GroupOffsets> {
        let mut parts: Vec<GroupOffsets> = Vec::new();
        let mut room = 0;
        for CommittedTopic { topic, partitions } in &self.topics {
            for (index, committed) in partitions.iter().enumerate() {
                let names = self.group.len() + topic.len();
                let bytes = names + committed.metadata.len() + COMMIT_OVERHEAD_BYTES;
                if bytes > room || parts.is_empty() {
                    parts.push(GroupOffsets {
                        group: self.group.clone(),
                        topics: Vec::new(),
                    });
                    room = REQUEST_BYTES;
                }
                room = room.saturating_sub(bytes);
                let topics = &mut parts.last_mut().expect("pushed").topics;
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
        parts
    }
}

/// What a group has committed, if it exists, or why this principal may not see it.
pub type PermittedOffsets = Result<Option<Vec<CommittedTopic>>, KafkaError>;

impl Admin {
    /// Lists all groups that have or had consumers, or committed offsets, ordered by id.
    ///
    /// A principal that may not describe the cluster silently gets only the groups that it may describe: see
    /// [`Admin::cluster_rights`].
    pub fn list_groups(&self) -> Result<GroupListings, KafkaError> {
        let began = Instant::now();
        loop {
            let watch = CoordinatorWatch::start(&self.settings, LIST_GROUPS);
            let mut listings = self.groups_of_brokers()?;
            let unproven = match watch {
                Err(unproven) => unproven,
                Ok(watch) => match watch.is_unchanged() {
                    Ok(true) => return Ok(listings),
                    Ok(false) if began.elapsed() < self.deadline => continue,
                    Ok(false) => Unproven::Unready(KafkaError::Other {
                        doing: LIST_GROUPS.to_owned(),
                        cause: "groups move from one coordinator to another".to_owned(),
                    }),
                    Err(unproven) => unproven,
                },
            };
            if let Unproven::Unready(error) = unproven {
                listings.unanswered.get_or_insert(error);
            }
            return Ok(listings);
        }
    }

    /// Returns the groups that each broker lists now. One that does not know yet what it coordinates leaves groups out.
    fn groups_of_brokers(&self) -> Result<GroupListings, KafkaError> {
        let request = Request {
            doing: LIST_GROUPS.to_owned(),
            op: Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS,
            responder: Responder::ByRequest,
        };
        // What the brokers that answered have listed, in the last attempt.
        let listed = RefCell::new(None);
        let complete = self.request(
            &request,
            |client, options, queue| {
                // SAFETY: all handles are live.
                unsafe { sys::rd_kafka_ListConsumerGroups(client, options, queue) };
            },
            |event| {
                // SAFETY: the event is of this kind.
                let (groups, unanswered) = unsafe { from_listing(event) };
                *listed.borrow_mut() = Some(groups);
                unanswered
            },
        );
        let unanswered = match complete {
            Ok(()) => None,
            Err(error @ KafkaError::Timeout { .. }) if listed.borrow().is_some() => Some(error),
            Err(error) => {
                return Err(error.needing(Permission::cluster(AclOperation::Describe)));
            }
        };
        let mut groups = listed.into_inner().unwrap_or_default();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        groups.dedup_by(|later, first| {
            let same = later.group == first.group;
            first.entries += usize::from(same) * later.entries;
            same
        });
        Ok(GroupListings { groups, unanswered })
    }

    /// Returns the committed offsets of each group; `None` for a group that does not exist. A group that has committed nothing and
    /// one that was just deleted look the same: no topics.
    ///
    /// Brokers silently omit offsets of topics that this principal may not describe.
    pub fn committed_offsets(
        &self,
        groups: &[&str],
    ) -> Result<Answers<String, Option<Vec<CommittedTopic>>>, KafkaError> {
        let answers = self.ask_offsets(groups, false)?.into_iter();
        let answers: Result<_, KafkaError> = answers
            .map(|(group, answer)| Ok((group, answer?)))
            .collect();
        by_group(OFFSETS_OF_GROUPS, groups, answers?)
    }

    /// As [`Admin::committed_offsets`], but a group that this principal may not describe does not keep it from the others: its answer is
    /// the error.
    pub fn permitted_offsets(
        &self,
        groups: &[&str],
    ) -> Result<Answers<String, PermittedOffsets>, KafkaError> {
        by_group(OFFSETS_OF_GROUPS, groups, self.ask_offsets(groups, true)?)
    }

    fn ask_offsets(
        &self,
        groups: &[&str],
        answer_denied: bool,
    ) -> Result<Vec<GroupAnswer<Vec<CommittedTopic>>>, KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            doing: "read the committed offsets of",
            on_group: AclOperation::Describe,
            on_topic: AclOperation::Describe,
        };
        let requests = each(groups, call.doing, |group| ListOffsets::all(group))?;
        self.ask_each(
            &call,
            groups,
            answer_denied,
            &|index, client, options, queue| {
                let mut request = [requests[index].0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_ListConsumerGroupOffsets(
                        client,
                        request.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            // SAFETY: the event is of this kind, and its contents live as long as it does.
            &|event| unsafe {
                let mut count = 0;
                let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
                let groups =
                    sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
                let mut topics = BTreeMap::new();
                for &group in items(groups, count) {
                    add_committed(group, &mut topics)?;
                }
                Ok(sorted(topics))
            },
        )
    }

    /// Returns the state and member count of each group; `None` for a group that does not exist.
    pub fn describe_groups(
        &self,
        groups: &[&str],
    ) -> Result<Answers<String, Option<GroupDescription>>, KafkaError> {
        const DOING: &str = "read the state of";
        // SAFETY: `ask_descriptions` passes groups of a live answer.
        let read = |group| unsafe { from_group(group) };
        let answers = self.ask_descriptions(DOING, groups, false, false, &read)?;
        let answers = answers.into_iter();
        let answers: Result<_, KafkaError> = answers
            .map(|(group, answer)| Ok((group, answer?)))
            .collect();
        by_group("read the state of groups", groups, answers?)
    }

    /// As [`Admin::describe_groups`], but a group that this principal may not describe does not keep it from the others: its answer is the
    /// error. It need not exist: brokers check permissions first.
    pub fn look_up_groups(
        &self,
        groups: &[&str],
    ) -> Result<BTreeMap<String, Result<Option<GroupDescription>, KafkaError>>, KafkaError> {
        // SAFETY: `ask_descriptions` passes groups of a live answer.
        let read = |group| unsafe { from_group(group) };
        let answers = self.ask_descriptions("describe", groups, false, true, &read)?;
        Ok(answers.into_iter().collect())
    }

    /// Asks for the description of each group, with the permissions on it if they are wanted. The group with the empty id, which consumers
    /// without a group have committed offsets of, is answered as one that does not exist: brokers describe no such group, and it can have
    /// no members.
    pub(super) fn ask_descriptions<T>(
        &self,
        doing: &'static str,
        groups: &[&str],
        with_rights: bool,
        answer_denied: bool,
        read: &dyn Fn(*const sys::rd_kafka_ConsumerGroupDescription_t) -> Result<T, BrokerError>,
    ) -> Result<Vec<GroupAnswer<T>>, KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            doing,
            on_group: AclOperation::Describe,
            on_topic: AclOperation::Describe,
        };
        let named: Vec<&str> = groups.iter().copied().filter(|id| !id.is_empty()).collect();
        let unnamed = groups.iter().filter(|id| id.is_empty());
        let unnamed = unnamed.map(|id| ((*id).to_owned(), Ok(None)));
        let names = each(&named, call.doing, |group| c_string(group))?;
        let answers = self.ask_each(
            &call,
            &named,
            answer_denied,
            &|index, client, options, queue| {
                let mut name = [names[index].as_ptr()];
                // SAFETY: all handles are live; the options are not shared with another request. The setter returns null, for
                // success: this operation has the option. The name is copied.
                unsafe {
                    sys::rd_kafka_AdminOptions_set_include_authorized_operations(
                        options.cast_mut(),
                        with_rights.into(),
                    );
                    sys::rd_kafka_DescribeConsumerGroups(
                        client,
                        name.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            // SAFETY: the event is of this kind, and its contents live as long as it does.
            &|event| unsafe {
                let mut count = 0;
                let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
                let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
                match items(groups, count) {
                    [group] => read(*group),
                    _ => Err(BrokerError::of(Code::GROUP_NOT_FOUND)),
                }
            },
        )?;
        Ok(answers.into_iter().chain(unnamed).collect())
    }

    /// Commits offsets on behalf of groups, which must have no members; a group that does not exist is created. Offsets that are not
    /// listed stay unchanged. No leader epoch is committed, since those of another cluster are meaningless here. The offsets of one
    /// group may take several requests, so a failure may leave some of them committed.
    pub fn commit_offsets(&self, groups: &[GroupOffsets]) -> Result<(), KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
            doing: "commit the offsets of",
            on_group: AclOperation::Read,
            on_topic: AclOperation::Read,
        };
        let groups: Vec<GroupOffsets> = groups.iter().flat_map(GroupOffsets::parts).collect();
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
            // SAFETY: the event is of this kind, and its contents live as long as it does.
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

    /// Deletes a group's committed offsets of partitions. The group must not be subscribed to their topics.
    pub fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS,
            doing: "delete committed offsets of",
            on_group: AclOperation::Delete,
            on_topic: AclOperation::Read,
        };
        let doing = format!("{} group {group}", call.doing);
        self.check_offset_delete(&doing, partitions)?;
        const LONGEST_TOPIC: usize = 249;
        let at_once = REQUEST_BYTES / (group.len() + LONGEST_TOPIC + COMMIT_OVERHEAD_BYTES);
        let parts: Vec<_> = partitions.chunks(at_once.max(1)).collect();
        let changes = each(&parts, call.doing, |part| DeleteOffsets::new(group, part))?;
        self.ask_coordinators(
            &call,
            &vec![group; parts.len()],
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
            // SAFETY: the event is of this kind, and its contents live as long as it does.
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

    /// Deletes groups, which must have no members, with their committed offsets. A group that does not exist counts as deleted.
    pub fn delete_groups(&self, groups: &[&str]) -> Result<(), KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_DELETEGROUPS,
            doing: "delete",
            on_group: AclOperation::Delete,
            on_topic: AclOperation::Read,
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
            // SAFETY: the event is of this kind, and its contents live as long as it does.
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

/// Keys answers by group.
fn by_group<T>(
    doing: &str,
    groups: &[&str],
    answers: Vec<(String, T)>,
) -> Result<Answers<String, T>, KafkaError> {
    let asked: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
    Answers::complete(doing, &asked, answers.into_iter().collect())
}

/// Builds the request of each group.
fn each<G, T>(
    groups: &[G],
    doing: &str,
    make: impl Fn(&G) -> Result<T, String>,
) -> Result<Vec<T>, KafkaError> {
    let made: Result<Vec<T>, String> = groups.iter().map(make).collect();
    made.map_err(|cause| invalid(&format!("{doing} a group"), cause))
}

/// Reads a listing of groups, and the first error that a broker gave instead.
///
/// # Safety
/// `event` is a live answer to a listing of groups.
unsafe fn from_listing(
    event: *mut sys::rd_kafka_event_t,
) -> (Vec<GroupListing>, Result<(), BrokerError>) {
    // SAFETY: by contract, for everything reached from the event.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event);
        let mut count = 0;
        let errors = sys::rd_kafka_ListConsumerGroups_result_errors(result, &mut count);
        let mut errors = items(errors, count).iter();
        let answered = errors.try_for_each(|&error| BrokerError::check_error(error, ""));
        let groups = sys::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
        let listed = items(groups, count).iter().map(|&group| GroupListing {
            group: owned_text(sys::rd_kafka_ConsumerGroupListing_group_id(group)),
            entries: 1,
            r#type: known(sys::rd_kafka_consumer_group_type_name(
                sys::rd_kafka_ConsumerGroupListing_type(group),
            )),
            state: known(sys::rd_kafka_consumer_group_state_name(
                sys::rd_kafka_ConsumerGroupListing_state(group),
            )),
        });
        (listed.collect(), answered)
    }
}

/// Copies one of librdkafka's names; `None` where it is empty or `Unknown`.
///
/// # Safety
/// `name` is null or a static C string.
unsafe fn known(name: *const c_char) -> Option<String> {
    // SAFETY: by contract.
    let name = unsafe { owned_text(name) };
    (!matches!(name.as_str(), "" | "Unknown")).then_some(name)
}

/// Reads the description of a group.
///
/// # Safety
/// `group` is part of a live answer.
unsafe fn from_group(
    group: *const sys::rd_kafka_ConsumerGroupDescription_t,
) -> Result<GroupDescription, BrokerError> {
    use sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD as DEAD;
    // SAFETY: by contract, for everything reached from the group.
    unsafe {
        BrokerError::check_error(sys::rd_kafka_ConsumerGroupDescription_error(group), "")?;
        let state = sys::rd_kafka_ConsumerGroupDescription_state(group);
        // Brokers before KIP-1043 describe a group that does not exist as dead.
        if state == DEAD {
            return Err(BrokerError::of(Code::GROUP_NOT_FOUND));
        }
        Ok(GroupDescription {
            state: known(sys::rd_kafka_consumer_group_state_name(state)),
            members: sys::rd_kafka_ConsumerGroupDescription_member_count(group),
        })
    }
}

/// Returns the error of a group, if it has one.
///
/// # Safety
/// `group` is part of a live answer.
pub(super) unsafe fn checked(
    group: *const sys::rd_kafka_group_result_t,
) -> Result<(), BrokerError> {
    // SAFETY: by contract.
    unsafe { BrokerError::check_error(sys::rd_kafka_group_result_error(group), "") }
}

/// Returns the first error of a change, of the group or of one of its partitions.
///
/// # Safety
/// `group` is part of a live answer.
unsafe fn all_done(group: *const sys::rd_kafka_group_result_t) -> Result<(), BrokerError> {
    // SAFETY: by contract, for everything reached from the group.
    unsafe {
        checked(group)?;
        elements(group).try_for_each(|element| {
            let topic = owned_text((&raw const (*element).topic).read());
            BrokerError::check(code(element), &topic, ptr::null())
        })
    }
}

/// Adds the offsets of an answer to `topics`.
///
/// # Safety
/// `group` is part of a live answer.
unsafe fn add_committed(
    group: *const sys::rd_kafka_group_result_t,
    topics: &mut BTreeMap<String, Vec<CommittedOffset>>,
) -> Result<(), BrokerError> {
    // SAFETY: by contract, for everything reached from the group.
    unsafe {
        checked(group)?;
        for element in elements(group) {
            let name = (&raw const (*element).topic).read();
            BrokerError::check(code(element), &owned_text(name), ptr::null())?;
            let number = (&raw const (*element).partition).read();
            let partition = BrokerError::partition_number(&owned_text(name), number)?;
            let Some(committed) = from_element(partition, element) else {
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

/// Reads the committed offset of a partition, if there is one.
///
/// # Safety
/// `element` is part of a live answer.
unsafe fn from_element(
    partition: PartitionNumber,
    element: *const sys::rd_kafka_topic_partition_t,
) -> Option<CommittedOffset> {
    // SAFETY: by contract; the metadata has `metadata_size` bytes.
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
            partition,
            offset,
            leader_epoch: (epoch >= 0).then_some(epoch),
            metadata,
        })
    }
}

fn sorted(topics: BTreeMap<String, Vec<CommittedOffset>>) -> Vec<CommittedTopic> {
    let topic = |(topic, mut partitions): (String, Vec<CommittedOffset>)| {
        partitions.sort_by_key(|committed| committed.partition);
        partitions.shrink_to_fit();
        CommittedTopic { topic, partitions }
    };
    topics.into_iter().map(topic).collect()
}

/// Iterates over the partitions of an answer by pointer: forming a reference to an element whose error code is not in librdkafka's
/// enum would be undefined behaviour.
///
/// # Safety
/// `group` is part of a live answer, which lives as long as the pointers are used.
pub(super) unsafe fn elements(
    group: *const sys::rd_kafka_group_result_t,
) -> impl Iterator<Item = *const sys::rd_kafka_topic_partition_t> {
    // SAFETY: by contract; the list has `cnt` elements.
    unsafe {
        let list = sys::rd_kafka_group_result_partitions(group).as_ref();
        let (first, count) = list.map_or((ptr::null_mut(), 0), |list| (list.elems, list.cnt));
        (0..length(count, "partitions of a group")).map(move |index| first.add(index).cast_const())
    }
}

/// Reads the error code of a partition.
///
/// # Safety
/// `element` is part of a live answer.
pub(super) unsafe fn code(element: *const sys::rd_kafka_topic_partition_t) -> Code {
    // SAFETY: by contract; the code is read as a number, since a newer broker may send any.
    Code(unsafe { (&raw const (*element).err).cast::<i32>().read() })
}
