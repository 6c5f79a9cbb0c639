//! Transactions: records and the positions they came from, committed together or not at all.
//!
//! ```text
//! init_transactions   ends what a former process of this id left open, and locks that process out
//! send ... send       the first begins a transaction
//! flush               every record has its offset
//! commit              positions and records, all of them
//! abort               instead, after an error: as if nothing had been sent
//! ```

#![expect(
    unsafe_code,
    reason = "transactions are in librdkafka's C interface, and their errors say more there"
)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kbk_format::repo::OffsetAndMetadata;
use rdkafka_sys as sys;

use super::admin::PartitionList;
use super::client::{Client, Failure, millis};
use super::error::{Code, KafkaError};
use super::settings::ClientSettings;
use super::sink::Producer;

/// How long a transaction may be open before its coordinator ends it. So long do readers of the target wait for a restore
/// that was killed and is not gone on with.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the cluster may take for one step of a transaction.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// A position to commit with a transaction, for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The topic, which exists in the cluster.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What is committed for it.
    pub committed: OffsetAndMetadata,
}

/// Positions to commit together, by the group that they are committed for.
pub type Positions = BTreeMap<String, Vec<OffsetCommit>>;

/// Why a transaction could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// It has to be aborted, and may then be done again.
    #[error(transparent)]
    Again(KafkaError),
    /// The same, and by another producer: this one is of no more use.
    #[error(transparent)]
    Lost(KafkaError),
    /// It would fail again.
    #[error(transparent)]
    Failed(#[from] KafkaError),
}

impl From<TransactionError> for KafkaError {
    fn from(error: TransactionError) -> KafkaError {
        match error {
            TransactionError::Again(error)
            | TransactionError::Lost(error)
            | TransactionError::Failed(error) => error,
        }
    }
}

impl Producer {
    /// Takes over the transactional id: what another process left open under it is ended, one way or the other, and that
    /// process writes no more. Once, before anything is sent.
    pub fn init_transactions(&mut self) -> Result<(), KafkaError> {
        let id = self.options.transactional_id.clone().unwrap_or_default();
        let doing = format!("begin transactions as {id}");
        self.repeatedly(&doing, |client| {
            // SAFETY: the client is live.
            Some(unsafe { sys::rd_kafka_init_transactions(client, millis(Client::PATIENCE)) })
        })
        .map_err(|error| {
            KafkaError::from(error).needing(&format!("WRITE on TRANSACTIONAL_ID {id}"))
        })
    }

    /// Begins a transaction: records are sent in one only.
    pub fn begin(&mut self) -> Result<(), TransactionError> {
        self.repeatedly("begin a transaction", |client| {
            // SAFETY: the client is live.
            Some(unsafe { sys::rd_kafka_begin_transaction(client) })
        })
    }

    /// Commits the records and, as their groups', the positions.
    pub fn commit(&mut self, positions: &Positions) -> Result<(), TransactionError> {
        for (group, positions) in positions {
            self.send_positions(group, positions)?;
        }
        self.repeatedly("commit a transaction", |client| {
            // SAFETY: the client is live. It serves delivery reports itself; all have been.
            Some(unsafe { sys::rd_kafka_commit_transaction(client, FOR_AS_LONG_AS_IT_TAKES) })
        })
    }

    /// Whether such positions could be committed: a transaction that is aborted.
    pub fn try_commit(&mut self, positions: &Positions) -> Result<(), KafkaError> {
        let sent = self.begin().map_err(KafkaError::from).and_then(|()| {
            positions.iter().try_for_each(|(group, positions)| {
                self.send_positions(group, positions).map_err(|error| {
                    KafkaError::from(error)
                        .needing(&format!("READ on GROUP {group} and on the topics"))
                })
            })
        });
        let aborted = self.abort();
        sent?;
        aborted
    }

    fn send_positions(
        &mut self,
        group: &str,
        positions: &[OffsetCommit],
    ) -> Result<(), TransactionError> {
        if positions.is_empty() {
            return Ok(());
        }
        let doing = format!("commit positions of group {group}");
        let list = PartitionList::positions(positions).map_err(|cause| KafkaError::Other {
            doing: doing.clone(),
            cause,
        })?;
        let group = Group::new(group)?;
        let question = Arc::new(Question { list, group });
        let patience = self.options.coordinator_patience;
        let sent = self.repeatedly(&doing, |client| question.send(client, patience));
        self.is_lost = matches!(sent, Err(TransactionError::Lost(_)));
        sent
    }

    /// Takes everything back that was sent since [`begin`](Self::begin). After this another transaction may be tried.
    pub fn abort(&mut self) -> Result<(), KafkaError> {
        if self.is_lost {
            return Ok(());
        }
        let aborted = self.repeatedly("abort a transaction", |client| {
            // SAFETY: the client is live.
            Some(unsafe { sys::rd_kafka_abort_transaction(client, FOR_AS_LONG_AS_IT_TAKES) })
        });
        // What was purged is reported as failed; that is no failure of what comes next.
        let started = Instant::now();
        while self.outstanding() > 0 && started.elapsed() < PATIENCE {
            self.client.poll(PAUSE);
        }
        self.deliveries.borrow_mut().forget();
        aborted.map_err(KafkaError::from)
    }

    /// What an error of [`send`](Self::send) or [`flush`](Self::flush) means for the transaction.
    pub fn judge(&self, error: KafkaError) -> TransactionError {
        let refused = matches!(
            error,
            KafkaError::TimestampZero { .. }
                | KafkaError::RecordTooLarge { .. }
                | KafkaError::Authorization { .. }
                | KafkaError::UnknownTopic { .. }
                | KafkaError::Unreachable { .. }
        );
        if refused || self.deliveries.borrow().is_refusal() {
            TransactionError::Failed(error)
        } else {
            TransactionError::Again(error)
        }
    }

