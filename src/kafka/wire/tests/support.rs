//! A broker on loopback that answers as a test says.

use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kbk_format::PartitionNumber;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kafka::wire::{WireClient, WireSettings};
use crate::kafka::{ClientSettings, TopicPartition};

pub(in crate::kafka) const PRODUCE: i16 = 0;
pub(in crate::kafka) const FETCH: i16 = 1;
pub(in crate::kafka) const LIST_OFFSETS: i16 = 2;
pub(in crate::kafka) const METADATA: i16 = 3;
pub(in crate::kafka) const OFFSET_FETCH: i16 = 9;
pub(in crate::kafka) const FIND_COORDINATOR: i16 = 10;
pub(in crate::kafka) const DESCRIBE_GROUPS: i16 = 15;
pub(in crate::kafka) const SASL_HANDSHAKE: i16 = 17;
pub(in crate::kafka) const SASL_AUTHENTICATE: i16 = 36;
pub(in crate::kafka) const API_VERSIONS: i16 = 18;
pub(in crate::kafka) const INIT_PRODUCER_ID: i16 = 22;
pub(in crate::kafka) const EPOCHS: i16 = 23;
pub(in crate::kafka) const ADD_PARTITIONS: i16 = 24;
pub(in crate::kafka) const ADD_OFFSETS: i16 = 25;
pub(in crate::kafka) const END_TXN: i16 = 26;
pub(in crate::kafka) const TXN_OFFSET_COMMIT: i16 = 28;

/// A request as a broker sees it.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct Request {
    pub(in crate::kafka) api: i16,
    pub(in crate::kafka) version: i16,
    pub(in crate::kafka) correlation_id: i32,
    pub(in crate::kafka) body: Vec<u8>,
}

/// What a broker does with a request.
#[derive(Clone, Debug)]
pub(in crate::kafka) enum Reply {
    /// A response with the correlation id of the request, and this body.
    Body(Vec<u8>),
    /// These bytes, length and all.
    Raw(Vec<u8>),
    /// These bytes, and the end of the connection.
    Last(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

/// A broker that answers each request by a function of the test's.
pub(in crate::kafka) struct FakeBroker {
    pub(in crate::kafka) port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl FakeBroker {
    pub(in crate::kafka) async fn start(
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        FakeBroker::start_at("127.0.0.1:0", answer).await
    }

    pub(in crate::kafka) async fn start_at(
        address: &str,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::default());
        let (all, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&all), Arc::clone(&answer)));
            }
        });
        FakeBroker { port, seen }
    }

    pub(in crate::kafka) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the requests of one kind so far.
    pub(in crate::kafka) fn requests(&self, api: i16) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|it| it.api == api).cloned().collect()
    }
}

/// A port that a broker's answers name, and that is known once the broker is started.
pub(in crate::kafka) fn own_port() -> (Arc<AtomicU16>, Arc<AtomicU16>) {
    let port = Arc::new(AtomicU16::new(0));
    (Arc::clone(&port), port)
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Request>>>,
    answer: Arc<impl Fn(&Request) -> Reply>,
) -> std::io::Result<()> {
    loop {
        let length = stream.read_i32().await?;
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut bytes).await?;
        let number = |at: usize| i16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let client_id = usize::try_from(number(8)).unwrap();
        let request = Request {
            api: number(0),
            version: number(2),
            correlation_id: i32::from_be_bytes(bytes[4..8].try_into().unwrap()),
            body: bytes[10 + client_id..].to_vec(),
        };
        seen.lock().unwrap().push(request.clone());
        match answer(&request) {
            Reply::Body(body) => {
                stream
                    .write_all(&framed(request.correlation_id, &body))
                    .await?
            }
            Reply::Raw(bytes) => stream.write_all(&bytes).await?,
            Reply::Last(bytes) => return stream.write_all(&bytes).await,
            Reply::Silence => {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return Ok(());
            }
        }
    }
}

pub(in crate::kafka) fn framed(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = i32::try_from(body.len() + 4)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    frame.extend(correlation_id.to_be_bytes());
    frame.extend(body);
    frame
}

/// The versions of a broker without flexible versions: Apache Kafka 2.3.
pub(in crate::kafka) fn versions(request: &Request) -> Reply {
    versions_and(request, &[])
}

/// The same with further requests, each with its number and versions.
pub(in crate::kafka) fn versions_and(request: &Request, more: &[[i16; 3]]) -> Reply {
    let mut body = Vec::new();
    if request.version > 2 {
        body.extend(35_i16.to_be_bytes());
        body.extend([0; 4]);
        return Reply::Body(body);
    }
    let ranges = [
        [SASL_HANDSHAKE, 0, 1],
        [SASL_AUTHENTICATE, 0, 1],
        [FETCH, 4, 11],
        [LIST_OFFSETS, 1, 5],
        [METADATA, 1, 8],
        [API_VERSIONS, 0, 2],
        [EPOCHS, 2, 3],
        [PRODUCE, 3, 8],
        [FIND_COORDINATOR, 1, 2],
        [INIT_PRODUCER_ID, 0, 4],
        [ADD_PARTITIONS, 0, 2],
        [ADD_OFFSETS, 0, 2],
        [END_TXN, 0, 2],
        [TXN_OFFSET_COMMIT, 0, 2],
    ];
    let ranges = [&ranges, more].concat();
    body.extend(0_i16.to_be_bytes());
    body.extend(i32::try_from(ranges.len()).unwrap().to_be_bytes());
    body.extend(ranges.as_flattened().iter().flat_map(|it| it.to_be_bytes()));
    Reply::Body(body)
}

