//! A proxy before a broker, at the address that the broker advertises, which loses or damages answers to one kind of request.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::broker::{Broker, free_port};

/// Keys of Kafka's requests.
pub(crate) const FETCH: i16 = 1;
pub(crate) const LIST_OFFSETS: i16 = 2;
const API_VERSIONS: i16 = 18;
pub(crate) const CREATE_TOPICS: i16 = 19;
pub(crate) const DELETE_RECORDS: i16 = 21;
pub(crate) const CREATE_ACLS: i16 = 30;
pub(crate) const INCREMENTAL_ALTER_CONFIGS: i16 = 44;

/// What happens to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never arrives, and the connection stays open.
    Stalled,
    /// Half of it arrives, and then the connection ends.
    Cut,
    /// A bit in the middle of it is flipped.
    Flipped,
    /// Its length is a gigabyte more.
    Longer,
}

/// Which answers meet a fault: of a kind of request, from a number of bytes on, and how often.
#[derive(Clone, Copy, Debug)]
struct Plan {
    request: i16,
    fault: Fault,
    /// How many of them pass before.
    passing: u32,
    times: u32,
}

/// Answers to Fetch that have no records are shorter.
const SMALLEST_WITH_RECORDS: usize = 2_000;

/// A proxy, whose threads end with the process.
#[derive(Clone, Debug)]
pub(crate) struct KafkaProxy {
    address: SocketAddr,
    plan: Arc<Mutex<Option<Plan>>>,
    /// A kind of request that the broker is not to know, as an older one.
    hidden: Arc<AtomicI16>,
}

impl KafkaProxy {
    /// Starts a broker, and a proxy before one of its listeners that makes no fault yet.
    pub(crate) fn start() -> (Broker, Self) {
        Self::start_with(&[])
    }

    /// Starts a broker with more configuration.
    pub(crate) fn start_with(more: &[(&str, &str)]) -> (Broker, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let upstream = format!("127.0.0.1:{}", free_port());
        let (listeners, advertised) = (
            format!("PROXIED://{upstream}"),
            format!("PROXIED://{address}"),
        );
        let own = [
            ("listeners", listeners.as_str()),
            ("advertised.listeners", &advertised),
            (
                "listener.security.protocol.map",
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
            ),
        ];
        let broker = Broker::start(&[&own, more].concat());
        let proxy = Self {
            address,
            plan: Arc::default(),
            hidden: Arc::new(AtomicI16::new(-1)),
        };
        let shared = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (proxy, upstream) = (shared.clone(), upstream.clone());
                thread::spawn(move || serve(&client, &upstream, &proxy));
            }
        });
        (broker, proxy)
    }

    /// Returns the address at which clients reach the broker through the proxy.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets what happens to the next `times` answers to a kind of request.
    pub(crate) fn set(&self, request: i16, fault: Fault, times: u32) {
        self.set_after(request, 0, fault, times);
    }

    /// Sets what happens to answers to a kind of request, after some that pass.
    pub(crate) fn set_after(&self, request: i16, passing: u32, fault: Fault, times: u32) {
        *lock(&self.plan) = Some(Plan {
            request,
            fault,
            passing,
            times,
        });
    }

    /// Returns how many answers are still to meet a fault.
    pub(crate) fn faults_left(&self) -> u32 {
        lock(&self.plan).map_or(0, |plan| plan.times)
    }

    /// Makes the broker one that does not know a kind of request.
    pub(crate) fn hide(&self, request: i16) {
        self.hidden.store(request, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes requests and answers on until either side ends. An error is the end of a connection, which is nobody's business here.
fn serve(client: &TcpStream, upstream: &str, proxy: &KafkaProxy) -> io::Result<()> {
    let broker = TcpStream::connect(upstream)?;
    let sent = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = pass_requests(client, &broker, &sent);
            let _ = broker.shutdown(Shutdown::Both);
        });
        let _ = pass_answers(&broker, client, &sent, proxy);
        let _ = client.shutdown(Shutdown::Both);
        let _ = broker.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Kinds of requests, by their correlation ids.
type Sent = Mutex<HashMap<[u8; 4], i16>>;

fn pass_requests(mut client: &TcpStream, mut broker: &TcpStream, sent: &Sent) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut client)?;
        let id = frame[8..12].try_into().expect("four bytes");
        lock(sent).insert(id, i16::from_be_bytes([frame[4], frame[5]]));
        broker.write_all(&frame)?;
    }
}

fn pass_answers(
    mut broker: &TcpStream,
    mut client: &TcpStream,
    sent: &Sent,
    proxy: &KafkaProxy,
) -> io::Result<()> {
    loop {
        let mut frame = read_frame(&mut broker)?;
        let request = lock(sent).remove(&frame[4..8]);
        if request == Some(API_VERSIONS) {
            hide(&mut frame, proxy.hidden.load(Ordering::SeqCst));
        }
        let fault = {
            let mut plan = lock(&proxy.plan);
            let due = plan.as_mut().filter(|plan| {
                let is_long = plan.request != FETCH || frame.len() >= SMALLEST_WITH_RECORDS;
                plan.times > 0 && request == Some(plan.request) && is_long
            });
            due.and_then(|plan| {
                if plan.passing > 0 {
                    plan.passing -= 1;
                    return None;
                }
                plan.times -= 1;
                Some(plan.fault)
            })
        };
        match fault {
            None => {}
            // Until the client gives up, and the other thread ends.
            Some(Fault::Stalled) => return io::copy(&mut broker, &mut io::sink()).map(drop),
            Some(Fault::Cut) => return client.write_all(&frame[..frame.len() / 2]),
            Some(Fault::Flipped) => {
                let middle = frame.len() / 2;
                frame[middle] ^= 0x20;
            }
            Some(Fault::Longer) => {
                let length = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
                frame[..4].copy_from_slice(&(length + 1_000_000_000).to_be_bytes());
            }
        }
        client.write_all(&frame)?;
    }
}

/// Gives a kind of request in an answer to ApiVersions a number that nobody knows. Its versions, from 0 to 1, follow the number.
fn hide(frame: &mut [u8], request: i16) {
    let [high, low] = request.to_be_bytes();
    let listed = [high, low, 0, 0, 0, 1];
    let at = frame.windows(6).position(|window| window == listed);
    if let Some(at) = at {
        frame[at] = 0x70;
    }
}

/// Reads a frame, its length included.
fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut frame = length.to_vec();
    frame.resize(4 + bytes, 0);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}
