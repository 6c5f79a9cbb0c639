//! The trailer: the last 64 bytes, from which a segment is opened (SPEC 2.7).

use crate::error::{ErrorClass, Result};
use crate::header::check_version;
use crate::layout::{ALIGNMENT, MAJOR, TRAILER_MAGIC, limits, trailer as at};
use crate::wire::{FieldReader, length, put};

/// Where the footer is, and what the footer and the file header must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) footer_position: u64,
    pub(crate) file_length: u64,
    pub(crate) footer_length: u32,
    pub(crate) footer_crc: u32,
    pub(crate) segment_id: [u8; 16],
    pub(crate) block_count: u32,
    pub(crate) minor: u16,
    pub(crate) header_crc: u32,
}

impl Trailer {
    pub(crate) fn encode(&self) -> [u8; at::LENGTH] {
        let mut bytes = [0; at::LENGTH];
        put(
            &mut bytes,
            at::FOOTER_POSITION,
            &self.footer_position.to_le_bytes(),
        );
        put(&mut bytes, at::FILE_LENGTH, &self.file_length.to_le_bytes());
        put(
            &mut bytes,
            at::FOOTER_LENGTH,
            &self.footer_length.to_le_bytes(),
        );
        put(&mut bytes, at::FOOTER_CRC, &self.footer_crc.to_le_bytes());
        put(&mut bytes, at::SEGMENT_ID, &self.segment_id);
        put(&mut bytes, at::BLOCK_COUNT, &self.block_count.to_le_bytes());
        put(&mut bytes, at::MAJOR, &MAJOR.to_le_bytes());
        put(&mut bytes, at::MINOR, &self.minor.to_le_bytes());
        put(&mut bytes, at::HEADER_CRC, &self.header_crc.to_le_bytes());
        let crc = crc32c::crc32c(bytes.split_at(at::TRAILER_CRC).0);
        put(&mut bytes, at::TRAILER_CRC, &crc.to_le_bytes());
        put(&mut bytes, at::MAGIC, &TRAILER_MAGIC);
        bytes
    }

    /// Reads the trailer of a segment of `file_length` bytes from its last bytes.
    pub(crate) fn decode(tail: &[u8], file_length: u64) -> Result<Trailer> {
        let start = tail.len().saturating_sub(at::LENGTH);
        let position = file_length.saturating_sub(at::LENGTH as u64);
        let bytes = tail.get(start..).unwrap_or_default();
        let view = FieldReader::new("trailer", position, bytes, at::LENGTH)?;
        view.ensure(view.array(at::MAGIC)? == TRAILER_MAGIC, ErrorClass::NotASegment, || {
            "the file does not end in a segment's magic: it is cut short, still being written, or not a segment".to_owned()
        })?;
        check_version(&view, view.u16(at::MAJOR)?)?;
        view.crc(
            "trailer_crc",
            view.u32(at::TRAILER_CRC)?,
            view.slice(0, at::TRAILER_CRC)?,
        )?;
        let trailer = Trailer {
            footer_position: view.u64(at::FOOTER_POSITION)?,
            file_length: view.u64(at::FILE_LENGTH)?,
            footer_length: view.u32(at::FOOTER_LENGTH)?,
            footer_crc: view.u32(at::FOOTER_CRC)?,
            segment_id: view.array(at::SEGMENT_ID)?,
            block_count: view.u32(at::BLOCK_COUNT)?,
            minor: view.u16(at::MINOR)?,
            header_crc: view.u32(at::HEADER_CRC)?,
        };
        trailer.check(&view, file_length)?;
        Ok(trailer)
    }

    fn check(&self, view: &FieldReader<'_>, file_length: u64) -> Result<()> {
        let footer_length = length(self.footer_length);
        view.ensure(
            footer_length <= limits::FOOTER_LENGTH,
            ErrorClass::Limit,
            || {
                format!(
                    "a footer of {footer_length} bytes; the limit is {}",
                    limits::FOOTER_LENGTH
                )
            },
        )?;
        let blocks = length(self.block_count);
        view.ensure(blocks <= limits::BLOCKS, ErrorClass::Limit, || {
            format!("{blocks} blocks; at most {} are allowed", limits::BLOCKS)
        })?;
        let end = self
            .footer_position
            .checked_add(u64::from(self.footer_length) + at::LENGTH as u64);
        view.ensure(
            end == Some(self.file_length)
                && footer_length.is_multiple_of(ALIGNMENT)
                && self.footer_position.is_multiple_of(ALIGNMENT as u64),
            ErrorClass::Inconsistent,
            || {
                format!(
                    "a footer at {} of {footer_length} bytes does not match a file of {} bytes",
                    self.footer_position, self.file_length
                )
            },
        )?;
        // A shorter file lacks bytes; in a longer one the trailer belongs to a lower position.
        let class = if file_length < self.file_length {
            ErrorClass::Truncated
        } else {
            ErrorClass::Misplaced
        };
        view.ensure(self.file_length == file_length, class, || {
            format!(
                "it states a length of {} bytes, the file has {file_length}",
                self.file_length
            )
        })
    }
}
