//! Reads frames from a connection: a length of four bytes, and that many bytes.

use std::io;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::pool::{FrameBuffer, FramePool};

/// Why no frame was read.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The length is not one of a response, or exceeds the limit.
    Length { found: i32, limit: usize },
    /// The connection ended or failed.
    Ended(String),
}

/// The smallest response: a correlation id.
const SMALLEST: usize = 4;
/// How much is allocated for a frame before any of it has arrived, unless more is expected.
const FIRST_BYTES: usize = 64 << 10;

/// A frame of which a part may have been read. A read that is cancelled loses nothing: the next one resumes it.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    prefix: [u8; 4],
    prefix_read: usize,
    /// The bytes after the length, and how many there will be.
    frame: Option<(FrameBuffer, usize)>,
}

impl FrameReader {
    /// Returns how many bytes of a frame have arrived, and how many it has; `None` before its length is known.
    pub(super) fn progress(&self) -> Option<(usize, usize)> {
        let (buffer, length) = self.frame.as_ref()?;
        Some((buffer.as_ref().len(), *length))
    }

    /// Reads the rest of one frame of at most `limit` bytes. Memory is allocated for `expected` bytes at once, and beyond that only as bytes
    /// arrive: a length of 2 GiB costs nothing.
    pub(super) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        pool: &FramePool,
        expected: usize,
        limit: usize,
    ) -> Result<Bytes, FrameError> {
        while let Some(rest) = self.prefix.get_mut(self.prefix_read..) {
            if rest.is_empty() {
                break;
            }
            self.prefix_read += match stream.read(rest).await {
                Ok(0) => {
                    let cause = ended(self.prefix_read, "the 4 bytes of a length");
                    return Err(FrameError::Ended(cause));
                }
                Ok(count) => count,
                Err(error) => return Err(FrameError::Ended(error.to_string())),
            };
        }
        if self.frame.is_none() {
            let found = i32::from_be_bytes(self.prefix);
            let length = usize::try_from(found)
                .ok()
                .filter(|length| (SMALLEST..=limit).contains(length))
                .ok_or(FrameError::Length { found, limit })?;
            let mut buffer = pool.take();
            let first = length.min(expected.max(FIRST_BYTES));
            buffer.bytes_mut().reserve(first);
            self.frame = Some((buffer, length));
        }
        if let Some((buffer, length)) = &mut self.frame {
            fill(stream, buffer.bytes_mut(), *length).await?;
        }
        let frame = std::mem::take(self).frame;
        Ok(frame.map_or_else(Bytes::new, |(buffer, _)| buffer.freeze()))
    }
}

/// Reads until there are `length` bytes.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    length: usize,
) -> Result<(), FrameError> {
    while bytes.len() < length {
        let left = length - bytes.len();
        if bytes.len() == bytes.capacity() {
            // Not twice what a large frame needs.
            bytes.reserve_exact(left.min(bytes.len()));
        }
        match stream.read_buf(&mut bytes.limit(left)).await {
            Ok(0) => {
                let of = format!("a response of {length} bytes");
                return Err(FrameError::Ended(ended(bytes.len(), &of)));
            }
            Ok(_) => {}
            Err(error) => return Err(FrameError::Ended(failed(&error, bytes.len(), length))),
        }
    }
    Ok(())
}

fn ended(read: usize, of: &str) -> String {
    match read {
        0 => format!("it ended before {of}"),
        _ => format!("it ended after {read} bytes of {of}"),
    }
}

fn failed(error: &io::Error, read: usize, length: usize) -> String {
    format!("{error}, after {read} bytes of a response of {length} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> FramePool {
        FramePool::new(1, 1 << 20)
    }

    async fn read(mut bytes: &[u8]) -> Result<Bytes, FrameError> {
        let mut reader = FrameReader::default();
        reader.read(&mut bytes, &pool(), 0, 1 << 20).await
    }

    #[tokio::test]
    async fn frames_of_any_size_are_read_one_after_the_other() {
        let mut stream = Vec::new();
        let lengths = [4, 5, FIRST_BYTES, FIRST_BYTES + 1, 5 * FIRST_BYTES + 3];
        for length in lengths {
            stream.extend(i32::try_from(length).unwrap().to_be_bytes());
            stream.extend((0..length).map(|at| u8::try_from(at % 251).unwrap()));
        }
        let (pool, mut rest) = (pool(), stream.as_slice());
        let mut reader = FrameReader::default();
        for length in lengths {
            let frame = reader.read(&mut rest, &pool, 0, 1 << 20).await.unwrap();
            assert_eq!(frame.len(), length);
            assert!((0..length).all(|at| usize::from(frame[at]) == at % 251));
        }
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn a_read_that_is_cancelled_is_resumed() {
        let (mut sender, mut receiver) = tokio::io::duplex(64);
        let (pool, mut reader) = (pool(), FrameReader::default());
        for piece in [&[0, 0][..], &[0, 9, 1], &[2, 3, 4, 5, 6, 7, 8]] {
            tokio::io::AsyncWriteExt::write_all(&mut sender, piece)
                .await
                .unwrap();
            let reading = reader.read(&mut receiver, &pool, 0, 1 << 20);
            let short = std::time::Duration::from_millis(20);
            assert!(tokio::time::timeout(short, reading).await.is_err());
        }
        tokio::io::AsyncWriteExt::write_all(&mut sender, &[9])
            .await
            .unwrap();
        let frame = reader.read(&mut receiver, &pool, 0, 1 << 20).await.unwrap();
        assert_eq!(frame, [1, 2, 3, 4, 5, 6, 7, 8, 9][..]);
    }

    #[tokio::test]
    async fn lengths_are_checked_before_anything_is_allocated() {
        for found in [-1, i32::MIN, i32::MAX, 0, 3, (1 << 20) + 1] {
            let error = read(&found.to_be_bytes()).await.unwrap_err();
            let is_length = |error| matches!(error, FrameError::Length { found: f, limit } if f == found && limit == 1 << 20);
            assert!(is_length(error), "{found}");
        }
    }

    #[tokio::test]
    async fn a_length_of_a_gigabyte_allocates_what_arrives() {
        let pool = FramePool::new(1, usize::MAX);
        let mut bytes = (1_i32 << 30).to_be_bytes().to_vec();
        bytes.extend([0; 100]);
        let mut reader = FrameReader::default();
        let error = reader.read(&mut bytes.as_slice(), &pool, 0, 1 << 30).await;
        drop(reader);
        assert!(
            matches!(error, Err(FrameError::Ended(text)) if text.contains("after 100 bytes of a response of 1073741824"))
        );
        assert!(pool.take().bytes_mut().capacity() <= 2 * FIRST_BYTES);
    }

    #[tokio::test]
    async fn ends_within_a_frame_are_reported() {
        for (bytes, words) in [
            (&[][..], "it ended before the 4 bytes"),
            (&[0, 0], "it ended after 2 bytes"),
            (
                &[0, 0, 0, 9, 1, 2],
                "it ended after 2 bytes of a response of 9 bytes",
            ),
        ] {
            let error = read(bytes).await.unwrap_err();
            assert!(
                matches!(error, FrameError::Ended(text) if text.contains(words)),
                "{words}"
            );
        }
    }
}
