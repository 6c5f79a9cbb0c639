//! Kafka's requests by hand, for what librdkafka cannot send: it replaces the timestamp 0, its strings end at a NUL, and the crate has no ACLs.

use std::io::{Read, Write};
use std::net::TcpStream;

use kbk_format::repo::AclBinding;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::broker::Broker;
use super::record::Message;
use super::wait::{self, PATIENCE};

/// Appends the messages to a partition unchanged, as one uncompressed batch.
pub(crate) fn produce(broker: &Broker, target: (&str, i32), messages: &[Message]) {
    send(broker, target, &batch(messages, Codec::None));
}

/// Appends the messages to a partition as one zstd batch that does not say how large it becomes, as streaming writers leave it.
pub(crate) fn produce_zstd(broker: &Broker, target: (&str, i32), messages: &[Message]) {
    send(broker, target, &batch(messages, Codec::ZstdStream));
}

fn send(broker: &Broker, (topic, partition): (&str, i32), batch: &[u8]) {
    let mut request = Vec::new();
    request.extend(0i16.to_be_bytes()); // produce
    request.extend(7i16.to_be_bytes()); // its version: the last that Kafka 2.1 has
    request.extend(0i32.to_be_bytes()); // correlation id
    request.extend((-1i16).to_be_bytes()); // client id: null
    request.extend((-1i16).to_be_bytes()); // transactional id: null
    request.extend((-1i16).to_be_bytes()); // acks: all
    request.extend(30_000i32.to_be_bytes()); // timeout in milliseconds
    request.extend(1i32.to_be_bytes()); // topics
    request.extend(i16::try_from(topic.len()).expect("short").to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend(1i32.to_be_bytes()); // partitions
    request.extend(partition.to_be_bytes());
    request.extend(len_i32(batch));
    request.extend(batch);

    let response = exchange(&leader(broker, topic, partition), &request);
    // Correlation id, count of topics, the topic's name, count of partitions, the partition.
    let position = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(response[position..][..2], [0, 0], "the broker's error code");
}

/// Commits an offset of a group without members.
pub(crate) fn commit(
    broker: &Broker,
    group: &str,
    (topic, partition): (&str, i32),
    (offset, metadata): (i64, &str),
) {
    const COORDINATOR_LOADING: [u8; 2] = [0, 14];
    const NOT_COORDINATOR: [u8; 2] = [0, 16];
    let mut request = Vec::new();
    request.extend(8i16.to_be_bytes()); // offset commit
    request.extend(2i16.to_be_bytes()); // its version: the first that Kafka 4 has
    request.extend(0i32.to_be_bytes()); // correlation id
    request.extend((-1i16).to_be_bytes()); // client id: null
    put_string(&mut request, group);
    request.extend((-1i32).to_be_bytes()); // generation
    put_string(&mut request, ""); // member
    request.extend((-1i64).to_be_bytes()); // retention
    request.extend(1i32.to_be_bytes()); // topics
    put_string(&mut request, topic);
    request.extend(1i32.to_be_bytes()); // partitions
    request.extend(partition.to_be_bytes());
    request.extend(offset.to_be_bytes());
    put_string(&mut request, metadata);
    // Correlation id, count of topics, the topic's name, count of partitions, the partition.
    let position = 4 + 4 + 2 + topic.len() + 4 + 4;
    let error = wait::until("the coordinator", || {
        let response = exchange(broker.bootstrap(), &request);
        let error = [response[position], response[position + 1]];
        (error != COORDINATOR_LOADING && error != NOT_COORDINATOR).then_some(error)
    });
    assert_eq!(error, [0, 0], "the broker's error code");
}

/// The constants of ACLs, by their numbers in requests.
const RESOURCES: [&str; 8] = [
    "UNKNOWN",
    "ANY",
    "TOPIC",
    "GROUP",
    "CLUSTER",
    "TRANSACTIONAL_ID",
    "DELEGATION_TOKEN",
    "USER",
];
const PATTERNS: [&str; 5] = ["UNKNOWN", "ANY", "MATCH", "LITERAL", "PREFIXED"];
const OPERATIONS: [&str; 15] = [
    "UNKNOWN",
    "ANY",
    "ALL",
    "READ",
    "WRITE",
    "CREATE",
    "DELETE",
    "ALTER",
    "DESCRIBE",
    "CLUSTER_ACTION",
    "DESCRIBE_CONFIGS",
    "ALTER_CONFIGS",
    "IDEMPOTENT_WRITE",
    "CREATE_TOKENS",
    "DESCRIBE_TOKENS",
];
const PERMISSIONS: [&str; 4] = ["UNKNOWN", "ANY", "DENY", "ALLOW"];
/// The number of `ANY`.
const ANY: i8 = 1;

fn number(names: &[&str], name: &str) -> i8 {
    let number = names.iter().position(|it| *it == name);
    let number = number.unwrap_or_else(|| panic!("no number of {name}"));
    i8::try_from(number).expect("few")
}

/// Creates ACLs.
pub(crate) fn create_acls(broker: &Broker, acls: &[AclBinding]) {
    let mut request = header(30, 1);
    request.extend(i32::try_from(acls.len()).expect("few").to_be_bytes());
    for acl in acls {
        request.extend(number(&RESOURCES, &acl.resource_type).to_be_bytes());
        put_string(&mut request, &acl.resource_name);
        request.extend(number(&PATTERNS, &acl.pattern_type).to_be_bytes());
        put_string(&mut request, &acl.principal);
        put_string(&mut request, &acl.host);
        request.extend(number(&OPERATIONS, &acl.operation).to_be_bytes());
        request.extend(number(&PERMISSIONS, &acl.permission_type).to_be_bytes());
    }
    let answer = exchange(broker.bootstrap(), &request);
    // Correlation id and throttle time.
    let mut answer = Answer(&answer[8..]);
    for _ in 0..answer.i32() {
        let (code, message) = (answer.i16(), answer.string());
        assert_eq!(code, 0, "{message:?}");
    }
}

/// Returns all ACLs of a cluster.
pub(crate) fn describe_acls(broker: &Broker) -> Vec<AclBinding> {
    let mut request = header(29, 1);
    request.extend(ANY.to_be_bytes()); // resource type
    request.extend((-1i16).to_be_bytes()); // resource name: any
    request.extend(ANY.to_be_bytes()); // pattern type
    request.extend((-1i16).to_be_bytes()); // principal: any
    request.extend((-1i16).to_be_bytes()); // host: any
    request.extend(ANY.to_be_bytes()); // operation
    request.extend(ANY.to_be_bytes()); // permission type
    let answer = exchange(broker.bootstrap(), &request);
    let mut answer = Answer(&answer[8..]);
    let (code, message) = (answer.i16(), answer.string());
    assert_eq!(code, 0, "{message:?}");
    let mut found = Vec::new();
    for _ in 0..answer.i32() {
        let resource_type = answer.constant(&RESOURCES);
        let resource_name = answer.string().expect("a name");
        let pattern_type = answer.constant(&PATTERNS);
        for _ in 0..answer.i32() {
            found.push(AclBinding {
                resource_type: resource_type.clone(),
                resource_name: resource_name.clone(),
                pattern_type: pattern_type.clone(),
                principal: answer.string().expect("a principal"),
                host: answer.string().expect("a host"),
                operation: answer.constant(&OPERATIONS),
                permission_type: answer.constant(&PERMISSIONS),
            });
        }
    }
    found
}

/// Begins a request of this kind and version, without a client id.
fn header(kind: i16, version: i16) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(kind.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(0i32.to_be_bytes()); // correlation id
    request.extend((-1i16).to_be_bytes()); // client id: null
    request
}

/// The rest of an answer.
struct Answer<'a>(&'a [u8]);

