//! Fixed-width little-endian fields of a structure in a byte slice.
//!
//! A [`FieldReader`] knows the structure's name and position, so that every error names both.

use crate::error::{ErrorClass, FormatError, Result};

/// A structure's bytes, to be read field by field.
#[derive(Clone, Copy)]
pub(crate) struct FieldReader<'a> {
    pub(crate) what: &'static str,
    pub(crate) position: u64,
    bytes: &'a [u8],
}

impl<'a> FieldReader<'a> {
    /// Wraps the first `length` bytes of `bytes`; *truncated* where there are fewer.
    pub(crate) fn new(
        what: &'static str,
        position: u64,
        bytes: &'a [u8],
        length: usize,
    ) -> Result<FieldReader<'a>> {
        match bytes.get(..length) {
            Some(bytes) => Ok(FieldReader {
                what,
                position,
                bytes,
            }),
            None => Err(FormatError::new(
                ErrorClass::Truncated,
                what,
                position,
                format!("needs {length} bytes, found {}", bytes.len()),
            )),
        }
    }

    pub(crate) fn error(&self, class: ErrorClass, detail: impl Into<String>) -> FormatError {
        FormatError::new(class, self.what, self.position, detail)
    }

    /// Returns `Ok` if `holds`; the message is built only otherwise.
    pub(crate) fn ensure(
        &self,
        holds: bool,
        class: ErrorClass,
        detail: impl FnOnce() -> String,
    ) -> Result<()> {
        if holds {
            Ok(())
        } else {
            Err(self.error(class, detail()))
        }
    }

    /// Returns the `N` bytes at `at`. Callers read within the length passed to `new`, so an error here is their defect.
    pub(crate) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        self.bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .ok_or_else(|| {
                self.error(
                    ErrorClass::Truncated,
                    format!("no {N} bytes at {at} of {}", self.bytes.len()),
                )
            })
    }

    pub(crate) fn u8(&self, at: usize) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array(at)?))
    }
    pub(crate) fn u16(&self, at: usize) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array(at)?))
    }
    pub(crate) fn u32(&self, at: usize) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }
    pub(crate) fn i32(&self, at: usize) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array(at)?))
    }
    pub(crate) fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }
    pub(crate) fn i64(&self, at: usize) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array(at)?))
    }
    pub(crate) fn u128(&self, at: usize) -> Result<u128> {
        Ok(u128::from_le_bytes(self.array(at)?))
    }

    /// Returns the bytes from `from` to `to`.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Result<&'a [u8]> {
        self.bytes.get(from..to).ok_or_else(|| {
            self.error(
                ErrorClass::Truncated,
                format!("no bytes {from} to {to} of {}", self.bytes.len()),
            )
        })
    }

    /// Checks that a part whose bytes a checksum covers is as long as its fixed fields: fewer bytes are *inconsistent*.
    pub(crate) fn holds(&self, length: usize) -> Result<()> {
        self.ensure(self.bytes.len() >= length, ErrorClass::Inconsistent, || {
            format!("needs {length} bytes, found {}", self.bytes.len())
        })
    }

    /// Checks that the bytes from `from` to `to` are padding.
    pub(crate) fn padding(&self, from: usize, to: usize) -> Result<()> {
        let padding = self.slice(from, to)?;
        self.ensure(
            padding.iter().all(|b| *b == 0),
            ErrorClass::Inconsistent,
            || format!("padding from {from} to {to} is not zero"),
        )
    }

    /// Checks a CRC-32C.
    pub(crate) fn crc(&self, name: &str, stored: u32, covered: &[u8]) -> Result<()> {
        let computed = crc32c::crc32c(covered);
        self.ensure(stored == computed, ErrorClass::Checksum, || {
            format!("{name} is {stored:#010x}, the CRC-32C of the bytes is {computed:#010x}")
        })
    }
}

/// Writes a field of a fixed-width structure under construction. Positions come from [`crate::layout`].
pub(crate) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at + field.len()) {
        target.copy_from_slice(field);
    } else {
        debug_assert!(false, "field of {} bytes at {at}", field.len());
    }
}

/// Appends zeros until the length of `bytes` is a multiple of `alignment`.
pub(crate) fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(crate::layout::align(bytes.len(), alignment), 0);
}

/// Converts a `u32` to a length in memory.
pub(crate) fn length(n: u32) -> usize {
    // Lossless: kbk does not build for 16-bit machines.
    n as usize
}
