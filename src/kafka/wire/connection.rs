//! One connection to a broker: requests out, responses in, in the same order.
//!
//! A broker answers the requests of a connection one after the other, so that several may be under way: [`Connection::send`] the next,
//! then [`Connection::receive`] the response to the first. After an error, or where a call that sends was cancelled, a connection is useless,
//! since nobody knows how much of a frame was written: whoever owns it drops it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::deadline::Deadline;
use super::error::{BrokerName, WireError};
use super::frame::{FrameError, FrameReader};
use super::login::Login;
use super::pool::FramePool;
use super::protocol::{
    Api, ApiVersionsRequest, ApiVersionsResponse, EncodedFrame, ErrorCode, Input, Malformed,
    Output, Request, Response,
};
use super::session::log_in;
use super::settings::WireSettings;
use super::stream::{Stream, connect};
use crate::kafka::foreign;

/// A connection whose broker has said which requests it answers.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    broker: BrokerName,
    client_id: String,
    versions: ApiVersionsResponse,
    /// Requests without a response yet.
    pending: VecDeque<Pending>,
    /// The response that is being read.
    reader: FrameReader,
    next_correlation_id: i32,
    /// Until when the broker asks to be sent nothing (KIP-219: it is up to the client).
    silent_until: Option<Instant>,
    /// How to log in, and when to do so again.
    login: Option<Login>,
    renew_at: Option<Instant>,
    pool: FramePool,
    limits: Limits,
}

/// Sizes of responses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// What is allocated at once.
    pub(super) expected_bytes: usize,
    /// What is accepted.
    pub(super) most_bytes: usize,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    api: Api,
    version: i16,
    correlation_id: i32,
}

/// A response, not decoded yet.
#[derive(Debug)]
pub(super) struct Frame {
    /// Everything after the length.
    pub(super) bytes: Bytes,
    pub(super) broker: BrokerName,
    request: Pending,
}

impl Frame {
    /// Decodes the response. What it returns borrows from the frame.
    pub(super) fn decode<R: Request>(&self) -> Result<R::Response<'_>, WireError> {
        decode_as::<R>(&self.bytes, self.request)
            .map_err(|error| malformed(&self.broker, self.request, error.to_string()))
    }
}

fn decode_as<R: Request>(bytes: &[u8], request: Pending) -> Result<R::Response<'_>, Malformed> {
    let Pending { api, version, .. } = request;
    let mut input = Input::new(bytes);
    let _correlation_id = input.int32()?;
    input.set_flexible(api.has_flexible_response_header(version));
    input.tags()?;
    input.set_flexible(api.is_flexible(version));
    let response = R::decode(version, &mut input)?;
    input.finish()?;
    Ok(response)
}

/// Writes a whole frame, by as few calls as the system allows: records are not copied into one buffer with the rest.
async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &EncodedFrame<'_>) -> io::Result<()> {
    if let Some(bytes) = frame.whole() {
        stream.write_all(bytes).await?;
        return stream.flush().await;
    }
    let mut pieces: Vec<IoSlice<'_>> = frame.pieces().map(IoSlice::new).collect();
    let mut left = pieces.as_mut_slice();
    while !left.is_empty() {
        match stream.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    // Written, but for what TLS may hold back.
    stream.flush().await
}

/// Whether the bytes of a length are those of an alert of TLS: type 21, version 3.
fn is_tls(length: i32) -> bool {
    matches!(length.to_be_bytes(), [21, 3, ..])
}

/// Says what a length that cannot be one says.
fn no_length(found: i32, limit: usize) -> String {
    if let Some(server) = foreign::server(found.to_be_bytes()) {
        return format!("{server} answers there, and no Kafka broker");
    }
    let raise = match usize::try_from(found) {
        Ok(found) if found > limit => ", which only `receive.message.max.bytes` would allow",
        _ => "",
    };
    format!("expected a length of 4 to {limit} bytes, found {found}{raise}")
}

fn malformed(broker: &BrokerName, request: Pending, cause: String) -> WireError {
    WireError::Malformed {
        broker: broker.clone(),
        request: request.api,
        version: request.version,
        cause,
    }
}

