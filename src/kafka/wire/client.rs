//! The client: brokers, the connections to them for small requests, and the table of leaders.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep_until};

use super::address::Address;
use super::backoff::Backoff;
use super::connection::{Connection, Limits};
use super::coordinators::Coordinators;
use super::deadline::Deadline;
use super::error::{BrokerName, WireError};
use super::leaders::{ClusterMetadata, Leader, Leaders};
use super::pool::FramePool;
use super::protocol::{Api, ErrorCode, MetadataRequest, MetadataResponse, Request};
use super::settings::WireSettings;
use crate::kafka::error::KafkaError;
use crate::kafka::outage;
use crate::kafka::partition::TopicPartition;

/// Starts a runtime for a client whose caller blocks on its own thread.
///
/// # Errors
///
/// If the operating system refuses what it needs.
pub fn runtime() -> Result<Runtime, KafkaError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| KafkaError::Other {
        doing: "start the Kafka client".to_owned(),
        cause: error.to_string(),
    })
}

/// A client of one cluster. Clones share its connections.
#[derive(Clone)]
pub struct WireClient(Arc<Shared>);

struct Shared {
    settings: WireSettings,
    leaders: Mutex<Leaders>,
    /// Who last described the cluster.
    answered: Mutex<Option<Peer>>,
    coordinators: Coordinators,
    /// The version of transactions that the cluster uses, by the broker that was connected to last.
    transaction_version: AtomicI16,
    /// Why the last request came to no broker; `None` where one has answered it.
    trouble: Mutex<Option<String>>,
    /// Until when brokers have asked to be sent nothing, and the last one to.
    throttled: Mutex<Option<(Instant, BrokerName)>>,
    /// Whom the last request was sent to.
    asked: Mutex<Option<(BrokerName, Api)>>,
    /// One connection per broker, opened when it is first needed.
    control: Mutex<HashMap<Peer, Arc<AsyncMutex<Option<Connection>>>>>,
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Peer {
    /// An address in `bootstrap.servers`.
    Bootstrap(Arc<Address>),
    /// A broker, by its number.
    Broker(i32),
}

/// What a response to a small request may take. Metadata of 200,000 partitions are 20 MB.
const CONTROL: Limits = Limits {
    expected_bytes: 0,
    most_bytes: 256 << 20,
};

/// How long one attempt of a small request may take: the deadline covers all of them, and another broker may answer.
pub(super) const ATTEMPT: Duration = Duration::from_secs(10);

impl WireClient {
    /// Creates a client, which connects when it is first asked for something.
    #[must_use]
    pub fn new(settings: WireSettings) -> WireClient {
        WireClient(Arc::new(Shared {
            settings,
            leaders: Mutex::default(),
            answered: Mutex::default(),
            coordinators: Coordinators::default(),
            transaction_version: AtomicI16::new(0),
            trouble: Mutex::default(),
            throttled: Mutex::default(),
            asked: Mutex::default(),
            control: Mutex::default(),
        }))
    }

    pub(super) fn settings(&self) -> &WireSettings {
        &self.0.settings
    }

    fn leaders(&self) -> MutexGuard<'_, Leaders> {
        self.0
            .leaders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(
            self.settings().first_backoff,
            self.settings().longest_backoff,
        )
    }

