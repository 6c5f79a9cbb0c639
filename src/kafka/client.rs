//! Owned librdkafka clients and their configuration: failures are kept for error messages, and log lines are for `-vv` alone.

#![expect(
    unsafe_code,
    reason = "owns librdkafka's handles and receives its callbacks"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rdkafka_sys as sys;
use sys::rd_kafka_conf_res_t as ConfRes;
use sys::rd_kafka_type_t as Kind;

use super::cause::Cause;
use super::error::{Code, KafkaError};
use super::events::{Events, SURELY_DOWN, Statistics};
use super::oidc::{self, Token, TokenSource};

/// librdkafka properties by name, and where tokens come from; its `Debug` hides secrets.
#[derive(Clone, Default)]
pub(super) struct ClientConfig {
    pub(super) properties: BTreeMap<String, String>,
    /// Where the properties ask for tokens from an endpoint. Clones share it.
    pub(super) tokens: Option<Arc<TokenSource>>,
}

impl ClientConfig {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.properties.insert(key.to_owned(), value.into());
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.properties
                    .iter()
                    .map(|(key, value)| (key, if is_secret(key) { "***" } else { value })),
            )
            .finish()
    }
}

/// Whether the value of a property must not be shown. Broad on purpose: hiding a path by mistake does no harm.
pub(super) fn is_secret(key: &str) -> bool {
    const MARKS: [&str; 9] = [
        "password",
        "passphrase",
        "secret",
        "jaas",
        "token",
        ".pem",
        "oauthbearer.config",
        "credential",
        "username",
    ];
    MARKS.iter().any(|mark| key.contains(mark))
}

/// Why librdkafka rejected a property.
#[derive(Debug)]
pub(super) enum ConfError {
    /// No property has this name.
    Unknown,
    /// The property exists, and the value is invalid.
    Invalid(String),
}

/// librdkafka's own configuration object.
pub(super) struct NativeConf(NonNull<sys::rd_kafka_conf_t>);

