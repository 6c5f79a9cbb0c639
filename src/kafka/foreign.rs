//! Servers that are not Kafka brokers, by the first bytes that they answer, where a broker sends a length.

/// Names the server that begins an answer with these bytes; `None` where they are as good as any length.
pub(super) fn server(first: [u8; 4]) -> Option<String> {
    let named = match &first {
        b"HTTP" => "an HTTP server",
        b"SSH-" => "an SSH server",
        b"220 " | b"220-" => "a mail or FTP server",
        // A record of TLS: an alert, or a handshake.
        [0x15 | 0x16, 3, ..] => "a server that expects TLS",
        text if text.iter().all(|byte| (b' '..=b'~').contains(byte)) => {
            let text = String::from_utf8_lossy(text);
            return Some(format!("a server that begins with the text {text:?}"));
        }
        _ => return None,
    };
    Some(named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_by_their_first_bytes() {
        for (first, name) in [
            (*b"HTTP", "an HTTP server"),
            (*b"SSH-", "an SSH server"),
            (*b"220 ", "a mail or FTP server"),
            ([0x15, 3, 1, 0], "a server that expects TLS"),
            ([0x16, 3, 3, 0], "a server that expects TLS"),
            (*b"-ERR", "a server that begins with the text \"-ERR\""),
        ] {
            assert_eq!(server(first).as_deref(), Some(name));
        }
        for length in [i32::MIN, -1, 0, 4, 100, 1 << 24, 1 << 28, i32::MAX] {
            assert_eq!(server(length.to_be_bytes()), None, "{length}");
        }
    }
}
