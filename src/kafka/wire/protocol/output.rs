//! Writes the primitive types of Kafka's protocol.

use super::Api;

/// A text or a list that its length field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text or list of {length} items, more than the request can hold")]
pub struct TooLong {
    /// Its length.
    pub length: usize,
}

/// A request that is being written: its length, its header, its body.
#[derive(Debug)]
pub struct Output<'a> {
    bytes: Vec<u8>,
    /// Records that the frame has in between: each with the number of `bytes` before it.
    lent: Vec<(usize, &'a [u8])>,
    flexible: bool,
    too_long: Option<TooLong>,
}

/// A whole frame, of which the records are borrowed from the request.
#[derive(Debug)]
pub struct EncodedFrame<'a> {
    bytes: Vec<u8>,
    lent: Vec<(usize, &'a [u8])>,
}

impl EncodedFrame<'_> {
    /// Returns all of the bytes, unless some of them are borrowed.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        self.lent.is_empty().then_some(self.bytes.as_slice())
    }

    /// Returns the bytes in their order, in pieces of which none is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.lent.iter().map(|(at, _)| *at));
        let ends = self.lent.iter().map(|(at, _)| *at);
        let own = starts.zip(ends.chain([self.bytes.len()]));
        let own = own.map(|(start, end)| self.bytes.get(start..end).unwrap_or_default());
        let lent = self.lent.iter().map(|(_, lent)| *lent).chain([&[][..]]);
        own.zip(lent)
            .flat_map(|(own, lent)| [own, lent])
            .filter(|piece| !piece.is_empty())
    }
}

impl<'a> Output<'a> {
    /// Begins with the header.
    #[must_use]
    pub fn new(api: Api, version: i16, correlation_id: i32, client_id: &str) -> Output<'a> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.resize(LENGTH, 0);
        let mut output = Output {
            bytes,
            lent: Vec::new(),
            flexible: false,
            too_long: None,
        };
        output.int16(api.key());
        output.int16(version);
        output.int32(correlation_id);
        // Of two bytes in flexible versions, too.
        output.string(client_id);
        output.flexible = api.is_flexible(version);
        output.tags();
        output
    }

    /// Returns the whole frame.
    ///
    /// # Errors
    ///
    /// Where a length did not fit.
    pub fn finish(mut self) -> Result<EncodedFrame<'a>, TooLong> {
        let lent: usize = self.lent.iter().map(|(_, lent)| lent.len()).sum();
        let length = self.bytes.len() - LENGTH + lent;
        let prefix = i32::try_from(length).map_err(|_| TooLong { length })?;
        if let Some(too_long) = self.too_long {
            return Err(too_long);
        }
        for (byte, value) in self.bytes.iter_mut().zip(prefix.to_be_bytes()) {
            *byte = value;
        }
        Ok(EncodedFrame {
            bytes: self.bytes,
            lent: self.lent,
        })
    }

    /// Writes a number of one byte.
    pub fn int8(&mut self, value: i8) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// Writes a number of two bytes.
    pub fn int16(&mut self, value: i16) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// Writes a number of four bytes.
    pub fn int32(&mut self, value: i32) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// Writes a number of eight bytes.
    pub fn int64(&mut self, value: i64) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// Writes a truth value.
    pub fn boolean(&mut self, value: bool) {
        self.int8(i8::from(value));
    }

    /// Writes a topic id.
    pub fn uuid(&mut self, value: [u8; 16]) {
        self.bytes.extend(value);
    }

    fn varint(&mut self, mut value: u32) {
        while value > 0x7f {
            let [low, ..] = value.to_le_bytes();
            self.bytes.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.bytes.push(low);
    }

    /// Writes a length of either form, and notes one that does not fit.
    fn length(&mut self, length: usize, of_two_bytes: bool) {
        let fits = match (self.flexible, of_two_bytes) {
            (true, _) => u32::try_from(length)
                .ok()
                .and_then(|length| length.checked_add(1))
                .map(|length| self.varint(length)),
            (false, true) => i16::try_from(length).ok().map(|length| self.int16(length)),
            (false, false) => i32::try_from(length).ok().map(|length| self.int32(length)),
        };
        if fits.is_none() {
            self.too_long = Some(TooLong { length });
        }
    }

    /// Writes text.
    pub fn string(&mut self, text: &str) {
        self.length(text.len(), true);
        self.bytes.extend(text.as_bytes());
    }

    /// Writes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len(), false);
        self.bytes.extend(bytes);
    }

    /// Writes records: the header of a batch, and the rest of it, which is not copied.
    pub fn records(&mut self, header: &[u8], rest: &'a [u8]) {
        self.length(header.len().saturating_add(rest.len()), false);
        self.bytes.extend(header);
        self.lent.push((self.bytes.len(), rest));
    }

    /// Writes text, or null.
    pub fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None if self.flexible => self.varint(0),
            None => self.int16(-1),
        }
    }

    /// Writes null in place of a list.
    pub fn null_array(&mut self) {
        if self.flexible {
            self.varint(0);
        } else {
            self.int32(-1);
        }
    }

    /// Writes a list.
    pub fn array<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.length(items.len(), false);
        for each in items {
            item(self, each);
        }
    }

    /// Writes that there are no tagged fields, where the version has them.
    pub fn tags(&mut self) {
        if self.flexible {
            self.varint(0);
        }
    }
}

/// Bytes of the length of a frame.
const LENGTH: usize = 4;
/// Room for most requests, but for the records that they borrow.
const USUAL_BYTES: usize = 512;