    /// Describes the cluster, and some topics or all of them. A topic that does not exist, or may not be described, has an error of its own.
    ///
    /// # Errors
    ///
    /// Where no broker answers within the time of a request, the last failure.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<ClusterMetadata, WireError> {
        let deadline = Deadline::after(self.settings().request_timeout);
        self.metadata_by(topics, deadline).await
    }

    pub(super) async fn metadata_by(
        &self,
        topics: Option<&[&str]>,
        deadline: Deadline,
    ) -> Result<ClusterMetadata, WireError> {
        let request = MetadataRequest { topics };
        let convert = |response: MetadataResponse<'_>| Ok(ClusterMetadata::of(&response));
        let metadata = self.ask_any(&request, deadline, convert).await?;
        self.leaders().learn(&metadata);
        Ok(metadata)
    }

    /// Sends a request that any broker can answer, to one after the other until one does.
    pub(super) async fn ask_any<R: Request, T>(
        &self,
        request: &R,
        deadline: Deadline,
        convert: impl Fn(R::Response<'_>) -> Result<T, ErrorCode>,
    ) -> Result<T, WireError> {
        let mut backoff = self.backoff();
        loop {
            let mut last = None;
            for peer in self.peers() {
                let answered = self.ask(peer.clone(), request, deadline, &convert).await;
                let error = match answered {
                    Ok(Ok(answer)) => {
                        *self.answered() = Some(peer);
                        return Ok(answer);
                    }
                    Ok(Err(code)) => WireError::Broker {
                        broker: self.name(&peer)?,
                        request: R::API,
                        code,
                    },
                    Err(error) => error,
                };
                match error.is_transient() {
                    true => last = Some(error),
                    false => return Err(error),
                }
            }
            let pause = backoff.pause();
            match last {
                Some(error) if deadline.left() <= pause => return Err(error),
                _ => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Returns everyone who can describe the cluster, in the order in which to ask: who answered last, brokers, then the addresses that
    /// were given.
    fn peers(&self) -> Vec<Peer> {
        let answered = self.answered().clone();
        let brokers: Vec<Peer> = self.leaders().brokers().map(Peer::Broker).collect();
        let bootstrap = self.settings().bootstrap.iter().cloned();
        let bootstrap = bootstrap.map(Peer::Bootstrap);
        let others = brokers.into_iter().chain(bootstrap);
        let others = others.filter(|peer| Some(peer) != answered.as_ref());
        answered.clone().into_iter().chain(others).collect()
    }

    /// Asks another broker for metadata next time: the one that answered last may not know a topic yet that others know.
    pub(super) fn ask_another(&self) {
        let brokers: Vec<i32> = self.leaders().brokers().collect();
        let mut answered = self.answered();
        let next = match &*answered {
            Some(Peer::Broker(last)) => brokers.iter().find(|id| *id > last),
            _ => None,
        };
        if let Some(id) = next.or(brokers.first()) {
            *answered = Some(Peer::Broker(*id));
        }
    }

    fn answered(&self) -> MutexGuard<'_, Option<Peer>> {
        self.0
            .answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, peer: &Peer) -> Result<BrokerName, WireError> {
        match peer {
            Peer::Bootstrap(address) => Ok(BrokerName {
                id: None,
                address: Arc::clone(address),
            }),
            Peer::Broker(id) => {
                let address = self.leaders().address(*id);
                let address = address.ok_or(WireError::UnknownBroker { id: *id })?;
                Ok(BrokerName {
                    id: Some(*id),
                    address,
                })
            }
        }
    }

    pub(super) fn broker_name(&self, broker: i32) -> Result<BrokerName, WireError> {
        self.name(&Peer::Broker(broker))
    }

    /// Sends a request to a broker that the cluster has named.
    pub(super) async fn ask_broker<R: Request, T>(
        &self,
        broker: i32,
        request: &R,
        deadline: Deadline,
        convert: impl Fn(R::Response<'_>) -> T,
    ) -> Result<T, WireError> {
        self.ask(Peer::Broker(broker), request, deadline, convert)
            .await
    }

    /// Sends a request on the connection to a peer, which is opened where there is none. A broker closes idle connections, so a request
    /// that finds one closed is sent again on a new one.
    async fn ask<R: Request, T>(
        &self,
        peer: Peer,
        request: &R,
        deadline: Deadline,
        convert: impl Fn(R::Response<'_>) -> T,
    ) -> Result<T, WireError> {
        let asked = self.ask_peer(peer, request, deadline, convert).await;
        self.note(asked.as_ref().err());
        asked
    }

    async fn ask_peer<R: Request, T>(
        &self,
        peer: Peer,
        request: &R,
        deadline: Deadline,
        convert: impl Fn(R::Response<'_>) -> T,
    ) -> Result<T, WireError> {
        let attempt = self.settings().attempt_timeout.min(ATTEMPT);
        let deadline = deadline.part(attempt);
        let slot = {
            let mut control = self
                .0
                .control
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(control.entry(peer.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        let name = self.name(&peer)?;
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.clone(), R::API));
        let mut deadline = deadline;
        if let Some(until) = slot.as_ref().and_then(Connection::paused_until) {
            // A new connection would only pass over what the broker asked for, and its own time is not that of an answer.
            sleep_until(until).await;
            deadline = Deadline::after(attempt);
        }
        // Taken out, so that a call that is cancelled leaves no connection with half a frame.
        let idle = slot.take().filter(|idle| *idle.broker() == name);
        if let Some(mut connection) = idle {
            match connection.call(request, deadline, &convert).await {
                Err(WireError::Disconnected { .. }) => {}
                // Nothing was sent.
                Err(error @ WireError::Throttled { .. }) => {
                    *slot = Some(connection);
                    return Err(error);
                }
                Err(error) => return Err(error),
                Ok(converted) => {
                    self.note_throttle(&connection);
                    *slot = Some(connection);
                    return Ok(converted);
                }
            }
        }
        let pool = FramePool::new(0, 0);
        let opened = Connection::open(name, self.settings(), pool, CONTROL, deadline);
        let mut connection = opened.await?;
        let transaction_version = connection.transaction_version();
        self.0
            .transaction_version
            .store(transaction_version, Ordering::Relaxed);
        let converted = connection.call(request, deadline, convert).await?;
        self.note_throttle(&connection);
        *slot = Some(connection);
        Ok(converted)
    }

    /// Opens a connection to a broker for one purpose alone.
    pub(super) async fn connect(
        &self,
        broker: i32,
        pool: FramePool,
        limits: Limits,
        deadline: Deadline,
    ) -> Result<Connection, WireError> {
        let name = self.name(&Peer::Broker(broker))?;
        Connection::open(name, self.settings(), pool, limits, deadline).await
    }

    /// Returns whether all brokers that can be reached answer requests of this number in any version.
    ///
    /// # Errors
    ///
    /// Where none can be reached, the last failure.
    pub(in crate::kafka) async fn knows_request(&self, key: i16) -> Result<bool, WireError> {
        let deadline = Deadline::after(self.settings().request_timeout.min(ATTEMPT));
        self.metadata_by(Some(&[]), deadline).await?;
        let brokers: Vec<i32> = self.leaders().brokers().collect();
        let asked = brokers.into_iter().map(|broker| async move {
            let pool = FramePool::new(0, 0);
            let connected = self.connect(broker, pool, CONTROL, deadline).await;
            connected.map(|connection| connection.knows_request(key))
        });
        let mut known = None;
        for answer in join_all(asked).await {
            match (answer, &known) {
                (Ok(false), _) => return Ok(false),
                (Err(error), None) => known = Some(Err(error)),
                (Err(_), Some(_)) => {}
                (Ok(true), _) => known = Some(Ok(true)),
            }
        }
        known.unwrap_or(Ok(false))
    }

    /// Notes for how long a broker asks to be sent nothing, which is no silence of the cluster.
    pub(super) fn note_throttle(&self, connection: &Connection) {
        let Some(until) = connection.paused_until() else {
            return;
        };
        let mut throttled = self.throttled();
        if throttled.as_ref().is_none_or(|(before, _)| *before < until) {
            *throttled = Some((until, connection.broker().clone()));
        }
        drop(throttled);
        let wait = until.saturating_duration_since(Instant::now());
        outage::throttled(&connection.broker().to_string(), wait);
    }

    fn throttled(&self) -> MutexGuard<'_, Option<(Instant, BrokerName)>> {
        let throttled = self.0.throttled.lock();
        throttled.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the broker that asks to be sent nothing now, and until when, where one does.
    pub(super) fn throttle(&self) -> Option<(Instant, BrokerName)> {
        let throttled = self.throttled().clone();
        throttled.filter(|(until, _)| *until > Instant::now())
    }

    /// For how long no broker has answered since then, while none asked to be sent nothing.
    pub(super) fn silence_since(&self, since: Instant) -> Duration {
        let throttled = self.throttled().as_ref().map(|(until, _)| *until);
        let since = throttled.map_or(since, |until| until.max(since));
        Instant::now().saturating_duration_since(since)
    }

    /// Notes whether a request was answered, by an error or not.
    pub(super) fn note(&self, failure: Option<&WireError>) {
        let cause = match failure {
            None => None,
            Some(WireError::Connect { broker, cause }) => Some(format!("{broker}: {cause}")),
            Some(WireError::Token(failure)) => Some(failure.to_string()),
            Some(WireError::Disconnected { broker, cause, .. }) => {
                Some(format!("{broker} closed the connection: {cause}"))
            }
            Some(WireError::Timeout {
                broker, request, ..
            }) => Some(format!("{broker} does not answer {}", request.name())),
            Some(_) => return,
        };
        *self
            .0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = cause;
    }

    /// Returns why the last request came to no broker; `None` where one has answered it.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.0.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says who has not answered the last request.
    pub(super) fn silence(&self) -> String {
        let asked = self.0.asked.lock();
        let asked = asked.unwrap_or_else(PoisonError::into_inner);
        match &*asked {
            Some((broker, request)) => format!("{broker} does not answer {}", request.name()),
            None => "no broker answers".to_owned(),
        }
    }

    /// Returns the version of transactions that the cluster uses, once a broker has answered.
    pub(super) fn transaction_version(&self) -> i16 {
        self.0.transaction_version.load(Ordering::Relaxed)
    }

    pub(super) fn coordinators(&self) -> &Coordinators {
        &self.0.coordinators
    }

    /// Returns the leader of a partition as it is known; `None` where nobody has been asked.
    pub(super) fn leader(&self, partition: &TopicPartition) -> Option<Result<Leader, ErrorCode>> {
        self.leaders().of(partition)
    }

    /// Returns the name of the leader of a partition, where it is known.
    pub(super) fn leader_name(&self, partition: &TopicPartition) -> Option<BrokerName> {
        let leader = self.leader(partition)?.ok()?;
        self.broker_name(leader.broker).ok()
    }

    /// Notes that the leader of a partition may have changed.
    pub(super) fn forget_leader(&self, partition: &TopicPartition) {
        self.leaders().forget(partition);
    }
}
