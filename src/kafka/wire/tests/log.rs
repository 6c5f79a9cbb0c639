//! Brokers that keep what is produced, with Kafka's rules about sequence numbers, and faults as a test says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use kbk_format::batch::{BatchDecoder, RecordBatches};

use super::support::{
    ADD_OFFSETS, ADD_PARTITIONS, END_TXN, FIND_COORDINATOR, FakeBroker, INIT_PRODUCER_ID, METADATA,
    PRODUCE, Reply, Request, TOPIC, TXN_OFFSET_COMMIT, metadata, own_port, text, versions,
};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The connection ends, and nothing was done.
    LostBefore,
    /// It is done, and the connection ends without an answer.
    LostAfter,
    /// An error of each partition, and nothing was done.
    Error(i16),
    /// It is done, and answered with an error.
    ErrorAfter(i16),
    /// Done by a broker that no longer leads.
    Moved,
    /// Done, and the broker asks to be sent nothing for this many milliseconds.
    Throttled(i32),
}

/// A batch in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) offset: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
    pub(super) transactional: bool,
    pub(super) values: Vec<Vec<u8>>,
    pub(super) timestamps: Vec<i64>,
}

/// What all brokers of the cluster share.
#[derive(Default)]
pub(super) struct Log {
    pub(super) partitions: BTreeMap<i32, Vec<Appended>>,
    /// Who leads each partition.
    pub(super) leaders: Vec<i32>,
    pub(super) epoch: i16,
    leader_epoch: i32,
    /// Partitions of the open transaction.
    members: Vec<i32>,
    pub(super) ended: Vec<bool>,
    pub(super) offsets: Vec<(String, i64)>,
    pub(super) rejected: Vec<String>,
}

/// Decides about the nth request of a kind.
pub(super) type Faults = Box<dyn Fn(i16, usize) -> Fault + Send + Sync>;

pub(super) struct Cluster {
    pub(super) brokers: Vec<FakeBroker>,
    pub(super) log: Arc<Mutex<Log>>,
}

impl Cluster {
    /// Starts two brokers, and a topic of this many partitions.
    pub(super) async fn start(partitions: usize, faults: Faults) -> Cluster {
        let log = Arc::new(Mutex::new(Log {
            leaders: (0..partitions)
                .map(|number| 1 + i32::from(number % 2 == 1))
                .collect(),
            ..Log::default()
        }));
        let faults = Arc::new(faults);
        let counts = Arc::new(Mutex::new(BTreeMap::<i16, usize>::new()));
        let ports = [own_port(), own_port()];
        let mut brokers = Vec::new();
        for id in [1, 2] {
            let (log, faults, counts) =
                (Arc::clone(&log), Arc::clone(&faults), Arc::clone(&counts));
            let ports: Vec<_> = ports.iter().map(|(port, _)| Arc::clone(port)).collect();
            let answer = move |request: &Request| {
                let number = {
                    let mut counts = counts.lock().unwrap();
                    let count = counts.entry(request.api).or_default();
                    *count += 1;
                    *count - 1
                };
                let fault = faults(request.api, number);
                let ports: Vec<u16> = ports.iter().map(|port| port.load(Relaxed)).collect();
                log.lock().unwrap().answer(id, &ports, request, fault)
            };
            brokers.push(FakeBroker::start(answer).await);
        }
        for ((_, port), broker) in ports.iter().zip(&brokers) {
            port.store(broker.port, Relaxed);
        }
        Cluster { brokers, log }
    }

    pub(super) fn address(&self) -> String {
        self.brokers[0].address()
    }

    /// Returns how many requests of a kind all brokers had.
    pub(super) fn count(&self, api: i16) -> usize {
        self.brokers
            .iter()
            .map(|broker| broker.requests(api).len())
            .sum()
    }
}

/// Reads a request.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()).ok()?;
        Some(String::from_utf8(self.take(length).to_vec()).unwrap())
    }
}

impl Log {
    fn answer(&mut self, id: i32, ports: &[u16], request: &Request, fault: Fault) -> Reply {
        let error = match fault {
            Fault::LostBefore => return Reply::Last(Vec::new()),
            Fault::Error(code) => code,
            _ => 0,
        };
        let mut body = Vec::new();
        match request.api {
            METADATA => {
                let leaders: Vec<(i32, i32)> = self
                    .leaders
                    .iter()
                    .map(|leader| (*leader, self.leader_epoch))
                    .collect();
                return metadata(ports, &leaders);
            }
            PRODUCE => body = self.produce(id, &request.body, fault),
            FIND_COORDINATOR => {
                body.extend(0_i32.to_be_bytes());
                body.extend(error.to_be_bytes());
                body.extend((-1_i16).to_be_bytes());
                body.extend(1_i32.to_be_bytes());
                text(&mut body, "127.0.0.1");
                body.extend(i32::from(ports[0]).to_be_bytes());
            }
            INIT_PRODUCER_ID => {
                if error == 0 {
                    self.epoch += 1;
                    self.members.clear();
                }
                // Flexible: the header's tags first.
                body.push(0);
                body.extend(0_i32.to_be_bytes());
                body.extend(error.to_be_bytes());
                body.extend(4000_i64.to_be_bytes());
                body.extend(self.epoch.to_be_bytes());
                body.push(0);
            }
            ADD_PARTITIONS => {
                let mut input = Reader(&request.body);
                let _id = input.text();
                assert_eq!(input.i64(), 4000);
                let _epoch = input.i16();
                assert_eq!(input.i32(), 1);
                let _topic = input.text();
                let partitions: Vec<i32> = (0..input.i32()).map(|_| input.i32()).collect();
                if error == 0 {
                    self.members.extend(&partitions);
                }
                results(&mut body, &partitions, error);
            }
            ADD_OFFSETS | END_TXN => {
                if request.api == END_TXN && error == 0 {
                    self.ended.push(request.body.last() == Some(&1));
                    self.members.clear();
                }
                body.extend(0_i32.to_be_bytes());
                body.extend(error.to_be_bytes());
            }
            TXN_OFFSET_COMMIT => {
                let mut input = Reader(&request.body);
                let (_id, group) = (input.text(), input.text().unwrap());
                let (_producer, _epoch) = (input.i64(), input.i16());
                assert_eq!(input.i32(), 1);
                let _topic = input.text();
                assert_eq!(input.i32(), 1);
                let (number, offset) = (input.i32(), input.i64());
                if error == 0 {
                    self.offsets.push((group, offset));
                }
                results(&mut body, &[number], error);
            }
            _ => return versions(request),
        }
        match fault {
            Fault::LostAfter => Reply::Last(Vec::new()),
            _ => Reply::Body(body),
        }
    }

