//! Messages of formats v0 and v1 (Kafka's `LegacyRecord`), alone or in a compressed set.

use super::codec::BatchCodec;
use super::error;
use super::frame::{RecordBatch, RecordBatches};
use super::layout::{field, message};
use crate::error::{ErrorClass, Result};
use crate::record::TimestampType;

/// What the messages of a set take from the message that wraps them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrapper {
    /// What is added to the offset of each.
    pub(super) base_offset: i64,
    /// The timestamp of all of them, where the broker set it.
    pub(super) timestamp: Option<i64>,
}

impl Wrapper {
    /// A message that no other one wraps.
    pub(super) const NONE: Wrapper = Wrapper {
        base_offset: 0,
        timestamp: None,
    };

    /// Reads what `set`, the messages inside `wrapper`, take from it; checks every message.
    pub(super) fn of(wrapper: &RecordBatch<'_>, set: &[u8]) -> Result<Wrapper> {
        let fault = |detail: String| error(ErrorClass::Inconsistent, wrapper.position(), detail);
        let header = wrapper.header();
        let mut last = None;
        for message in RecordBatches::new(set, 0) {
            let message = message.map_err(|inner| fault(format!("in its set: {inner}")))?;
            let inner = message.header();
            if inner.magic > 1 || inner.attributes.codec() != Some(BatchCodec::None) {
                return Err(fault("its set holds another set or batch".to_owned()));
            }
            message.check_crc().map_err(|inner| {
                error(
                    inner.class,
                    wrapper.position(),
                    format!("in its set: {inner}"),
                )
            })?;
            Payload::of(&message)?;
            if last.is_some_and(|last| last >= inner.base_offset) {
                return Err(fault("the offsets in its set do not ascend".to_owned()));
            }
            last = Some(inner.base_offset);
        }
        let last = last.ok_or_else(|| fault("its set is empty".to_owned()))?;
        // Offsets are relative since v1. Some versions of librdkafka sent sets with the offset 0, which then are not.
        let base_offset = match (header.magic, header.last_offset) {
            (0, _) | (_, 0) => 0,
            (_, stated) => match stated - last {
                base @ 0.. => base,
                _ => {
                    let detail = format!("offset {stated}, below {last} in its set");
                    return Err(fault(detail));
                }
            },
        };
        let by_broker = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        Ok(Wrapper {
            base_offset,
            timestamp: (by_broker && header.magic == 1).then_some(header.max_timestamp),
        })
    }

    /// Returns the timestamp of a message: one of v0 has none.
    pub(super) fn timestamp(self, message: &RecordBatch<'_>) -> i64 {
        match (message.header().magic, self.timestamp) {
            (1, Some(timestamp)) => timestamp,
            _ => message.header().max_timestamp,
        }
    }
}

/// The key and the value of a message, each of which may be null.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Payload<'a> {
    /// Reads them.
    pub(super) fn of(message: &RecordBatch<'a>) -> Result<Payload<'a>> {
        let start = match message.header().magic {
            0 => message::KEY_V0,
            _ => message::KEY_V1,
        };
        let mut rest = message.after(start);
        let key = take(&mut rest);
        let value = take(&mut rest);
        match (key, value) {
            (Some(key), Some(value)) if rest.is_empty() => Ok(Payload { key, value }),
            _ => {
                let detail = "its key and value are not as long as it is";
                Err(error(ErrorClass::Inconsistent, message.position(), detail))
            }
        }
    }
}

/// Takes a length, of which a negative one is null, and as many bytes.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = i32::from_be_bytes(field(bytes, 0)?);
    let rest = bytes.get(4..)?;
    let Ok(length) = usize::try_from(length) else {
        *bytes = rest;
        return Some(None);
    };
    let (taken, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(taken))
}
