//! The way of batches to one broker: a connection with several requests under way, and a task that serves it.
//!
//! The [`Producer`](super::producer::BatchProducer) decides what is sent, and how much may be under way; the lane only sends, and says what
//! became of each request. Its connection is made with the first request, and again with the first one after a failure, which all requests
//! under way share: nobody knows which of them the broker has received.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::batch::HEADER_LENGTH;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

use super::client::WireClient;
use super::connection::{Connection, Frame, Limits};
use super::deadline::Deadline;
use super::error::{BrokerName, WireError};
use super::pool::FramePool;
use super::protocol::{
    Api, ErrorCode, ProducePartition, ProduceRequest, ProduceTopic, ProducedPartition, TopicId,
};
use crate::kafka::partition::TopicPartition;

/// What a response may take: a broker answers 5,000 partitions with less than 1 MB.
const LIMITS: Limits = Limits {
    expected_bytes: 0,
    most_bytes: 64 << 20,
};

/// Batches for the partitions of one broker, in the order of topics.
#[derive(Debug)]
pub(super) struct Shipment {
    /// The id of the transactions that they belong to, and whether these follow KIP-890.
    pub(super) transaction: Option<(Arc<str>, bool)>,
    pub(super) parcels: Vec<Parcel>,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Parcel {
    /// The producer's number of the partition.
    pub(super) slot: usize,
    pub(super) partition: Arc<TopicPartition>,
    pub(super) topic_id: Option<TopicId>,
    pub(super) header: [u8; HEADER_LENGTH],
    /// Everything after the header.
    pub(super) records: Bytes,
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) broker: i32,
    /// Of each batch, in the order of the request.
    pub(super) outcomes: Vec<(usize, Outcome)>,
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// All replicas in sync have it, from this offset on; `None` where the broker does not know the offset any more.
    Appended(Option<i64>),
    /// The broker has answered with an error.
    Refused {
        error: WireError,
        code: ErrorCode,
        /// The number of the record that is to blame, where one is.
        record: Option<i32>,
        message: Option<String>,
    },
    /// Nobody knows.
    Unknown(WireError),
}

/// A request under way.
struct UnderWay {
    shipment: Shipment,
    deadline: Deadline,
}

/// Serves a lane until nobody sends anything more, and everything under way is answered.
pub(super) async fn serve(
    client: WireClient,
    broker: i32,
    mut shipments: UnboundedReceiver<Shipment>,
    receipts: UnboundedSender<Receipt>,
) {
    let mut lane = Lane {
        client,
        broker,
        connection: None,
        under_way: VecDeque::new(),
        receipts,
    };
    loop {
        let silent_until = lane.connection.as_ref().and_then(Connection::silent_until);
        // A session is renewed once nothing is under way.
        let must_drain = !lane.under_way.is_empty()
            && lane.connection.as_ref().is_some_and(Connection::must_renew);
        tokio::select! {
            biased;
            receipt = lane.receive(), if !lane.under_way.is_empty() => {
                if let Err(error) = receipt {
                    lane.fail(&error);
                }
            }
            () = sleep_until(silent_until.unwrap_or_else(Instant::now)), if silent_until.is_some() => {}
            shipment = shipments.recv(), if silent_until.is_none() && !must_drain => match shipment {
                Some(shipment) => {
                    if let Err(error) = lane.send(shipment).await {
                        lane.fail(&error);
                    }
                }
                None => return,
            }
        }
    }
}

struct Lane {
    client: WireClient,
    broker: i32,
    connection: Option<Connection>,
    under_way: VecDeque<UnderWay>,
    receipts: UnboundedSender<Receipt>,
}