impl Connection {
    /// Connects, and asks which requests the broker answers.
    pub(super) async fn open(
        broker: BrokerName,
        settings: &WireSettings,
        pool: FramePool,
        limits: Limits,
        deadline: Deadline,
    ) -> Result<Connection, WireError> {
        // Before the broker's time for a login begins.
        if let Some(tokens) = settings.login.as_ref().and_then(Login::tokens) {
            let token = tokens.token(deadline.left()).await;
            token.map_err(WireError::Token)?;
        }
        let deadline = deadline.part(settings.connect_timeout);
        let stream = connect(&broker.address, settings, deadline)
            .await
            .map_err(|cause| WireError::Connect {
                broker: broker.clone(),
                cause,
            })?;
        let stream: Box<dyn Stream> = match &settings.tls {
            None => Box::new(stream),
            Some(tls) => {
                let connecting = tls.connect(&broker.address.host, stream);
                let late = || WireError::Connect {
                    broker: broker.clone(),
                    cause: format!("no TLS within {:.1?}", deadline.waited()),
                };
                let encrypted = timeout_at(deadline.at(), connecting).await;
                let encrypted = encrypted.map_err(|_| late())?;
                Box::new(encrypted.map_err(|failure| failure.about(&broker))?)
            }
        };
        let mut connection = Connection {
            stream,
            broker,
            client_id: settings.client_id.clone(),
            versions: ApiVersionsResponse::default(),
            pending: VecDeque::new(),
            reader: FrameReader::default(),
            next_correlation_id: 0,
            silent_until: None,
            login: settings.login.clone(),
            renew_at: None,
            pool,
            limits,
        };
        connection.ask_versions(deadline).await?;
        connection.log_in(deadline).await?;
        Ok(connection)
    }

    /// Logs in, where the settings ask for it.
    async fn log_in(&mut self, deadline: Deadline) -> Result<(), WireError> {
        let Some(login) = self.login.clone() else {
            return Ok(());
        };
        let session = log_in(self, &login, deadline).await?;
        self.renew_at = session.renew_after.map(|after| Instant::now() + after);
        Ok(())
    }

    /// Asks in the latest version that is known here, then in the one that all brokers know.
    async fn ask_versions(&mut self, deadline: Deadline) -> Result<(), WireError> {
        let request = ApiVersionsRequest {
            software_name: "kbk",
            software_version: env!("CARGO_PKG_VERSION"),
        };
        for version in [*Api::ApiVersions.versions().end(), 0] {
            self.send_version(&request, version, deadline).await?;
            let frame = self.receive(deadline).await?;
            let response = frame.decode::<ApiVersionsRequest>()?;
            self.note_throttle(response.throttle());
            match response.error {
                ErrorCode::NONE => {
                    self.versions = response;
                    return Ok(());
                }
                ErrorCode::UNSUPPORTED_VERSION => {}
                code => {
                    return Err(WireError::Broker {
                        broker: self.broker.clone(),
                        request: Api::ApiVersions,
                        code,
                    });
                }
            }
        }
        Err(self.no_version(Api::ApiVersions))
    }

    pub(super) fn broker(&self) -> &BrokerName {
        &self.broker
    }

    /// Returns until when the broker asks to be sent nothing, where that is still to come.
    pub(super) fn silent_until(&self) -> Option<Instant> {
        self.silent_until.filter(|until| *until > Instant::now())
    }

