//! Walks over the batches of one file, past what is damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kbk_format::batch::{BatchHeader, HEADER_LENGTH, PREFIX_LENGTH, RecordBatch, frame_length};
use kbk_format::{FormatError, OffsetSpan};

use super::error::ImportError;

/// Bytes that are looked at together in the search for the next batch.
const WINDOW: usize = 1 << 20;

/// What comes next in a file.
pub(super) enum Next {
    /// A batch, whose bytes are in the buffer.
    Batch,
    /// Bytes that are no batch, from this position on, and why.
    Damaged(u64, FormatError),
    /// The file ends within a batch that begins here, or in zeros.
    Torn(u64),
    /// The file ends after a batch.
    End,
}

/// How much of a batch is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Headers, and control batches as a whole.
    Headers,
    /// Everything.
    Whole,
}

/// One `.log` file.
pub(super) struct LogReader {
    file: File,
    path: PathBuf,
    length: u64,
    /// Where the next batch begins.
    next: u64,
    depth: Depth,
    /// Where the batch in the buffer begins.
    position: u64,
    buffer: Vec<u8>,
}

impl LogReader {
    pub(super) fn open(
        path: &Path,
        depth: Depth,
        buffer: Vec<u8>,
    ) -> Result<LogReader, ImportError> {
        let opened = File::open(path).and_then(|file| {
            let length = file.metadata()?.len();
            Ok((file, length))
        });
        let (file, length) = opened.map_err(ImportError::io("open", path))?;
        Ok(LogReader {
            file,
            path: path.to_owned(),
            length,
            next: 0,
            depth,
            position: 0,
            buffer,
        })
    }

    /// Returns the buffer, for the next file.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Returns where the next batch begins.
    pub(super) fn next_position(&self) -> u64 {
        self.next
    }

    /// Reads the next batch.
    pub(super) fn next(&mut self) -> Result<Next, ImportError> {
        self.advance().map_err(ImportError::io("read", &self.path))
    }

    /// Returns the header of the batch that [`next`](Self::next) read last, of which there may be no more in the buffer.
    pub(super) fn header(&self) -> Result<BatchHeader, FormatError> {
        BatchHeader::parse(&self.buffer, self.position)
    }