impl NativeConf {
    pub(super) fn new() -> NativeConf {
        // SAFETY: a plain constructor.
        let conf = unsafe { sys::rd_kafka_conf_new() };
        NativeConf(NonNull::new(conf).expect("rd_kafka_conf_new never returns null"))
    }

    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), ConfError> {
        let key = CString::new(key).map_err(|_| ConfError::Unknown)?;
        let value = CString::new(value)
            .map_err(|_| ConfError::Invalid("the value contains a NUL character".to_owned()))?;
        let mut reason = Reason::new();
        // SAFETY: all pointers are to live C strings; the buffer's size is given.
        let result = unsafe {
            sys::rd_kafka_conf_set(
                self.0.as_ptr(),
                key.as_ptr(),
                value.as_ptr(),
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        match result {
            ConfRes::RD_KAFKA_CONF_OK => Ok(()),
            ConfRes::RD_KAFKA_CONF_UNKNOWN => Err(ConfError::Unknown),
            ConfRes::RD_KAFKA_CONF_INVALID => Err(ConfError::Invalid(reason.to_string())),
        }
    }

    /// Lists the names of all properties that have a default value, which is nearly all of them.
    pub(super) fn names(&self) -> Vec<String> {
        let mut count = 0;
        // SAFETY: the dump is an array of `count` C strings, names and values in turn, freed below.
        unsafe {
            let dump = sys::rd_kafka_conf_dump(self.0.as_ptr(), &mut count);
            let names = (0..count)
                .step_by(2)
                .map(|index| {
                    CStr::from_ptr(*dump.add(index))
                        .to_string_lossy()
                        .into_owned()
                })
                .collect();
            sys::rd_kafka_conf_dump_free(dump, count);
            names
        }
    }
}

impl Drop for NativeConf {
    fn drop(&mut self) {
        // SAFETY: ours; `Client::new` forgets a configuration that `rd_kafka_new` has taken over.
        unsafe { sys::rd_kafka_conf_destroy(self.0.as_ptr()) };
    }
}

/// A buffer into which librdkafka writes a reason.
pub(super) struct Reason([c_char; Reason::SIZE]);

impl Reason {
    pub(super) const SIZE: usize = 512;

    pub(super) fn new() -> Reason {
        Reason([0; Reason::SIZE])
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut c_char {
        self.0.as_mut_ptr()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(c_char::cast_unsigned);
        let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
        f.write_str(&text.to_string_lossy())
    }
}

/// The callback for delivery reports; see [`Client::producer`].
pub(super) type DeliveryReport =
    unsafe extern "C" fn(*mut sys::rd_kafka_t, *const sys::rd_kafka_message_t, *mut c_void);

/// The state that callbacks reach through librdkafka's opaque pointer.
#[derive(Default)]
struct Opaque {
    events: Events,
    /// The state that [`Client::producer`] was given for its delivery reports.
    delivery: Option<NonNull<c_void>>,
    /// Where tokens come from, unless librdkafka makes them itself.
    tokens: Option<Arc<TokenSource>>,
}

/// A running librdkafka client.
pub(super) struct Client {
    native: NonNull<sys::rd_kafka_t>,
    /// Shared with the callbacks, so it is freed after the client is destroyed.
    opaque: Box<Opaque>,
    addresses: String,
    /// `sasl.mechanism`, for errors.
    mechanism: Option<String>,
}

// SAFETY: librdkafka's handle may be used from any thread; `delivery` is only handed back to the producer's own
// callback, which runs inside `poll` on the thread that owns the producer.
unsafe impl Send for Client {}

impl Client {
    /// How long a cluster may take to answer; `connect` then fails within the ten seconds that its callers promise.
    pub(super) const PATIENCE: Duration = Duration::from_secs(9);

    /// Creates a client that reads and sends requests. It joins no group, and needs no permission on any.
    pub(super) fn consumer(config: &ClientConfig) -> Result<Client, KafkaError> {
        Client::new(Kind::RD_KAFKA_CONSUMER, config, None)
    }

    /// Creates a client that writes; `report` is called with `state` from within [`Client::poll`] for every record.
    ///
    /// # Safety
    /// `state` is valid until the client is dropped, and of the type that `report` expects.
    pub(super) unsafe fn producer(
        config: &ClientConfig,
        report: DeliveryReport,
        state: NonNull<c_void>,
    ) -> Result<Client, KafkaError> {
        Client::new(Kind::RD_KAFKA_PRODUCER, config, Some((report, state)))
    }

    fn new(
        kind: Kind,
        config: &ClientConfig,
        delivery: Option<(DeliveryReport, NonNull<c_void>)>,
    ) -> Result<Client, KafkaError> {
        let conf = native(config)?;
        let bearer = config.get("sasl.mechanism") == Some("OAUTHBEARER");
        if let Some(tokens) = &config.tokens {
            // Fails here, with a reason, and not as a broker that cannot be reached.
            tokens.wait_first(Client::PATIENCE)?;
        }
        let opaque = Box::new(Opaque {
            delivery: delivery.map(|(_, state)| state),
            tokens: config.tokens.clone(),
            ..Opaque::default()
        });
        let mut reason = Reason::new();
        // SAFETY: the opaque box lives as long as the client, at a fixed address. `rd_kafka_new` takes the
        // configuration over if, and only if, it succeeds.
        let native = unsafe {
            sys::rd_kafka_conf_set_opaque(conf.0.as_ptr(), (&raw const *opaque).cast_mut().cast());
            sys::rd_kafka_conf_set_log_cb(conf.0.as_ptr(), Some(on_log));
            sys::rd_kafka_conf_set_error_cb(conf.0.as_ptr(), Some(on_error));
            sys::rd_kafka_conf_set_stats_cb(conf.0.as_ptr(), Some(on_statistics));
            sys::rd_kafka_conf_set_throttle_cb(conf.0.as_ptr(), Some(on_throttle));
            sys::rd_kafka_conf_enable_sasl_queue(conf.0.as_ptr(), bearer.into());
            if config.tokens.is_some() {
                sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(
                    conf.0.as_ptr(),
                    Some(on_token_needed),
                );
            }
            if let Some((report, _)) = delivery {
                sys::rd_kafka_conf_set_dr_msg_cb(conf.0.as_ptr(), Some(report));
            }
            sys::rd_kafka_new(kind, conf.0.as_ptr(), reason.as_mut_ptr(), Reason::SIZE)
        };
        let Some(native) = NonNull::new(native) else {
            return Err(KafkaError::Settings {
                cause: reason.to_string(),
            });
        };
        std::mem::forget(conf);
        let addresses = config
            .get("bootstrap.servers")
            .unwrap_or_default()
            .to_owned();
        let client = Client {
            native,
            opaque,
            addresses,
            mechanism: config.get("sasl.mechanism").map(str::to_owned),
        };
        if bearer {
            client.refresh_tokens_in_background()?;
        }
        Ok(client)
    }

    /// Renews OAUTHBEARER tokens on librdkafka's own thread, since nobody polls while a record handler blocks.
    fn refresh_tokens_in_background(&self) -> Result<(), KafkaError> {
        // SAFETY: the client is live; the error, if any, is ours.
        let failure = unsafe {
            Failure::of(sys::rd_kafka_sasl_background_callbacks_enable(
                self.as_ptr(),
            ))
        };
        failure.map_or(Ok(()), |failure| {
            Err(KafkaError::Settings {
                cause: failure.text,
            })
        })
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_t {
        self.native.as_ptr()
    }

    pub(super) fn events(&self) -> &Events {
        &self.opaque.events
    }

    /// Serves callbacks, waiting up to `wait` for the first; returns how many were served.
    pub(super) fn poll(&self, wait: Duration) -> c_int {
        // SAFETY: the client is live.
        let served = unsafe { sys::rd_kafka_poll(self.as_ptr(), millis(wait)) };
        self.report_outage();
        served
    }

    /// Reports that all brokers are lost, if they are. For after callbacks were served.
    pub(super) fn report_outage(&self) {
        if let Some(cause) = self.events().has_lost_all_brokers() {
            self.events().waits(SURELY_DOWN, || {
                let (addresses, why) = (&self.addresses, cause.text);
                format!("no broker of {addresses} can be reached: {why}; waiting until one can")
            });
        }
    }

    /// The error that no broker answers, with the last known cause.
    pub(super) fn unreachable(&self) -> KafkaError {
        let addresses = self.addresses.clone();
        let reported = self.events().cause();
        let next = reported.next_at(&addresses);
        let Cause {
            text,
            rejects_credentials,
            ..
        } = reported;
        // The message begins with the addresses: a single one is not repeated.
        let cause = text
            .strip_prefix(&format!("{addresses}: "))
            .unwrap_or(&text)
            .to_owned();
        if rejects_credentials {
            let mechanism = self.mechanism.as_deref().unwrap_or("SASL").to_owned();
            KafkaError::Authentication {
                addresses,
                next: Cause::login(&mechanism),
                mechanism,
                cause,
            }
        } else {
            KafkaError::Unreachable {
                addresses,
                cause,
                next,
            }
        }
    }

    /// Says why an answer may be missing: the last failure, or the addresses that do not answer.
    pub(super) fn silence(&self) -> String {
        match self.events().last_failure() {
            Some(cause) => cause.text,
            None => format!("no answer from {}", self.addresses),
        }
    }

    /// Waits until a broker answers a request, for at most `patience`.
    ///
    /// Fails earlier where the credentials are rejected, and where all addresses have failed for [`SURELY_DOWN`].
    pub(super) fn connect(&self, patience: Duration) -> Result<(), KafkaError> {
        const ATTEMPT: Duration = Duration::from_millis(500);
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ping(left.min(ATTEMPT)) {
                self.events().answered();
                return Ok(());
            }
            while self.poll(Duration::ZERO) > 0 {}
            let down = self
                .events()
                .down_for()
                .is_some_and(|down| down >= SURELY_DOWN);
            if down || left.is_zero() || self.events().credentials_rejected() {
                return Err(self.unreachable());
            }
        }
    }

    /// Whether the cluster names its controller within `wait`, which it does on any connection.
    fn ping(&self, wait: Duration) -> bool {
        let started = Instant::now();
        // SAFETY: the client is live.
        let controller = unsafe { sys::rd_kafka_controllerid(self.as_ptr(), millis(wait)) };
        let answered = controller >= 0;
        if !answered {
            // The call may return at once while a connection is being established; waiting here serves callbacks as well.
            self.poll(wait.saturating_sub(started.elapsed()));
        }
        answered
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the client is ours; no callback runs after this returns.
        unsafe { sys::rd_kafka_destroy(self.as_ptr()) };
    }
}

/// Milliseconds for librdkafka, saturated: -1 would mean "wait forever", so it is never returned.
pub(super) fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// A count or length that librdkafka reports.
///
/// # Panics
///
/// Where it is negative, which breaks an invariant of librdkafka: it counts its own lists and queues. Reading it as 0 would hide
/// records, brokers or offsets that exist.
pub(super) fn length(count: c_int, of: &str) -> usize {
    usize::try_from(count).unwrap_or_else(|_| panic!("librdkafka reports {count} {of}"))
}

fn native(config: &ClientConfig) -> Result<NativeConf, KafkaError> {
    let mut conf = NativeConf::new();
    let properties = config.properties.iter();
    for (key, value) in properties.filter(|(key, _)| !oidc::is_handled(key)) {
        conf.set(key, value).map_err(|error| KafkaError::Settings {
            cause: match error {
                ConfError::Unknown => format!("unknown property {key}"),
                ConfError::Invalid(reason) => reason,
            },
        })?;
    }
    Ok(conf)
}

/// An `rd_kafka_error_t` that was read and freed.
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Failure {
    /// Takes ownership of what a call returned; null means success.
    ///
    /// # Safety
    /// `error` is null, or was just returned by librdkafka to its new owner.
    pub(super) unsafe fn of(error: *mut sys::rd_kafka_error_t) -> Option<Failure> {
        let error = NonNull::new(error)?;
        // SAFETY: by contract the error is ours to read and to destroy.
        unsafe {
            let code = Code(sys::rd_kafka_error_code(error.as_ptr()) as i32);
            let text = owned_text(sys::rd_kafka_error_string(error.as_ptr()));
            sys::rd_kafka_error_destroy(error.as_ptr());
            Some(Failure { code, text })
        }
    }
}

/// Copies a C string; null becomes empty.
///
/// # Safety
/// `text` is null or a live C string.
pub(super) unsafe fn owned_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// Keeps a client-level error for later messages.
///
/// # Safety
/// Called by librdkafka with its client and the pointer that `Client::new` set.
unsafe extern "C" fn on_error(
    _client: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: the box outlives the client, and the reason is a C string.
    let (opaque, reason) = unsafe { (&*opaque.cast::<Opaque>(), owned_text(reason)) };
    opaque.events.failed(Code(code), &reason);
}

/// Hands a token to librdkafka, which asks for one when it starts, after 80 % of a token's life, and ten seconds after a failure.
///
/// # Safety
/// Called by librdkafka with its client, and the pointer that `Client::new` set, on its own thread for callbacks.
unsafe extern "C" fn on_token_needed(
    client: *mut sys::rd_kafka_t,
    _config: *const c_char,
    opaque: *mut c_void,
) {
    /// Destroying a client waits for its callbacks.
    const PATIENCE: Duration = Duration::from_secs(5);
    // SAFETY: the box outlives the client.
    let opaque = unsafe { &*opaque.cast::<Opaque>() };
    let Some(tokens) = &opaque.tokens else {
        return;
    };
    let failure = match tokens.wait(PATIENCE) {
        // SAFETY: the client is live.
        Ok(token) => unsafe { set_token(client, &token, tokens.extensions()) }.err(),
        Err(failure) => Some(failure.to_string()),
    };
    if let Some(failure) = failure {
        let failure = CString::new(failure.replace('\0', "")).unwrap_or_default();
        // SAFETY: the client is live, and the text is a C string, which is copied.
        unsafe { sys::rd_kafka_oauthbearer_set_token_failure(client, failure.as_ptr()) };
    }
}

/// Hands a token to a client, which copies it.
///
/// # Safety
/// The client is live.
unsafe fn set_token(
    client: *mut sys::rd_kafka_t,
    token: &Token,
    extensions: &[(String, String)],
) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let (value, subject) = (text(&token.value)?, text(&token.subject)?);
    let words = extensions.iter().flat_map(|(name, value)| [name, value]);
    let words = words
        .map(|word| text(word))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pairs: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
    let expires = token.expires.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut reason = Reason::new();
    // SAFETY: all pointers are to live C strings; the sizes are given.
    let code = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            client,
            value.as_ptr(),
            i64::try_from(expires.as_millis()).unwrap_or(i64::MAX),
            subject.as_ptr(),
            pairs.as_mut_ptr(),
            pairs.len(),
            reason.as_mut_ptr(),
            Reason::SIZE,
        )
    };
    match Code(code as i32) {
        Code::NONE => Ok(()),
        _ => Err(reason.to_string()),
    }
}

