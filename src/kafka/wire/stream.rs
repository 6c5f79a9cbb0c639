//! Connects to a broker: every address of its name in turn.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout_at;

use super::address::Address;
use super::deadline::Deadline;
use super::settings::WireSettings;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Connects to the first address of the host that accepts. The error names each that did not.
pub(super) async fn connect(
    address: &Address,
    settings: &WireSettings,
    deadline: Deadline,
) -> Result<TcpStream, String> {
    let resolved = timeout_at(deadline.at(), address.resolve(settings.family)).await;
    let addresses = match resolved {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("cannot resolve {}: {error}", address.host)),
        Err(_) => return Err(format!("cannot resolve {} in time", address.host)),
    };
    let mut failures = Vec::new();
    for (tried, found) in addresses.iter().enumerate() {
        // An address that does not answer leaves time for the others.
        let share = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let part = deadline.part(deadline.left() / share);
        let failure = match timeout_at(part.at(), connect_to(*found, settings)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:.1?}", part.waited()),
        };
        failures.push(match addresses.len() {
            1 => failure,
            _ => format!("{}: {failure}", found.ip()),
        });
    }
    if failures.is_empty() {
        let cause = format!("{} has no address of `broker.address.family`", address.host);
        return Err(cause);
    }
    Err(failures.join(", "))
}

async fn connect_to(address: SocketAddr, settings: &WireSettings) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A broker's host that vanished is noticed while a connection is idle, too.
    socket.set_keepalive(true)?;
    if let Some(bytes) = settings.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = settings.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    // Requests are written whole: waiting for more would delay each.
    stream.set_nodelay(true)?;
    Ok(stream)
}
