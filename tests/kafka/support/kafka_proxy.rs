//! A proxy before a broker, at the address that the broker advertises, which loses or damages answers to one kind of request.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::broker::{Broker, free_port};

/// Keys of Kafka's requests.
pub(crate) const FETCH: i16 = 1;
pub(crate) const LIST_OFFSETS: i16 = 2;

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
    times: u32,
}

/// Answers to Fetch that have no records are shorter.
const SMALLEST_WITH_RECORDS: usize = 2_000;

/// A proxy, whose threads end with the process.
#[derive(Debug)]
pub(crate) struct KafkaProxy {
    address: SocketAddr,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl KafkaProxy {
    /// Starts a broker, and a proxy before one of its listeners that makes no fault yet.
    pub(crate) fn start() -> (Broker, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let upstream = format!("127.0.0.1:{}", free_port());
        let broker = Broker::start(&[
            ("listeners", &format!("PROXIED://{upstream}")),
            ("advertised.listeners", &format!("PROXIED://{address}")),
            (
                "listener.security.protocol.map",
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
            ),
        ]);
        let plan = Arc::new(Mutex::default());
        let shared = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (plan, upstream) = (Arc::clone(&shared), upstream.clone());
                thread::spawn(move || serve(&client, &upstream, &plan));
            }
        });
        (broker, Self { address, plan })
    }

    /// Returns the address at which clients reach the broker through the proxy.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets what happens to the next `times` answers to a kind of request.
    pub(crate) fn set(&self, request: i16, fault: Fault, times: u32) {
        *lock(&self.plan) = Some(Plan {
            request,
            fault,
            times,
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes requests and answers on until either side ends. An error is the end of a connection, which is nobody's business here.
fn serve(client: &TcpStream, upstream: &str, plan: &Mutex<Option<Plan>>) -> io::Result<()> {
    let broker = TcpStream::connect(upstream)?;
    let sent = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = pass_requests(client, &broker, &sent);
            let _ = broker.shutdown(Shutdown::Both);
        });
        let _ = pass_answers(&broker, client, &sent, plan);
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
    plan: &Mutex<Option<Plan>>,
) -> io::Result<()> {
    loop {
        let mut frame = read_frame(&mut broker)?;
        let request = lock(sent).remove(&frame[4..8]);
        let fault = {
            let mut plan = lock(plan);
            let due = plan.as_mut().filter(|plan| {
                let is_long = plan.request != FETCH || frame.len() >= SMALLEST_WITH_RECORDS;
                plan.times > 0 && request == Some(plan.request) && is_long
            });
            due.map(|plan| {
                plan.times -= 1;
                plan.fault
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