/// Notes that a broker asks the client to wait, as quotas make it.
///
/// # Safety
/// Called by librdkafka with its client, a C string, and the pointer that `Client::new` set.
unsafe extern "C" fn on_throttle(
    _client: *mut sys::rd_kafka_t,
    broker: *const c_char,
    _id: i32,
    wait_ms: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: the box outlives the client, and the name is a C string.
    let (opaque, broker) = unsafe { (&*opaque.cast::<Opaque>(), owned_text(broker)) };
    let wait = u64::try_from(wait_ms).unwrap_or_default();
    opaque
        .events
        .throttled(&broker, Duration::from_millis(wait));
}

/// Receives librdkafka's statistics, one JSON object, within a poll. They are sent only where `statistics.interval.ms` is set.
///
/// # Safety
/// Called by librdkafka with its client, `length` bytes, and the pointer that `Client::new` set.
unsafe extern "C" fn on_statistics(
    _client: *mut sys::rd_kafka_t,
    json: *mut c_char,
    length: usize,
    opaque: *mut c_void,
) -> c_int {
    const FREE_IT: c_int = 0;
    // SAFETY: the box outlives the client, and the bytes live for the call.
    let (opaque, json) = unsafe {
        (
            &*opaque.cast::<Opaque>(),
            std::slice::from_raw_parts(json.cast::<u8>(), length),
        )
    };
    if let Ok(statistics) = serde_json::from_slice::<Statistics>(json) {
        opaque.events.measured(&statistics);
    }
    FREE_IT
}

