//! Transactions: records and their source positions, committed together or not at all.
//!
//! ```text
//! init_transactions   ends the transaction that an earlier process left open under this id, and fences that process
//! begin, send ...     records of one transaction
//! flush               every record has its offset
//! commit              positions and records become visible together
//! abort               instead, after an error: as if nothing had been sent
//! ```

#![expect(
    unsafe_code,
    reason = "librdkafka's C interface tells retriable, abortable and fatal transaction errors apart"
)]

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kbk_format::repo::OffsetAndMetadata;
use rdkafka_sys as sys;

use super::admin::PartitionList;
use super::answers::Answers;
use super::client::{Client, Failure, millis};
use super::commit::{OffsetCommit, Positions, TransactionError};
use super::error::{Code, KafkaError};
use super::options::{SHORTEST_TRANSACTION_TIMEOUT, SinkOptions, TRANSACTION_TIMEOUT};
use super::partition::TopicPartition;
use super::permission::{AclOperation, Permission};
use super::producer::Producer;
use super::settings::ClientSettings;
use super::topic::Topic;

/// How long a call waits before it is looked at whether it may wait longer. Calls that time out continue in the background, and are
/// resumed by the next one.
const SLICE: Duration = Duration::from_millis(500);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

impl Producer {
    /// Opens a producer that writes in transactions, as long ones as the brokers allow up to a minute, or as the user
    /// has set; see [`Producer::init_transactions`].
    pub fn open_transactional(
        settings: &ClientSettings,
        options: SinkOptions,
    ) -> Result<Producer, KafkaError> {
        let given = settings.transaction_timeout();
        let mut timeout = given.unwrap_or(TRANSACTION_TIMEOUT);
        loop {
            let options = SinkOptions {
                transaction_timeout: timeout,
                ..options.clone()
            };
            let mut producer = Producer::open(settings, options)?;
            match producer.init_transactions() {
                Ok(()) => return Ok(producer),
                Err(KafkaError::TransactionTimeout { .. })
                    if given.is_none() && timeout > SHORTEST_TRANSACTION_TIMEOUT =>
                {
                    // Only a principal with DESCRIBE_CONFIGS on the cluster could ask for the limit.
                    timeout = (timeout / 2).max(SHORTEST_TRANSACTION_TIMEOUT);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How long a transaction may stay open before its coordinator aborts it.
    #[must_use]
    pub fn transaction_timeout(&self) -> Duration {
        self.options.transaction_timeout
    }

    /// Takes over the transactional id: completes or aborts the transaction that another process left open under it, and fences
    /// that process. Called once, before anything is sent.
    pub fn init_transactions(&mut self) -> Result<(), KafkaError> {
        let id = self.options.transactional_id.clone().unwrap_or_default();
        let doing = format!("begin transactions as {id}");
        self.until(&doing, Producer::lacks_coordinator, |client| {
            // SAFETY: the client is live.
            Some(unsafe { sys::rd_kafka_init_transactions(client, millis(SLICE)) })
        })
        .map_err(|error| KafkaError::from(error).needing(Permission::transactional_id(&id)))?;
        self.answered();
        self.client.events().recovered();
        Ok(())
    }

    /// Returns an error if the cluster answers and nevertheless has no coordinator for transactions: it cannot create their topic, or
    /// too few of its replicas are in sync. Brokers that are starting have none for a few seconds.
    fn lacks_coordinator(&mut self, code: Code) -> Option<KafkaError> {
        const STARTING: Duration = Duration::from_secs(10);
        const STATE_TOPIC: &str = "__transaction_state";
        let waited = self.waited();
        if waited < STARTING {
            return None;
        }
        let topic = Topic::new(&self.client, STATE_TOPIC).ok()?;
        let asked = topic.partitions(&self.client, SLICE);
        let cause = match asked {
            Err(Code::UNKNOWN_TOPIC | Code::LOCAL_UNKNOWN_TOPIC) => {
                format!("they have not created the topic {STATE_TOPIC}")
            }
            _ if code == Code::COORDINATOR_NOT_AVAILABLE => code.to_string(),
            _ => return None,
        };
        Some(KafkaError::NoCoordinator { waited, cause })
    }

    /// Begins a transaction. A transactional producer can send records only within one.
    pub fn begin(&mut self) -> Result<(), TransactionError> {
        // It sends no request, so the cluster owes no answer.
        let since = self.waiting_since;
        let begun = self.repeatedly("begin a transaction", |client| {
            // SAFETY: the client is live.
            Some(unsafe { sys::rd_kafka_begin_transaction(client) })
        });
        self.waiting_since = since;
        begun
    }

    /// Commits the records together with the positions of the groups.
    pub fn commit(&mut self, positions: &Positions) -> Result<(), TransactionError> {
        for (group, positions) in positions {
            self.send_positions(group, positions)?;
        }
        let committed = self.repeatedly("commit a transaction", |client| {
            // SAFETY: the client is live. The call serves delivery reports, of which none are outstanding after a flush.
            Some(unsafe { sys::rd_kafka_commit_transaction(client, millis(SLICE)) })
        });
        // The coordinator may have the request: only a resumed restore can find out.
        self.is_stuck |= is_timeout(&committed);
        committed?;
        self.answered();
        Ok(())
    }

    /// Checks that these positions could be committed, in a transaction that is then aborted.
    pub fn try_commit(&mut self, positions: &Positions) -> Result<(), KafkaError> {
        let sent = self.begin().map_err(KafkaError::from).and_then(|()| {
            positions.iter().try_for_each(|(group, positions)| {
                self.send_positions(group, positions).map_err(|error| {
                    KafkaError::from(error).needing(Permission::group(AclOperation::Read, group))
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
        let request = Arc::new(OffsetsRequest { list, group });
        let (timeout, patience) = (
            self.options.transaction_timeout,
            self.coordinator_patience(),
        );
        let stop = self.options.stop.clone();
        let sent = self.repeatedly(&doing, |client| {
            request.send(client, timeout, &|| stop.shorten(patience))
        });
        self.is_abandoned = matches!(sent, Err(TransactionError::Lost(_)));
        sent?;
        self.answered();
        Ok(())
    }

    /// How long a group coordinator may take to answer: longer than the transaction timeout, after which an answer is useless, since the
    /// transaction has been aborted by then.
    fn coordinator_patience(&self) -> Duration {
        const LONGER: Duration = Duration::from_secs(15);
        (self.options.transaction_timeout + LONGER).min(self.timeout)
    }

    /// Aborts the transaction: discards everything sent since [`begin`](Self::begin). Another one may follow.
    pub fn abort(&mut self) -> Result<(), KafkaError> {
        if self.is_abandoned || self.is_stuck {
            return Ok(());
        }
        let aborted = self.repeatedly("abort a transaction", |client| {
            // SAFETY: the client is live.
            Some(unsafe { sys::rd_kafka_abort_transaction(client, millis(SLICE)) })
        });
        self.is_stuck = is_timeout(&aborted);
        aborted?;
        // librdkafka reports purged records as failed: those reports must not count against the next transaction.
        while self.outstanding() > 0 && !self.has_waited_enough() {
            self.client.poll(PAUSE);
        }
        self.deliveries.borrow_mut().forget();
        self.answered();
        Ok(())
    }

    /// Decides what an error of [`send`](Self::send) or [`flush`](Self::flush) means for the transaction.
    pub fn judge(&self, error: KafkaError) -> TransactionError {
        let permanent = matches!(
            error,
            KafkaError::TimestampZero { .. }
                | KafkaError::RecordTooLarge { .. }
                | KafkaError::Authorization { .. }
                | KafkaError::UnknownTopic { .. }
                | KafkaError::Unreachable { .. }
                | KafkaError::Timeout { .. }
        );
        if permanent || self.deliveries.borrow().is_rejection() {
            TransactionError::Failed(error)
        } else if self.is_fenced() {
            TransactionError::Fenced(KafkaError::Fenced {
                doing: "write the records of a transaction".to_owned(),
                cause: error.to_string(),
            })
        } else {
            TransactionError::Again(error)
        }
    }

    /// Returns whether the brokers accept nothing more of this producer, because its transaction timed out or another producer has its
    /// transactional id. They do not say which.
    fn is_fenced(&self) -> bool {
        let mut text = [0; 1];
        // SAFETY: the client is live, and the text is of this length.
        let code = unsafe {
            sys::rd_kafka_fatal_error(self.client.as_ptr(), text.as_mut_ptr(), text.len())
        };
        Code(code as i32) == Code::FENCED
    }

    /// Repeats a call until it succeeds or fails with an error that is not retriable. `None` is a call that did not return.
    fn repeatedly(
        &mut self,
        doing: &str,
        call: impl Fn(*mut sys::rd_kafka_t) -> Option<*mut sys::rd_kafka_error_t>,
    ) -> Result<(), TransactionError> {
        self.until(doing, |_, _| None, call)
    }

    /// As [`repeatedly`](Self::repeatedly), unless `hopeless` finds a reason why the next attempt would fail as well.
    fn until(
        &mut self,
        doing: &str,
        hopeless: impl Fn(&mut Producer, Code) -> Option<KafkaError>,
        call: impl Fn(*mut sys::rd_kafka_t) -> Option<*mut sys::rd_kafka_error_t>,
    ) -> Result<(), TransactionError> {
        loop {
            // Starts the wait, and ends it below where the call must be repeated.
            let waited_enough = self.has_waited_enough();
            let Some(error) = call(self.client.as_ptr()) else {
                return Err(TransactionError::Lost(self.no_answer(doing)));
            };
            // SAFETY: what was just returned is null, or ours until `Failure` takes it over.
            let (retriable, abortable, failure) = unsafe {
                if error.is_null() {
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
            // Serves delivery reports and connection errors; the result of the call decides, not they.
            self.client.poll(Duration::ZERO);
            if retriable && !waited_enough {
                if let Some(error) = hopeless(self, code) {
                    return Err(TransactionError::Failed(error));
                }
                if code != Code::TIMED_OUT {
                    thread::sleep(PAUSE);
                }
                continue;
            }
            if self.is_fenced() {
                let (doing, cause) = (doing.to_owned(), code.explain(&text));
                return Err(TransactionError::Fenced(KafkaError::Fenced {
                    doing,
                    cause,
                }));
            }
            let error = match code {
                Code::TIMED_OUT => self.no_answer(doing),
                _ if retriable => KafkaError::Timeout {
                    doing: doing.to_owned(),
                    waited: self.waited(),
                    cause: code.explain(&text),
                },
                Code::INVALID_TRANSACTION_TIMEOUT => KafkaError::TransactionTimeout {
                    timeout: self.options.transaction_timeout,
                },
                _ => KafkaError::of(code, doing, None, &text),
            };
            return Err(
                if abortable && !code.rejects_records() && code != Code::GROUP_DENIED {
                    TransactionError::Again(error)
                } else {
                    TransactionError::Failed(error)
                },
            );
        }
    }
}

/// Whether a call has not ended in time.
fn is_timeout(result: &Result<(), TransactionError>) -> bool {
    matches!(
        result,
        Err(TransactionError::Failed(KafkaError::Timeout { .. }))
    )
}

/// Returns what a group has committed for each of these partitions, once no open transaction can change it any more.
pub fn committed(
    settings: &ClientSettings,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Answers<TopicPartition, Option<OffsetAndMetadata>>, KafkaError> {
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
        let error = asked.ok().err().or_else(|| list.first_error());
        match error {
            None => return Answers::complete(&doing, partitions, list.committed_offsets()),
            Some(code) if code.is_transient() && started.elapsed() < settings.timeout() => {
                client.poll(Duration::ZERO);
                thread::sleep(PAUSE);
            }
            Some(code) => return Err(KafkaError::of(code, &doing, None, "")),
        }
    }
}

/// Positions on their way to a group coordinator.
///
/// librdkafka 2.12.1 waits for the answer without a limit (`rd_kafka_txn_op_req0` with an `abs_timeout` of -1). If a broker goes
/// away at that moment, the answer may never come, not even once the broker is back. So the call runs on a thread of its own and is
/// abandoned when it takes too long. It runs no callbacks, so that thread touches nothing else.
struct OffsetsRequest {
    list: PartitionList,
    group: Group,
}

// SAFETY: librdkafka's objects are not bound to a thread, and these are not modified.
unsafe impl Send for OffsetsRequest {}
// SAFETY: as above.
unsafe impl Sync for OffsetsRequest {}

impl OffsetsRequest {
    /// Sends the request and returns the answer, if it arrives within `patience`, which is asked again while waiting.
    fn send(
        self: &Arc<Self>,
        client: *mut sys::rd_kafka_t,
        timeout: Duration,
        patience: &dyn Fn() -> Duration,
    ) -> Option<*mut sys::rd_kafka_error_t> {
        let request = Arc::clone(self);
        let address = client.expose_provenance();
        let (sender, answer) = mpsc::channel();
        let ask = move || {
            // SAFETY: the client lives until this call returns: a producer with an abandoned call is leaked. List and group are
            // copied.
            let error = unsafe {
                sys::rd_kafka_send_offsets_to_transaction(
                    std::ptr::with_exposed_provenance_mut(address),
                    request.list.0.as_ptr(),
                    request.group.0.as_ptr(),
                    millis(timeout),
                )
            };
            // Fails where the caller has stopped waiting.
            let _ = sender.send(error.expose_provenance());
        };
        thread::spawn(ask);
        let started = Instant::now();
        let error = loop {
            match answer.recv_timeout(SLICE.min(patience())) {
                Ok(error) => break error,
                Err(_) if started.elapsed() >= patience() => return None,
                Err(_) => {}
            }
        };
        Some(std::ptr::with_exposed_provenance_mut(error))
    }
}

/// The metadata of a group that this client is not a member of.
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