    /// Appends what a request brings, and returns the answer of version 8.
    fn produce(&mut self, id: i32, body: &[u8], fault: Fault) -> Vec<u8> {
        let mut input = Reader(body);
        let transactional = input.text().is_some();
        assert_eq!(input.i16(), -1, "acks=all");
        let _timeout = input.i32();
        assert_eq!(input.i32(), 1, "one topic");
        assert_eq!(input.text().as_deref(), Some(TOPIC));
        let count = input.i32();
        let mut answer = 1_i32.to_be_bytes().to_vec();
        text(&mut answer, TOPIC);
        answer.extend(count.to_be_bytes());
        for _ in 0..count {
            let number = input.i32();
            let length = usize::try_from(input.i32()).unwrap();
            let records = input.take(length);
            let leader = self.leaders[usize::try_from(number).unwrap()];
            let (error, offset) = match fault {
                Fault::Error(code) => (code, -1),
                _ if leader != id => (6, -1),
                _ if transactional && !self.members.contains(&number) => (48, -1),
                _ => self.append(number, records),
            };
            let error = match fault {
                Fault::ErrorAfter(code) if error == 0 => code,
                _ => error,
            };
            answer.extend(number.to_be_bytes());
            answer.extend(error.to_be_bytes());
            answer.extend([offset, -1, 0].iter().flat_map(|it| it.to_be_bytes()));
            answer.extend(0_i32.to_be_bytes());
            answer.extend((-1_i16).to_be_bytes());
        }
        if fault == Fault::Moved {
            self.leader_epoch += 1;
            for leader in &mut self.leaders {
                *leader = 3 - *leader;
            }
        }
        let throttle_ms = match fault {
            Fault::Throttled(throttle_ms) => throttle_ms,
            _ => 0,
        };
        answer.extend(throttle_ms.to_be_bytes());
        answer
    }

    /// Appends a batch by Kafka's rules; returns the error and the offset.
    fn append(&mut self, number: i32, records: &[u8]) -> (i16, i64) {
        let batches: Vec<_> = RecordBatches::new(records, 0).map(Result::unwrap).collect();
        let [batch] = &batches[..] else {
            self.rejected.push(format!("{} batches", batches.len()));
            return (87, -1);
        };
        if batch.check_crc().is_err() {
            return (2, -1);
        }
        let header = *batch.header();
        if let Some(reason) = header.not_producible() {
            self.rejected.push(reason.to_string());
            return (87, -1);
        }
        let producer = header.producer;
        assert_eq!(producer.id, 4000);
        if producer.epoch < self.epoch {
            return (47, -1);
        }
        let log = self.partitions.entry(number).or_default();
        let mut recent: VecDeque<&Appended> = log.iter().rev().take(5).collect();
        recent.retain(|it| it.epoch == producer.epoch);
        if let Some(same) = recent
            .iter()
            .find(|it| it.sequence == producer.base_sequence)
        {
            return (0, same.offset);
        }
        let next = recent.front().map_or(0, |last| {
            last.sequence + i32::try_from(last.values.len()).unwrap()
        });
        if producer.base_sequence != next {
            return (45, -1);
        }
        let offset = log.last().map_or(0, |last| {
            last.offset + i64::try_from(last.values.len()).unwrap()
        });
        let mut decoder = BatchDecoder::new();
        let (mut values, mut timestamps) = (Vec::new(), Vec::new());
        for record in decoder.decode(batch).unwrap() {
            values.push(record.value.unwrap_or_default().to_vec());
            timestamps.push(record.timestamp);
        }
        log.push(Appended {
            offset,
            epoch: producer.epoch,
            sequence: producer.base_sequence,
            transactional: header.attributes.is_transactional(),
            values,
            timestamps,
        });
        (0, offset)
    }
}

fn results(body: &mut Vec<u8>, partitions: &[i32], error: i16) {
    body.extend(0_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    text(body, TOPIC);
    body.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
    for partition in partitions {
        body.extend(partition.to_be_bytes());
        body.extend(error.to_be_bytes());
    }
}