    /// Returns the same where it is a time that quotas ask for, so that it is worth waiting for. A broker that asks for more is broken.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        /// A batch of 100 MB at a quota of 20 KB per second takes less than two hours.
        const LONGEST: Duration = Duration::from_hours(24);
        self.silent_until()
            .filter(|until| until.saturating_duration_since(Instant::now()) <= LONGEST)
    }

    /// Whether the connection has to log in again, for which no response may be to come.
    pub(super) fn must_renew(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether the broker answers requests of this number.
    pub(super) fn knows_request(&self, key: i16) -> bool {
        let mut ranges = self.versions.versions.iter();
        ranges.any(|range| range.key == key)
    }

    /// Returns the version of transactions that the cluster uses.
    pub(super) fn transaction_version(&self) -> i16 {
        self.versions.transaction_version
    }

    /// Whether responses are still to come.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Returns the latest version of a request that both sides know, and that can say what it says.
    fn version<R: Request>(&self, request: &R) -> Result<i16, WireError> {
        let (api, ours) = (R::API, request.versions());
        let common = self.versions.range(api).and_then(|theirs| {
            let version = theirs.max.min(*ours.end());
            (version >= theirs.min && version >= *ours.start()).then_some(version)
        });
        common.ok_or_else(|| self.no_version(api))
    }

    fn no_version(&self, api: Api) -> WireError {
        WireError::NoVersion {
            broker: self.broker.clone(),
            request: api,
            theirs: self.versions.range(api),
        }
    }

    /// Notes for how long the broker asks to be sent nothing.
    fn note_throttle(&mut self, throttle: Duration) {
        if !throttle.is_zero() {
            self.silent_until = Some(Instant::now() + throttle);
        }
    }

    /// Sends a request, after the pause that the broker may have asked for, and after another login where the session is about to end.
    pub(super) async fn send<R: Request>(
        &mut self,
        request: &R,
        deadline: Deadline,
    ) -> Result<(), WireError> {
        if self.must_renew() && !self.is_waiting() {
            self.log_in(deadline).await?;
        }
        let version = self.version(request)?;
        self.send_version(request, version, deadline).await
    }

    /// Sends a request that is part of a login, and converts its response.
    pub(super) async fn call_now<R: Request, T>(
        &mut self,
        request: &R,
        deadline: Deadline,
        convert: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, WireError> {
        let version = self.version(request)?;
        self.send_version(request, version, deadline).await?;
        let frame = self.receive(deadline).await?;
        Ok(convert(frame.decode::<R>()?))
    }

    async fn send_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Deadline,
    ) -> Result<(), WireError> {
        if let Some(until) = self.silent_until {
            if until > deadline.at() {
                // Waiting would not help.
                return Err(WireError::Throttled {
                    broker: self.broker.clone(),
                    request: R::API,
                    left: until.saturating_duration_since(Instant::now()),
                });
            }
            sleep_until(until).await;
            self.silent_until = None;
        }
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let mut output = Output::new(R::API, version, correlation_id, &self.client_id);
        request.encode(version, &mut output);
        let frame = output.finish().map_err(|error| WireError::Unsendable {
            broker: self.broker.clone(),
            request: R::API,
            cause: error.to_string(),
        })?;
        match timeout_at(deadline.at(), write(&mut self.stream, &frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.disconnected(R::API, error.to_string())),
            Err(_) => {
                let cause = Cow::Borrowed("it does not read the request");
                return Err(self.timeout(R::API, deadline, cause));
            }
        }
        self.pending.push_back(Pending {
            api: R::API,
            version,
            correlation_id,
        });
        Ok(())
    }

    /// Receives the response to the first request that has none. A call that is cancelled loses nothing: the next one resumes it.
    ///
    /// # Panics
    ///
    /// Where no request is under way, which is a mistake of the caller.
    pub(super) async fn receive(&mut self, deadline: Deadline) -> Result<Frame, WireError> {
        let request = *self.pending.front().expect("a request is under way");
        let Limits {
            expected_bytes,
            most_bytes,
        } = self.limits;
        let (reader, stream) = (&mut self.reader, &mut self.stream);
        let reading = reader.read(stream, &self.pool, expected_bytes, most_bytes);
        let bytes = match timeout_at(deadline.at(), reading).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(FrameError::Ended(cause))) => return Err(self.disconnected(request.api, cause)),
            Ok(Err(FrameError::Length { found, .. })) if is_tls(found) => {
                let cause = "the listener uses TLS, which `security.protocol` does not ask for";
                return Err(WireError::Tls {
                    broker: self.broker.clone(),
                    cause: cause.to_owned(),
                });
            }
            Ok(Err(FrameError::Length { found, limit })) => {
                return Err(malformed(&self.broker, request, no_length(found, limit)));
            }
            Err(_) => {
                let cause = match self.reader.progress() {
                    Some((read, length)) => {
                        format!("{read} of {length} bytes of the response have arrived").into()
                    }
                    None => Cow::Borrowed("the connection is open"),
                };
                return Err(self.timeout(request.api, deadline, cause));
            }
        };
        self.pending.pop_front();
        let found = Input::new(&bytes).int32();
        let expected = request.correlation_id;
        if found != Ok(expected) {
            let found = found.map_or_else(|error| error.to_string(), |found| found.to_string());
            let cause = format!("expected the correlation id {expected}, found {found}");
            return Err(malformed(&self.broker, request, cause));
        }
        Ok(Frame {
            bytes,
            broker: self.broker.clone(),
            request,
        })
    }

    /// Decodes a response and heeds its throttle time.
    pub(super) fn decode<'a, R: Request>(
        &mut self,
        frame: &'a Frame,
    ) -> Result<R::Response<'a>, WireError> {
        let response = frame.decode::<R>()?;
        self.note_throttle(response.throttle());
        Ok(response)
    }

    /// Sends a request and converts its response.
    pub(super) async fn call<R: Request, T>(
        &mut self,
        request: &R,
        deadline: Deadline,
        convert: impl FnOnce(R::Response<'_>) -> T,
    ) -> Result<T, WireError> {
        self.send(request, deadline).await?;
        let frame = self.receive(deadline).await?;
        Ok(convert(self.decode::<R>(&frame)?))
    }

    fn disconnected(&self, request: Api, cause: String) -> WireError {
        // TLS 1.3: a broker refuses a client's certificate after the handshake.
        let alert = cause.split(':').find(|part| part.contains(" alert "));
        if let Some(alert) = alert.filter(|_| cause.contains("SSL routines")) {
            let cause = match alert.contains("certificate") {
                true => format!(
                    "the listener accepts no client without a certificate that it trusts, by `ssl.keystore.location` or \
                     `ssl.certificate.location` ({alert})"
                ),
                false => format!("TLS failed: {alert}"),
            };
            let broker = self.broker.clone();
            return WireError::Tls { broker, cause };
        }
        WireError::Disconnected {
            broker: self.broker.clone(),
            request,
            cause,
        }
    }

    fn timeout(&self, request: Api, deadline: Deadline, cause: Cow<'static, str>) -> WireError {
        WireError::Timeout {
            broker: self.broker.clone(),
            request,
            waited: deadline.waited(),
            cause,
        }
    }
}