impl Answer<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk().expect("a longer answer");
        self.0 = rest;
        *bytes
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.bytes())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.bytes())
    }

    /// A string, or null.
    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()).ok()?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(String::from_utf8(text.to_vec()).expect("text"))
    }

    fn constant(&mut self, names: &[&str]) -> String {
        let [number] = self.bytes();
        names[usize::from(number)].to_owned()
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).expect("short").to_be_bytes());
    out.extend(text.as_bytes());
}

/// Sends one request and returns its response.
fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the leader listens");
    stream.write_all(&len_i32(request)).expect("sent");
    stream.write_all(request).expect("sent");
    let mut len = [0; 4];
    stream.read_exact(&mut len).expect("answered");
    let mut response = vec![0; usize::try_from(i32::from_be_bytes(len)).expect("a length")];
    stream.read_exact(&mut response).expect("answered");
    response
}

/// Returns the address of the broker that leads a partition.
fn leader(broker: &Broker, topic: &str, partition: i32) -> String {
    let consumer: BaseConsumer = broker.client().create().expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("metadata");
    let mut partitions = metadata.topics()[0].partitions().iter();
    let leader = partitions
        .find(|found| found.id() == partition)
        .expect("the partition")
        .leader();
    let mut brokers = metadata.brokers().iter();
    let node = brokers.find(|node| node.id() == leader).expect("a leader");
    format!("{}:{}", node.host(), node.port())
}

