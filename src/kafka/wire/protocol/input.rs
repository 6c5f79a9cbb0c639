//! Reads the primitive types of Kafka's protocol, each length checked before it is used.

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {position}: {what}")]
pub struct Malformed {
    /// Where in the frame, after its length.
    pub position: usize,
    /// What was expected, and what was found.
    pub what: String,
}

/// The rest of a frame.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    frame: &'a [u8],
    position: usize,
    flexible: bool,
}

impl<'a> Input<'a> {
    /// Begins at the start of `frame`, without compact lengths.
    #[must_use]
    pub fn new(frame: &'a [u8]) -> Input<'a> {
        Input {
            frame,
            position: 0,
            flexible: false,
        }
    }

    /// Sets whether lengths are compact, and tagged fields exist.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Returns how many bytes of the frame are read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Creates an error about the next byte.
    #[must_use]
    pub fn malformed(&self, what: impl Into<String>) -> Malformed {
        Malformed {
            position: self.position,
            what: what.into(),
        }
    }

    fn remaining(&self) -> usize {
        self.frame.len() - self.position
    }

    /// Takes `length` bytes.
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.frame.get(self.position..).unwrap_or_default();
        match rest.get(..length) {
            Some(taken) => {
                self.position += length;
                Ok(taken)
            }
            None => Err(self.malformed(format!(
                "expected {length} more bytes, found {}",
                self.remaining()
            ))),
        }
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?.first_chunk().copied();
        taken.ok_or_else(|| self.malformed(format!("expected {N} bytes")))
    }

    /// Reads a number of one byte.
    ///
    /// # Errors
    ///
    /// Where the frame ends within it, as of all that follow.
    pub fn int8(&mut self) -> Result<i8, Malformed> {
        self.take_array().map(i8::from_be_bytes)
    }

    /// Reads a number of two bytes.
    pub fn int16(&mut self) -> Result<i16, Malformed> {
        self.take_array().map(i16::from_be_bytes)
    }

    /// Reads a number of four bytes.
    pub fn int32(&mut self) -> Result<i32, Malformed> {
        self.take_array().map(i32::from_be_bytes)
    }

    /// Reads a number of eight bytes.
    pub fn int64(&mut self) -> Result<i64, Malformed> {
        self.take_array().map(i64::from_be_bytes)
    }

    /// Reads a truth value.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        self.int8().map(|byte| byte != 0)
    }

    /// Reads a topic id.
    pub fn uuid(&mut self) -> Result<[u8; 16], Malformed> {
        self.take_array()
    }

    /// Reads a varint of at most 32 bits.
    fn varint(&mut self) -> Result<u32, Malformed> {
        let start = self.clone();
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take_array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map_err(|_| start.malformed("expected a varint of at most 32 bits"));
            }
        }
        Err(start.malformed("expected a varint of at most 5 bytes"))
    }

    /// Reads a length or a count of either form; `None` for null.
    fn length(&mut self, of_two_bytes: bool) -> Result<Option<usize>, Malformed> {
        let start = self.clone();
        let length = if self.flexible {
            i64::from(self.varint()?) - 1
        } else if of_two_bytes {
            i64::from(self.int16()?)
        } else {
            i64::from(self.int32()?)
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(start.malformed(format!("expected a length, found {length}"))),
        }
    }

    /// Reads text, or null.
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        let Some(length) = self.length(true)? else {
            return Ok(None);
        };
        let start = self.clone();
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Some)
            .map_err(|_| start.malformed("expected UTF-8"))
    }

    /// Reads text.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        let start = self.clone();
        let text = self.nullable_string()?;
        text.ok_or_else(|| start.malformed("expected text, found null"))
    }

    /// Reads bytes, or null.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.length(false)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the items of an array, each of which takes at least `item_bytes`, which bounds what is allocated for them. Null is empty.
    pub fn array<T>(
        &mut self,
        item_bytes: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let start = self.clone();
        let count = self.length(false)?.unwrap_or(0);
        let most = self.remaining() / item_bytes.max(1);
        if count > most {
            let what = format!("expected at most {most} items in the rest, found {count}");
            return Err(start.malformed(what));
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Skips tagged fields, where the version has them.
    pub fn tags(&mut self) -> Result<(), Malformed> {
        self.tagged(|_, _| Ok(()))
    }

    /// Reads tagged fields, where the version has them: `field` gets the number and the bytes of each, of which it may leave some.
    pub fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            let start = self.position;
            self.take(length)?;
            // A view that ends where the field does.
            let mut within = Input {
                frame: self.frame.get(..self.position).unwrap_or_default(),
                position: start,
                flexible: true,
            };
            field(tag, &mut within)?;
        }
        Ok(())
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.malformed(format!("expected the end, found {left} bytes"))),
        }
    }
}