    /// Calls until it succeeds, or fails for another reason than that it takes long. `None` is a call that does not return.
    fn repeatedly(
        &mut self,
        doing: &str,
        call: impl Fn(*mut sys::rd_kafka_t) -> Option<*mut sys::rd_kafka_error_t>,
    ) -> Result<(), TransactionError> {
        let started = Instant::now();
        loop {
            let Some(error) = call(self.client.as_ptr()) else {
                return Err(TransactionError::Lost(KafkaError::Timeout {
                    doing: doing.to_owned(),
                    waited: started.elapsed(),
                    cause: self.client.events().cause(),
                }));
            };
            // SAFETY: what was just returned is null, or ours until `Failure` takes it over.
            let (retriable, abortable, failure) = unsafe {
                if error.is_null() {
                    self.client.events().answered();
                    return Ok(());
                }
                (
                    sys::rd_kafka_error_is_retriable(error) != 0,
                    sys::rd_kafka_error_txn_requires_abort(error) != 0,
                    Failure::of(error),
                )
            };
            let Some(Failure { code, text }) = failure else {
                return Ok(());
            };
            // Delivery reports, and why nobody answers. What they fail is told by the call itself.
            self.client.poll(Duration::ZERO);
            if retriable && started.elapsed() < PATIENCE {
                thread::sleep(PAUSE);
                continue;
            }
            let error = if retriable && self.client.events().down_for().is_some() {
                self.client.unreachable()
            } else {
                KafkaError::of(code, doing, None, &text)
            };
            return Err(
                if abortable && !code.refuses_records() && code != Code::GROUP_DENIED {
                    TransactionError::Again(error)
                } else {
                    TransactionError::Failed(error)
                },
            );
        }
    }
}

/// librdkafka's advice for commits and aborts: they go on in the background, and must not be taken for ended.
const FOR_AS_LONG_AS_IT_TAKES: i32 = -1;

/// What a group has committed for these partitions, in their order, once no transaction is open that would change it.
pub fn committed(
    settings: &ClientSettings,
    group: &str,
    partitions: &[(String, i32)],
) -> Result<Vec<Option<OffsetAndMetadata>>, KafkaError> {
    let doing = format!("read what group {group} has committed");
    let client = Client::consumer(&settings.member_of(group))?;
    client.connect(Client::PATIENCE)?;
    let list = PartitionList::new(partitions, 0).map_err(|cause| KafkaError::Other {
        doing: doing.clone(),
        cause,
    })?;
    let started = Instant::now();
    loop {
        // SAFETY: client and list are live; the answer is written into the list.
        let asked = Code(unsafe {
            sys::rd_kafka_committed(client.as_ptr(), list.0.as_ptr(), millis(Client::PATIENCE))
        } as i32);
        let refused = asked.ok().err().or_else(|| list.first_error());
        match refused {
            None => return Ok(list.answered()),
            Some(code) if code.is_transient() && started.elapsed() < PATIENCE => {
                client.poll(Duration::ZERO);
                thread::sleep(PAUSE);
            }
            Some(code) => return Err(KafkaError::of(code, &doing, None, "")),
        }
    }
}

/// Positions on their way to the coordinator of a group.
///
/// librdkafka 2.12.1 waits for the answer without an end (`rd_kafka_txn_op_req0` with an `abs_timeout` of -1), and where a
/// broker goes away at that moment it can be that none comes, not when the broker is back either. So the call has a thread of
/// its own, and is given up when it takes too long. It runs no callbacks, so nothing else is touched by that thread.
struct Question {
    list: PartitionList,
    group: Group,
}

// SAFETY: librdkafka's objects are not bound to a thread, and nobody changes these.
unsafe impl Send for Question {}
// SAFETY: as above.
unsafe impl Sync for Question {}

impl Question {
    /// The answer, if it comes within `patience`.
    fn send(
        self: &Arc<Self>,
        client: *mut sys::rd_kafka_t,
        patience: Duration,
    ) -> Option<*mut sys::rd_kafka_error_t> {
        let question = Arc::clone(self);
        let address = client.expose_provenance();
        let (sender, answer) = mpsc::channel();
        let ask = move || {
            // SAFETY: the client lives until this returns: a producer with a lost call is never destroyed. List and group are
            // copied.
            let error = unsafe {
                sys::rd_kafka_send_offsets_to_transaction(
                    std::ptr::with_exposed_provenance_mut(address),
                    question.list.0.as_ptr(),
                    question.group.0.as_ptr(),
                    millis(TRANSACTION_TIMEOUT),
                )
            };
            // Nobody waits any more if this fails.
            let _ = sender.send(error.expose_provenance());
        };
        thread::spawn(ask);
        let error = answer.recv_timeout(patience).ok()?;
        Some(std::ptr::with_exposed_provenance_mut(error))
    }
}

/// A group that nobody is a member of, as transactions name it.
struct Group(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

impl Group {
    fn new(name: &str) -> Result<Group, KafkaError> {
        let c_name = CString::new(name).map_err(|error| KafkaError::Other {
            doing: format!("use group {name:?}"),
            cause: error.to_string(),
        })?;
        // SAFETY: the name is a C string, which is copied.
        let group = unsafe { sys::rd_kafka_consumer_group_metadata_new(c_name.as_ptr()) };
        Ok(Group(
            NonNull::new(group).expect("the constructor never returns null"),
        ))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the group is ours.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}