#[derive(Clone, Copy)]
enum Codec {
    None,
    ZstdStream,
}

impl Codec {
    /// Returns the attributes of a batch.
    fn attributes(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::ZstdStream => 4,
        }
    }

    fn encode(self, records: Vec<u8>) -> Vec<u8> {
        match self {
            Codec::None => records,
            Codec::ZstdStream => {
                let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("an encoder");
                encoder.write_all(&records).expect("in memory");
                encoder.finish().expect("in memory")
            }
        }
    }
}

/// Encodes a record batch of version 2, without producer id.
fn batch(messages: &[Message], codec: Codec) -> Vec<u8> {
    let times = || messages.iter().map(|message| message.timestamp);
    let base_timestamp = times().next().expect("a message");
    let mut checked = Vec::new();
    checked.extend(codec.attributes().to_be_bytes());
    let last_offset_delta = i32::try_from(messages.len() - 1).expect("few");
    checked.extend(last_offset_delta.to_be_bytes());
    checked.extend(base_timestamp.to_be_bytes());
    checked.extend(times().max().expect("a message").to_be_bytes());
    checked.extend((-1i64).to_be_bytes()); // producer id
    checked.extend((-1i16).to_be_bytes()); // producer epoch
    checked.extend((-1i32).to_be_bytes()); // base sequence
    checked.extend((last_offset_delta + 1).to_be_bytes());
    let mut records = Vec::new();
    for (message, offset_delta) in messages.iter().zip(0..) {
        let record = record(message, message.timestamp - base_timestamp, offset_delta);
        put_len(&mut records, record.len());
        records.extend(record);
    }
    checked.extend(codec.encode(records));

    let mut rest = Vec::new();
    rest.extend((-1i32).to_be_bytes()); // partition leader epoch
    rest.push(2); // magic
    rest.extend(crc32c::crc32c(&checked).to_be_bytes());
    rest.extend(checked);

    let mut batch = Vec::new();
    batch.extend(0i64.to_be_bytes()); // base offset
    batch.extend(len_i32(&rest));
    batch.extend(rest);
    batch
}

fn record(message: &Message, timestamp_delta: i64, offset_delta: i64) -> Vec<u8> {
    let mut record = vec![0]; // attributes
    put_varint(&mut record, timestamp_delta);
    put_varint(&mut record, offset_delta);
    put_bytes(&mut record, message.key.as_deref());
    put_bytes(&mut record, message.value.as_deref());
    put_len(&mut record, message.headers.len());
    for (name, value) in &message.headers {
        put_bytes(&mut record, Some(name));
        put_bytes(&mut record, value.as_deref());
    }
    record
}

/// Appends a length, -1 for null, and the bytes.
fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_len(out, bytes.len());
            out.extend(bytes);
        }
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, i64::try_from(len).expect("a length"));
}

/// Appends a zigzag varint, as in Protocol Buffers.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest > 0x7f {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

fn len_i32(bytes: &[u8]) -> [u8; 4] {
    i32::try_from(bytes.len()).expect("short").to_be_bytes()
}