    /// Returns the batch that [`next`](Self::next) read last as a whole.
    pub(super) fn batch(&self) -> Result<RecordBatch<'_>, FormatError> {
        RecordBatch::parse(&self.buffer, self.position)
    }

    fn advance(&mut self) -> io::Result<Next> {
        self.position = self.next;
        let left = self.length - self.next;
        if left == 0 {
            return Ok(Next::End);
        }
        self.fill(self.next, left.min(HEADER_LENGTH as u64) as usize)?;
        let length = match frame_length(&self.buffer, self.position) {
            Ok(Some(length)) => length as u64,
            Ok(None) => return Ok(self.torn()),
            Err(error) => return self.damaged(error),
        };
        if length > left {
            // Either it is cut off, or its length is damaged and others follow.
            return match self.find_next(self.position + 1)? {
                Some(next) => {
                    self.next = next;
                    let found = RecordBatch::parse(&self.buffer, self.position);
                    let error = found.err().unwrap_or_else(|| unreadable(self.position));
                    Ok(Next::Damaged(self.position, error))
                }
                None => Ok(self.torn()),
            };
        }
        let header = match self.header() {
            Ok(header) => header,
            Err(error) => return self.damaged(error),
        };
        if self.depth == Depth::Whole || header.attributes.is_control() {
            self.fill(self.position, length as usize)?;
        }
        self.next = self.position + length;
        Ok(Next::Batch)
    }

    /// Returns the first offset that the next batch states; `None` where nothing follows that looks like one.
    pub(super) fn peek_base_offset(&self) -> Result<Option<i64>, ImportError> {
        let left = self.length - self.next;
        let mut prefix = [0; HEADER_LENGTH];
        let length = left.min(HEADER_LENGTH as u64) as usize;
        let prefix = prefix.get_mut(..length).unwrap_or_default();
        let read = self.file.read_exact_at(prefix, self.next);
        read.map_err(ImportError::io("read", &self.path))?;
        let header = BatchHeader::parse(prefix, self.next).ok();
        Ok(header.map(|header| header.base_offset))
    }

    /// Skips the batch that was read last as damaged: only its length was believed, and what follows is looked at with doubt.
    pub(super) fn distrust(&mut self) -> Result<(), ImportError> {
        let skip = |this: &mut LogReader| {
            if this.next < this.length && !this.is_batch_at(this.next)? {
                let next = this.find_next(this.position + 1)?;
                this.next = next.unwrap_or(this.length);
            }
            Ok(())
        };
        skip(self).map_err(ImportError::io("read", &self.path))
    }

    fn torn(&mut self) -> Next {
        self.next = self.length;
        Next::Torn(self.position)
    }

    fn damaged(&mut self, error: FormatError) -> io::Result<Next> {
        match self.find_next(self.position + 1)? {
            Some(next) => {
                self.next = next;
                Ok(Next::Damaged(self.position, error))
            }
            None if self.ends_in_zeros()? => Ok(self.torn()),
            None => {
                self.next = self.length;
                Ok(Next::Damaged(self.position, error))
            }
        }
    }

    /// Returns whether there are only zeros from the position on: room that was reserved, or lost in a crash.
    fn ends_in_zeros(&self) -> io::Result<bool> {
        let mut window = vec![0; WINDOW];
        let mut at = self.position;
        while at < self.length {
            let part = (self.length - at).min(WINDOW as u64) as usize;
            let window = window.get_mut(..part).unwrap_or_default();
            self.file.read_exact_at(window, at)?;
            if window.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += part as u64;
        }
        Ok(true)
    }

    /// Finds the first position from `from` on where a batch begins whose checksum matches.
    fn find_next(&self, from: u64) -> io::Result<Option<u64>> {
        let mut window = vec![0; WINDOW];
        let mut at = from;
        while self.length.saturating_sub(at) >= PREFIX_LENGTH as u64 {
            let part = (self.length - at).min(WINDOW as u64) as usize;
            let window = window.get_mut(..part).unwrap_or_default();
            self.file.read_exact_at(window, at)?;
            for (skipped, prefix) in (0..).zip(window.windows(PREFIX_LENGTH)) {
                let position = at + skipped;
                if self.may_begin(prefix, position) && self.is_batch_at(position)? {
                    return Ok(Some(position));
                }
            }
            // The last positions did not have all of their prefixes.
            at += (part - PREFIX_LENGTH + 1) as u64;
        }
        Ok(None)
    }

    /// Returns whether the bytes look like the begin of a batch that ends in the file.
    fn may_begin(&self, prefix: &[u8], position: u64) -> bool {
        let length = frame_length(prefix, position).ok().flatten();
        length.is_some_and(|length| length as u64 <= self.length - position)
    }

    fn is_batch_at(&self, position: u64) -> io::Result<bool> {
        let left = self.length - position;
        let mut prefix = vec![0; left.min(HEADER_LENGTH as u64) as usize];
        self.file.read_exact_at(&mut prefix, position)?;
        let length = frame_length(&prefix, position).ok().flatten();
        let Some(length) = length.filter(|length| *length as u64 <= left) else {
            return Ok(false);
        };
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, position)?;
        let batch = RecordBatch::parse(&bytes, position);
        Ok(batch.is_ok_and(|batch| batch.check_crc().is_ok()))
    }

    /// Reads bytes of the file, which has them, into the buffer.
    fn fill(&mut self, from: u64, length: usize) -> io::Result<()> {
        self.buffer.resize(length, 0);
        self.file.read_exact_at(&mut self.buffer, from)
    }
}

/// Says why the offsets of a batch are not its own, if so: no checksum covers them. The batches before it end at `end`, and `next` is the first
/// offset of what follows. Where two neighbours contradict each other, the one is right that begins where the last one ended.
pub(super) fn out_of_place(header: &BatchHeader, end: i64, next: Option<i64>) -> Option<String> {
    let BatchHeader {
        base_offset,
        last_offset,
        ..
    } = *header;
    let offsets = OffsetSpan::from(base_offset..last_offset + 1);
    if base_offset < end {
        return Some(format!(
            "it states the {offsets}, and those before it end at {end}"
        ));
    }
    // A message set states its last offset only.
    let is_contiguous = base_offset == end || header.record_count.is_none();
    let next = next.filter(|next| *next <= last_offset && !is_contiguous)?;
    Some(format!(
        "it states the {offsets}, and what follows begins at {next}"
    ))
}

fn unreadable(position: u64) -> FormatError {
    FormatError::new(
        kbk_format::ErrorClass::Inconsistent,
        "record batch",
        position,
        "it is not as long as it states",
    )
}