impl Lane {
    async fn send(&mut self, shipment: Shipment) -> Result<(), WireError> {
        let attempt = self.client.settings().attempt_timeout;
        // First of all, so that a failure is one of this shipment, too.
        self.under_way.push_back(UnderWay {
            shipment,
            deadline: Deadline::after(attempt),
        });
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let pool = FramePool::new(1, 1 << 20);
                let deadline = Deadline::after(attempt);
                let connecting = self.client.connect(self.broker, pool, LIMITS, deadline);
                connecting.await?
            }
        };
        let Some(last) = self.under_way.back() else {
            return Ok(());
        };
        let request = request(&last.shipment, attempt.as_millis());
        connection.send(&request, Deadline::after(attempt)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Receives the response to the first request under way. It may be cancelled.
    async fn receive(&mut self) -> Result<(), WireError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let Some(first) = self.under_way.front() else {
            return Ok(());
        };
        let frame = connection.receive(first.deadline).await?;
        let outcomes = outcomes(connection, &frame, &first.shipment)?;
        self.under_way.pop_front();
        self.client.note(None);
        self.client.note_throttle(connection);
        // A broker answers one request after the other: the time of the next one begins now, or once the broker reads this connection again.
        if let Some(next) = self.under_way.front_mut() {
            let begins = connection.paused_until().unwrap_or_else(Instant::now);
            let attempt = self.client.settings().attempt_timeout;
            next.deadline = Deadline::from(begins, attempt);
        }
        self.report(outcomes);
        Ok(())
    }

    /// Drops the connection, and with it what is under way.
    fn fail(&mut self, error: &WireError) {
        self.connection = None;
        self.client.note(Some(error));
        for UnderWay { shipment, .. } in std::mem::take(&mut self.under_way) {
            let parcels = shipment.parcels.into_iter();
            let outcomes = parcels.map(|parcel| (parcel.slot, Outcome::Unknown(error.clone())));
            self.report(outcomes.collect());
        }
    }

    fn report(&self, outcomes: Vec<(usize, Outcome)>) {
        let broker = self.broker;
        // Fails where the producer is gone.
        let _ = self.receipts.send(Receipt { broker, outcomes });
    }
}

fn request(shipment: &Shipment, attempt_ms: u128) -> ProduceRequest<'_> {
    let topics = shipment
        .parcels
        .chunk_by(|a, b| a.partition.topic == b.partition.topic)
        .filter_map(|chunk| {
            let first = chunk.first()?;
            let partitions = chunk.iter().map(|parcel| ProducePartition {
                partition: parcel.partition.partition.get(),
                header: &parcel.header,
                records: &parcel.records,
            });
            Some(ProduceTopic {
                name: &first.partition.topic,
                id: first.topic_id.unwrap_or_default(),
                partitions: partitions.collect(),
            })
        });
    ProduceRequest {
        transactional_id: shipment.transaction.as_ref().map(|(id, _)| &**id),
        transaction_v2: shipment.transaction.as_ref().is_some_and(|(_, v2)| *v2),
        // The broker gives replicas up before the client gives the broker up.
        timeout_ms: i32::try_from(attempt_ms * 9 / 10).unwrap_or(i32::MAX),
        topics: topics.collect(),
    }
}

fn outcomes(
    connection: &mut Connection,
    frame: &Frame,
    shipment: &Shipment,
) -> Result<Vec<(usize, Outcome)>, WireError> {
    let response = connection.decode::<ProduceRequest<'_>>(frame)?;
    let answers = &response.partitions;
    let mut outcomes = Vec::with_capacity(shipment.parcels.len());
    // Brokers answer topic by topic, in an order of their own.
    let mut next = 0;
    for parcel in &shipment.parcels {
        let mut places = (next..answers.len()).chain(0..next);
        let place = places.find(|place| answers.get(*place).is_some_and(|it| is_about(it, parcel)));
        let outcome = match place.and_then(|place| answers.get(place)) {
            Some(answer) => outcome(answer, &frame.broker, parcel),
            None => Outcome::Unknown(WireError::Missing {
                broker: frame.broker.clone(),
                request: Api::Produce,
                partition: (*parcel.partition).clone(),
            }),
        };
        next = place.map_or(next, |place| place + 1);
        outcomes.push((parcel.slot, outcome));
    }
    Ok(outcomes)
}

fn is_about(answer: &ProducedPartition<'_>, parcel: &Parcel) -> bool {
    let is_topic = match answer.topic {
        "" => parcel.topic_id == Some(answer.topic_id),
        name => name == parcel.partition.topic,
    };
    is_topic && answer.partition == parcel.partition.partition.get()
}

fn outcome(answer: &ProducedPartition<'_>, broker: &BrokerName, parcel: &Parcel) -> Outcome {
    match answer.error {
        ErrorCode::NONE => {
            Outcome::Appended(Some(answer.base_offset).filter(|offset| *offset >= 0))
        }
        // It is in the log, but not among the last batches of the producer, whose offsets the leader keeps.
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Outcome::Appended(None),
        code => Outcome::Refused {
            error: WireError::Partition {
                broker: broker.clone(),
                request: Api::Produce,
                subject: parcel.partition.to_string(),
                code,
            },
            code,
            record: answer.first_refused,
            message: answer.error_message.map(str::to_owned),
        },
    }
}