/// Receives librdkafka's log lines, from any of its threads. They are for `-vv` alone: what they mean for the user is in the errors that
/// librdkafka's calls and callbacks return, and in what is kept here of the lines that no error repeats.
///
/// # Safety
/// Called by librdkafka with its client and C strings.
unsafe extern "C" fn on_log(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    const INFO: c_int = 6;
    // SAFETY: the opaque pointer is the one that `Client::new` set, or null for the clients of the mock cluster.
    let opaque = unsafe { sys::rd_kafka_opaque(client).cast::<Opaque>().as_ref() };
    // SAFETY: C strings by contract.
    let (facility, line) = unsafe { (owned_text(facility), owned_text(line)) };
    let events = opaque.map(|opaque| &opaque.events);
    // The line that names a request, where another one counts how many of them timed out; and a connection on which the first request
    // was not answered, of which librdkafka reports no error.
    let unanswered = match facility.as_str() {
        "REQTMOUT" => line.contains("Request in flight"),
        "FAIL" => line.contains("Connection setup timed out"),
        _ => false,
    };
    // Normal for a moment after an earlier producer of the id was fenced, and while coordinators load.
    let waits_for_id = facility == "GETPID";
    match events {
        Some(events) if unanswered => events.unanswered(&line),
        Some(events) if waits_for_id => events.without_producer_id(&line),
        _ => {}
    }
    match level {
        ..=INFO => tracing::debug!(target: "librdkafka", facility, "{line}"),
        _ => tracing::trace!(target: "librdkafka", facility, "{line}"),
    }
}

/// Recovers the state that [`Client::producer`] was given from a delivery report's opaque pointer.
///
/// # Safety
/// `opaque` was passed to a delivery callback by librdkafka, and the state has type `T`.
pub(super) unsafe fn delivery_state<'a, T>(opaque: *mut c_void) -> Option<&'a T> {
    // SAFETY: by contract.
    unsafe {
        (*opaque.cast::<Opaque>())
            .delivery
            .map(|state| state.cast::<T>().as_ref())
    }
}
