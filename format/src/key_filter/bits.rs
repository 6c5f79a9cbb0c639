//! The entries of a page as differences in a Golomb-Rice code (SPEC 2.9).

use super::Form;

/// Decodes a page of `count` entries, and hands over the stored bits of each hash with the number of the block; the error says what is wrong.
pub(super) fn decode(
    form: Form,
    page: usize,
    count: u32,
    bytes: &[u8],
    each: &mut impl FnMut(u64, usize),
) -> Result<(), String> {
    let values = form.values(page);
    let mut bits = Bits { bytes, at: 0 };
    // The least value that the next entry can have.
    let mut least = values.start;
    for number in 0..count {
        let short = || format!("it ends before entry {number} of {count}");
        let high = bits.ones().ok_or_else(short)?;
        let low = bits.take(form.rice_bits).ok_or_else(short)?;
        let value = high
            .checked_mul(1 << form.rice_bits)
            .and_then(|high| least.checked_add(high | low))
            .filter(|value| *value < values.end)
            .ok_or_else(|| format!("entry {number} of {count} belongs to another page"))?;
        // There are blocks: without one, no value is below the end. Their number fits, as that of the block below it does.
        each(value / form.blocks, (value % form.blocks) as usize);
        least = value + 1;
    }
    match bits.is_at_end() {
        true => Ok(()),
        false => Err(format!("more than its {count} entries are there")),
    }
}

/// Encodes the ascending values of a page.
pub(super) fn encode(form: Form, page: usize, values: &[u64], out: &mut Vec<u8>) {
    let mut least = form.values(page).start;
    let mut writer = BitWriter {
        out,
        held: 0,
        count: 0,
    };
    for value in values {
        let difference = value.saturating_sub(least);
        for _ in 0..difference >> form.rice_bits {
            writer.put(1, 1);
        }
        writer.put(0, 1);
        // No more than 32 bits at a time fit beside those that are held.
        let low = difference & ((1 << form.rice_bits) - 1);
        let first = form.rice_bits.min(32);
        writer.put(low & ((1 << first) - 1), first);
        writer.put(low >> first, form.rice_bits - first);
        least = value + 1;
    }
    writer.finish();
}

/// Bits from the lowest of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The number of the next bit.
    at: usize,
}

impl Bits<'_> {
    /// Returns the next bits, at least 57 of them if there are as many, and how many they are.
    fn peek(&self) -> (u64, u32) {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let shift = (self.at % 8) as u32;
        if let Some(eight) = rest.first_chunk::<8>() {
            return (u64::from_le_bytes(*eight) >> shift, 64 - shift);
        }
        let mut eight = [0; 8];
        for (to, from) in eight.iter_mut().zip(rest) {
            *to = *from;
        }
        let there = 8 * rest.len() as u32;
        (
            u64::from_le_bytes(eight) >> shift,
            there.saturating_sub(shift),
        )
    }

    /// Counts the bits 1 before the next bit 0, and takes all of them.
    fn ones(&mut self) -> Option<u64> {
        let mut count = 0;
        loop {
            let (bits, there) = self.peek();
            let ones = bits.trailing_ones().min(there);
            count += u64::from(ones);
            self.at += ones as usize;
            if there == 0 {
                return None;
            }
            if ones < there {
                self.at += 1;
                return Some(count);
            }
        }
    }

    /// Takes a number of this many bits, the lowest first.
    fn take(&mut self, count: u8) -> Option<u64> {
        let count = u32::from(count);
        let first = self.take_few(count.min(32))?;
        let second = self.take_few(count.saturating_sub(32))?;
        Some(first | second << 32)
    }

    fn take_few(&mut self, count: u32) -> Option<u64> {
        let (bits, there) = self.peek();
        self.at += count as usize;
        (count <= there).then_some(bits & ((1 << count) - 1))
    }

    /// Returns whether fewer than 8 bits are left, and all of them are 0.
    fn is_at_end(&self) -> bool {
        let (bits, there) = self.peek();
        there < 8 && bits == 0
    }
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    /// How many bits are held: fewer than 8 between calls.
    count: u32,
}

impl BitWriter<'_> {
    /// Appends a number of this many bits, at most 32.
    fn put(&mut self, bits: u64, count: u8) {
        self.held |= bits << self.count;
        self.count += u32::from(count);
        while self.count >= 8 {
            self.out.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    fn finish(self) {
        if self.count > 0 {
            self.out.push(self.held as u8);
        }
    }
}
