//! Reads of text that consists of the texts of several blocks.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::error::ViewError;

/// The blocks of at most this much text of a long read are loaded in parallel.
pub(crate) const PARALLEL_TEXT: u64 = 4 << 20;

/// Reads a range of text. `piece` is given a position and the end of the range; it returns the text from there to the end of its block,
/// or of the range if that is earlier, and where it ends. If `partial` is set, an error after the first piece cuts the range.
pub(crate) async fn read_pieces<F>(
    range: Range<u64>,
    partial: bool,
    piece: impl Fn(u64, u64) -> F,
) -> Result<Bytes, ViewError>
where
    F: Future<Output = Result<(Bytes, u64), ViewError>>,
{
    let Range { start, end } = range;
    if start >= end {
        return Ok(Bytes::new());
    }
    let (first, mut at) = piece(start, end).await?;
    if at >= end {
        return Ok(first);
    }
    // Copied, so that no piece keeps memory leased while the next one waits for some.
    let mut all = BytesMut::from(&first[..]);
    drop(first);
    while at < end {
        let (next, next_at) = match piece(at, end).await {
            Err(_) if partial => break,
            found => found?,
        };
        all.extend_from_slice(&next);
        at = next_at;
    }
    Ok(all.freeze())
}
