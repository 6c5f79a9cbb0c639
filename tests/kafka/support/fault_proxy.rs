//! A proxy before an object store that makes its answers late, short, wrong or lost, as networks and services do.
//!
//! Small and seeded. Every connection carries one request, which makes both sides simple.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::http::Request;
use super::split_mix::SplitMix64;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered after a time.
    Delay(Duration),
    /// It is never answered, and not passed on.
    Hang,
    /// Half of its answer arrives, and then the connection ends.
    Cut,
    /// It takes effect, and the connection ends without an answer.
    Lost,
    /// It is not passed on, and the connection ends without an answer, as where a server closes an idle connection.
    Dropped,
    /// It is refused with this status and code, and not passed on.
    Refused(u16, &'static str),
}

/// Which requests meet a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    None,
    All(Fault),
    /// Those with this in their method, path and query, as in `POST /bucket?delete`.
    Of(&'static str, Fault),
    /// Some in a thousand meet one, by a seed.
    Some {
        seed: u64,
        per_mille: u64,
    },
}

#[derive(Debug)]
struct State {
    plan: Plan,
    requests: u64,
    faults: u64,
}

/// A proxy, whose threads end with the process.
#[derive(Clone, Debug)]
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl FaultProxy {
    /// Starts a proxy that makes no fault yet.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(Mutex::new(State {
                plan: Plan::None,
                requests: 0,
                faults: 0,
            })),
        };
        let own = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.serve(client, server));
            }
        });
        proxy
    }

    /// Sets what happens to requests from now on.
    pub(crate) fn set(&self, plan: Plan) {
        self.state.lock().unwrap().plan = plan;
    }

    /// Returns how many requests there were, and how many met a fault.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap();
        (state.requests, state.faults)
    }

    fn next(&self, request: &Request) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let fault = match state.plan {
            Plan::None => None,
            Plan::All(fault) => Some(fault),
            Plan::Of(text, fault) => request.line().contains(text).then_some(fault),
            Plan::Some { seed, per_mille } => {
                let random = SplitMix64(seed ^ state.requests).next();
                chosen(random, per_mille)
            }
        };
        state.faults += u64::from(fault.is_some());
        fault
    }

    /// Serves one request. An error is the end of a connection, which is nobody's business here.
    fn serve(&self, mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
        let request = Request::read(&mut client)?;
        let fault = self.next(&request);
        match fault {
            Some(Fault::Delay(time)) => thread::sleep(time),
            Some(Fault::Hang) => {
                // Until the client gives up.
                return client.read_to_end(&mut Vec::new()).map(drop);
            }
            Some(Fault::Refused(status, code)) => {
                let body =
                    format!("<Error><Code>{code}</Code><Message>by the proxy</Message></Error>");
                let answer = format!(
                    "HTTP/1.1 {status} No\r\nContent-Length: {}\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                client.write_all(answer.as_bytes())?;
                return client.shutdown(Shutdown::Write);
            }
            Some(Fault::Dropped) => return Ok(()),
            Some(Fault::Cut | Fault::Lost) | None => (),
        }
        let mut upstream = TcpStream::connect(server)?;
        upstream.write_all(&request.to_bytes())?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        match fault {
            Some(Fault::Lost) => return Ok(()),
            Some(Fault::Cut) => client.write_all(&answer[..answer.len() / 2])?,
            _ => client.write_all(&answer)?,
        }
        client.shutdown(Shutdown::Write)
    }
}

/// Returns the fault that a random number stands for.
fn chosen(random: u64, per_mille: u64) -> Option<Fault> {
    if random % 1000 >= per_mille {
        return None;
    }
    Some(match (random >> 32) % 6 {
        0 => Fault::Delay(Duration::from_millis(random >> 40 & 0xff)),
        1 => Fault::Cut,
        2 => Fault::Lost,
        3 => Fault::Dropped,
        4 => Fault::Refused(503, "SlowDown"),
        _ => Fault::Refused(500, "InternalError"),
    })
}
