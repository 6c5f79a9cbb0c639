//! Snappy as Kafka's clients write it: in the frames of xerial's snappy-java, or as one block without a frame.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::codec::BatchCodec;
use super::inflate::{Fault, inconsistent, too_large};

/// Followed by the version and the oldest compatible version, four bytes each.
const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const HEADER: usize = MAGIC.len() + VERSIONS.len();

fn fault(detail: impl std::fmt::Display) -> Fault {
    inconsistent(BatchCodec::Snappy, detail)
}

pub(super) fn inflate(
    decoder: &mut Decoder,
    stored: &[u8],
    limit: usize,
    raw: &mut Vec<u8>,
) -> Result<(), Fault> {
    if !stored.starts_with(&MAGIC) {
        return block(decoder, stored, limit, raw);
    }
    let cut_off = || fault("the frame is cut off");
    let mut rest = stored;
    while !rest.is_empty() {
        // Streams may follow each other, each with a header.
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER..).ok_or_else(cut_off)?;
            continue;
        }
        let (length, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(fault)?;
        let (chunk, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
        block(decoder, chunk, limit, raw)?;
        rest = after;
    }
    Ok(())
}

/// Returns how many bytes the blocks in `stored` say that they decompress to, which none exceeds.
pub(super) fn bound(stored: &[u8]) -> Option<u64> {
    let of_block = |block: &[u8]| Some(decompress_len(block).ok()? as u64);
    if !stored.starts_with(&MAGIC) {
        return of_block(stored);
    }
    let (mut rest, mut sum) = (stored, 0_u64);
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER..)?;
            continue;
        }
        let length = u32::from_be_bytes(super::bound::take(&mut rest)?);
        let (chunk, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        sum = sum.saturating_add(of_block(chunk)?);
        rest = after;
    }
    Some(sum)
}

/// Appends what one block decompresses to.
fn block(
    decoder: &mut Decoder,
    stored: &[u8],
    limit: usize,
    raw: &mut Vec<u8>,
) -> Result<(), Fault> {
    let stated = decompress_len(stored).map_err(fault)?;
    // No block expresses more, whatever it states.
    let most = stored
        .len()
        .saturating_mul(BatchCodec::Snappy.highest_ratio() as usize);
    if stated > most {
        let detail = format!("{} bytes cannot decompress to {stated}", stored.len());
        return Err(fault(detail));
    }
    let filled = raw.len();
    if stated > limit.saturating_sub(filled) {
        return Err(too_large(limit));
    }
    raw.resize(filled + stated, 0);
    let room = raw.get_mut(filled..).unwrap_or_default();
    let written = decoder.decompress(stored, room).map_err(fault)?;
    raw.truncate(filled + written);
    Ok(())
}

/// Appends `raw` in a frame of chunks of 32 KiB, as snappy-java does.
pub(super) fn deflate(encoder: &mut Encoder, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    const CHUNK: usize = 32 << 10;
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
    let mut room = vec![0; max_compress_len(CHUNK.min(raw.len()))];
    for chunk in raw.chunks(CHUNK) {
        let written = encoder.compress(chunk, &mut room).map_err(fault)?;
        out.extend_from_slice(&(written as u32).to_be_bytes());
        out.extend_from_slice(room.get(..written).unwrap_or_default());
    }
    Ok(())
}