pub(in crate::kafka) fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}

pub(in crate::kafka) const TOPIC: &str = "orders";

pub(in crate::kafka) fn partition(number: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, PartitionNumber::new(number).unwrap())
}

/// Metadata of version 8: brokers 1, 2… at these ports, and the leaders and epochs of the topic's partitions.
pub(in crate::kafka) fn metadata(ports: &[u16], leaders: &[(i32, i32)]) -> Reply {
    metadata_of(TOPIC, ports, leaders)
}

/// The same of a topic.
pub(in crate::kafka) fn metadata_of(topic: &str, ports: &[u16], leaders: &[(i32, i32)]) -> Reply {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(i32::try_from(ports.len()).unwrap().to_be_bytes());
    for (id, port) in (1_i32..).zip(ports) {
        body.extend(id.to_be_bytes());
        text(&mut body, "127.0.0.1");
        body.extend(i32::from(*port).to_be_bytes());
        body.extend((-1_i16).to_be_bytes());
    }
    text(&mut body, "cluster");
    body.extend(1_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    text(&mut body, topic);
    body.push(0);
    body.extend(i32::try_from(leaders.len()).unwrap().to_be_bytes());
    for (number, (leader, epoch)) in (0_i32..).zip(leaders) {
        body.extend(0_i16.to_be_bytes());
        body.extend(
            [number, *leader, *epoch, 0, 0, 0]
                .iter()
                .flat_map(|it| it.to_be_bytes()),
        );
    }
    body.extend(0_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    Reply::Body(body)
}

/// The answer of version 2 that broker 1 at this port is the coordinator.
pub(in crate::kafka) fn coordinator(port: u16) -> Reply {
    // Throttle, error, no message.
    let mut body = vec![0; 6];
    body.extend((-1_i16).to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    text(&mut body, "127.0.0.1");
    body.extend(i32::from(port).to_be_bytes());
    Reply::Body(body)
}

/// A Fetch response of version 11: the error and the records of each partition.
pub(in crate::kafka) fn fetched(throttle_ms: i32, partitions: &[(i32, i16, &[u8])]) -> Reply {
    let mut body = throttle_ms.to_be_bytes().to_vec();
    body.extend([0; 6]);
    body.extend(1_i32.to_be_bytes());
    text(&mut body, TOPIC);
    body.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
    for (number, error, records) in partitions {
        body.extend(number.to_be_bytes());
        body.extend(error.to_be_bytes());
        body.extend([1000_i64, 1000, 0].iter().flat_map(|it| it.to_be_bytes()));
        body.extend((-1_i32).to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend(i32::try_from(records.len()).unwrap().to_be_bytes());
        body.extend(*records);
    }
    Reply::Body(body)
}

/// A ListOffsets response of version 5 about the partitions that are asked about: of those up to a number an offset, of the others that the
/// broker does not lead them.
pub(in crate::kafka) fn ready_below(request: &Request, ready: i32) -> Reply {
    // Replica, isolation level, one topic of six letters, the number of partitions; 16 bytes each.
    let asked = request.body[4 + 1 + 4 + 8 + 4..].chunks(16);
    let asked: Vec<i32> = asked
        .map(|it| i32::from_be_bytes(it[..4].try_into().unwrap()))
        .collect();
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(1_i32.to_be_bytes());
    body.extend([0, 6]);
    body.extend(b"orders");
    body.extend(i32::try_from(asked.len()).unwrap().to_be_bytes());
    for number in asked {
        let (error, offset) = match number <= ready {
            true => (0_i16, 41_i64),
            false => (6, -1),
        };
        body.extend(number.to_be_bytes());
        body.extend(error.to_be_bytes());
        body.extend((-1_i64).to_be_bytes());
        body.extend(offset.to_be_bytes());
        body.extend(3_i32.to_be_bytes());
    }
    Reply::Body(body)
}

/// The answer of version 3 about where an epoch of partition 0 ends.
pub(in crate::kafka) fn epoch_end(epoch: i32, end_offset: i64) -> Reply {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(1_i32.to_be_bytes());
    text(&mut body, TOPIC);
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(epoch.to_be_bytes());
    body.extend(end_offset.to_be_bytes());
    Reply::Body(body)
}

/// A client whose requests have a second.
pub(in crate::kafka) fn client(bootstrap: &str) -> WireClient {
    client_with(bootstrap, Duration::from_secs(1), &[])
}

pub(in crate::kafka) fn client_with(
    bootstrap: &str,
    timeout: Duration,
    properties: &[(&str, &str)],
) -> WireClient {
    let settings = settings(bootstrap, timeout, properties);
    WireClient::new(WireSettings::new(&settings).unwrap())
}

pub(in crate::kafka) fn settings(
    bootstrap: &str,
    timeout: Duration,
    properties: &[(&str, &str)],
) -> ClientSettings {
    let properties: Vec<_> = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let settings = ClientSettings::new(Some(bootstrap), None, &properties).unwrap();
    settings.with_timeout(Some(timeout))
}
