//! The file header and its TLVs (SPEC 2.1, 2.2).

use crate::error::{ErrorClass, FormatError, Result};
use crate::layout::{self, ALIGNMENT, FILE_MAGIC, MAJOR, MINOR, file_header as at, limits, tlv};
use crate::partition::PartitionNumber;
use crate::record::{IsolationLevel, TimestampType};
use crate::render::Renderer;
use crate::wire::{FieldReader, length, pad, put};

/// What a segment states about itself before its first block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// The random id of the segment.
    pub segment_id: [u8; 16],
    /// Kafka's topic id; zeros where the cluster gave none.
    pub topic_id: [u8; 16],
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
    /// The timestamp type of every record in the segment.
    pub timestamp_type: TimestampType,
    /// What the writer could see of the source.
    pub isolation_level: IsolationLevel,
    /// First offset of the coverage.
    pub base_offset: i64,
    /// The Kafka cluster's id.
    pub cluster_id: Option<String>,
    /// Program and version that wrote the segment.
    pub writer: Option<String>,
    /// When writing the segment began, in milliseconds since the epoch.
    pub created_at: Option<i64>,
    /// The setting that all streams were compressed with, such as `zstd:12`; `None` where the writer does not state it.
    pub compression: Option<String>,
}

impl FileHeader {
    /// Returns the first 8 bytes of the segment id, which every block repeats.
    #[must_use]
    pub fn salt(&self) -> [u8; 8] {
        let mut salt = [0; 8];
        salt.copy_from_slice(self.segment_id.split_at(8).0);
        salt
    }

    /// Returns the renderer of the segment's records.
    #[must_use]
    pub fn renderer(&self) -> Renderer {
        Renderer::new(&self.topic, self.partition)
    }

    /// Encodes the header, with its padding and CRC.
    ///
    /// # Errors
    ///
    /// *limit* if the topic's name or the TLVs are longer than SPEC section 6 allows; *inconsistent* if a number is negative.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.encode_with(0)
    }

    /// Encodes the header of a segment with these incompatible features.
    pub(crate) fn encode_with(&self, features: u64) -> Result<Vec<u8>> {
        if self.topic.len() > limits::TOPIC_NAME_LENGTH {
            return Err(self.error(ErrorClass::Limit, topic_too_long(&self.topic)));
        }
        if self.base_offset < 0 {
            return Err(self.error(ErrorClass::Inconsistent, "base_offset is negative"));
        }
        let mut bytes = vec![0; at::LENGTH];
        self.put_tlvs(&mut bytes);
        let tlv_length = bytes.len() - at::LENGTH;
        // Padding, so that the header ends aligned with the CRC that follows.
        let total = layout::align(bytes.len() + 4, ALIGNMENT);
        if total > limits::FILE_HEADER_LENGTH {
            let detail = format!(
                "{total} bytes; at most {} are allowed",
                limits::FILE_HEADER_LENGTH
            );
            return Err(self.error(ErrorClass::Limit, detail));
        }
        bytes.resize(total - 4, 0);
        put(&mut bytes, at::MAGIC, &FILE_MAGIC);
        put(&mut bytes, at::MAJOR, &MAJOR.to_le_bytes());
        put(&mut bytes, at::MINOR, &MINOR.to_le_bytes());
        put(&mut bytes, at::HEADER_LENGTH, &(total as u32).to_le_bytes());
        let at_features = at::INCOMPATIBLE_FEATURES;
        put(&mut bytes, at_features, &features.to_le_bytes());
        put(&mut bytes, at::SEGMENT_ID, &self.segment_id);
        put(&mut bytes, at::TOPIC_ID, &self.topic_id);
        put(
            &mut bytes,
            at::PARTITION,
            &self.partition.get().to_le_bytes(),
        );
        put(&mut bytes, at::TIMESTAMP_TYPE, &[self.timestamp_type as u8]);
        put(
            &mut bytes,
            at::ISOLATION_LEVEL,
            &[self.isolation_level as u8],
        );
        put(&mut bytes, at::BASE_OFFSET, &self.base_offset.to_le_bytes());
        put(
            &mut bytes,
            at::TLV_LENGTH,
            &(tlv_length as u32).to_le_bytes(),
        );
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    fn error(&self, class: ErrorClass, detail: impl Into<String>) -> FormatError {
        FormatError::new(class, "file header", 0, detail)
    }

    fn put_tlvs(&self, bytes: &mut Vec<u8>) {
        put_tlv(bytes, layout::TLV_TOPIC, self.topic.as_bytes());
        if let Some(cluster_id) = &self.cluster_id {
            put_tlv(bytes, layout::TLV_CLUSTER_ID, cluster_id.as_bytes());
        }
        if let Some(writer) = &self.writer {
            put_tlv(bytes, layout::TLV_WRITER, writer.as_bytes());
        }
        if let Some(created_at) = self.created_at {
            put_tlv(bytes, layout::TLV_CREATED_AT, &created_at.to_le_bytes());
        }
        if let Some(compression) = &self.compression {
            put_tlv(bytes, layout::TLV_COMPRESSION, compression.as_bytes());
        }
    }

    /// Decodes the header at the start of `bytes`; returns it with its length.
    ///
    /// # Errors
    ///
    /// Any class but *misplaced*: a header does not state a position.
    pub fn decode(bytes: &[u8]) -> Result<(FileHeader, usize)> {
        FileHeader::decode_at(bytes, 0)
    }

    /// Decodes a copy of the header at `position`, which errors name.
    pub(crate) fn decode_at(bytes: &[u8], position: u64) -> Result<(FileHeader, usize)> {
        let fixed = FieldReader::new("file header", position, bytes, at::LENGTH)?;
        fixed.ensure(
            fixed.array(at::MAGIC)? == FILE_MAGIC,
            ErrorClass::NotASegment,
            || "it does not start with a segment's magic".to_owned(),
        )?;
        check_version(&fixed, fixed.u16(at::MAJOR)?)?;
        let header_length = length(fixed.u32(at::HEADER_LENGTH)?);
        fixed.ensure(
            header_length <= limits::FILE_HEADER_LENGTH,
            ErrorClass::Limit,
            || {
                format!(
                    "header_length {header_length}; the limit is {}",
                    limits::FILE_HEADER_LENGTH
                )
            },
        )?;
        fixed.ensure(
            header_length >= at::LENGTH + 4 && header_length.is_multiple_of(ALIGNMENT),
            ErrorClass::Inconsistent,
            || format!("header_length {header_length}"),
        )?;
        let whole = FieldReader::new("file header", position, bytes, header_length)?;
        let crc_at = header_length - 4;
        whole.crc("header_crc", whole.u32(crc_at)?, whole.slice(0, crc_at)?)?;
        let header = FileHeader::decode_fields(&whole, crc_at)?;
        Ok((header, header_length))
    }

    fn decode_fields(view: &FieldReader<'_>, crc_at: usize) -> Result<FileHeader> {
        let unknown = view.u64(at::INCOMPATIBLE_FEATURES)? & !layout::KNOWN_FEATURES;
        view.ensure(unknown == 0, ErrorClass::Unsupported, || {
            format!("needs the unknown features {unknown:#x}; a newer kbk may read it")
        })?;
        let tlv_end = length(view.u32(at::TLV_LENGTH)?)
            .checked_add(at::LENGTH)
            .filter(|end| layout::align(*end + 4, ALIGNMENT) == crc_at + 4)
            .ok_or_else(|| {
                view.error(
                    ErrorClass::Inconsistent,
                    "tlv_length and header_length do not match",
                )
            })?;
        view.padding(tlv_end, crc_at)?;
        let tlvs = Tlvs::decode(view, tlv_end)?;
        let header = FileHeader {
            segment_id: view.array(at::SEGMENT_ID)?,
            topic_id: view.array(at::TOPIC_ID)?,
            topic: tlvs.topic.ok_or_else(|| {
                view.error(ErrorClass::Inconsistent, "it does not name its topic")
            })?,
            partition: decode_partition(view)?,
            timestamp_type: decode_timestamp_type(view)?,
            isolation_level: decode_isolation_level(view)?,
            base_offset: view.i64(at::BASE_OFFSET)?,
            cluster_id: tlvs.cluster_id,
            writer: tlvs.writer,
            created_at: tlvs.created_at,
            compression: tlvs.compression,
        };
        let fits = header.topic.len() <= limits::TOPIC_NAME_LENGTH;
        view.ensure(fits, ErrorClass::Limit, || topic_too_long(&header.topic))?;
        view.ensure(header.base_offset >= 0, ErrorClass::Inconsistent, || {
            format!("base_offset is {}", header.base_offset)
        })?;
        Ok(header)
    }
}

fn topic_too_long(topic: &str) -> String {
    format!(
        "the topic's name has {} bytes; at most {} are allowed",
        topic.len(),
        limits::TOPIC_NAME_LENGTH
    )
}

/// Refuses any other major version.
pub(crate) fn check_version(view: &FieldReader<'_>, major: u16) -> Result<()> {
    view.ensure(major == MAJOR, ErrorClass::Unsupported, || {
        format!("version {major}, this program reads {MAJOR}; a newer kbk may read it")
    })
}

fn decode_partition(view: &FieldReader<'_>) -> Result<PartitionNumber> {
    let number = view.i32(at::PARTITION)?;
    PartitionNumber::try_from(number)
        .map_err(|error| view.error(ErrorClass::Inconsistent, error.to_string()))
}

fn decode_timestamp_type(view: &FieldReader<'_>) -> Result<TimestampType> {
    match view.u8(at::TIMESTAMP_TYPE)? {
        0 => Ok(TimestampType::CreateTime),
        1 => Ok(TimestampType::LogAppendTime),
        other => Err(view.error(ErrorClass::Unsupported, format!("timestamp_type {other}"))),
    }
}

fn decode_isolation_level(view: &FieldReader<'_>) -> Result<IsolationLevel> {
    match view.u8(at::ISOLATION_LEVEL)? {
        0 => Ok(IsolationLevel::ReadUncommitted),
        1 => Ok(IsolationLevel::ReadCommitted),
        other => Err(view.error(ErrorClass::Unsupported, format!("isolation_level {other}"))),
    }
}

fn put_tlv(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    bytes.extend_from_slice(value);
    pad(bytes, layout::TLV_ALIGNMENT);
}

#[derive(Default)]
struct Tlvs {
    topic: Option<String>,
    cluster_id: Option<String>,
    writer: Option<String>,
    created_at: Option<i64>,
    compression: Option<String>,
}

impl Tlvs {
    /// Reads the TLVs from the header's fixed part to `end`.
    fn decode(view: &FieldReader<'_>, end: usize) -> Result<Tlvs> {
        let mut tlvs = Tlvs::default();
        let mut position = at::LENGTH;
        while position < end {
            let cut = || {
                view.error(
                    ErrorClass::Inconsistent,
                    format!("the TLV at {position} is cut off"),
                )
            };
            let value_at = position + tlv::LENGTH;
            if value_at > end {
                return Err(cut());
            }
            let value_end = length(view.u32(position + tlv::VALUE_LENGTH)?)
                .checked_add(value_at)
                .filter(|value_end| layout::align(*value_end, layout::TLV_ALIGNMENT) <= end)
                .ok_or_else(cut)?;
            let next = layout::align(value_end, layout::TLV_ALIGNMENT);
            view.padding(value_end, next)?;
            tlvs.set(
                view,
                view.u16(position + tlv::TYPE)?,
                view.slice(value_at, value_end)?,
            )?;
            position = next;
        }
        Ok(tlvs)
    }

    /// Stores the value of one TLV; unknown types are skipped.
    fn set(&mut self, view: &FieldReader<'_>, kind: u16, value: &[u8]) -> Result<()> {
        let wrong = || {
            view.error(
                ErrorClass::Inconsistent,
                format!("the TLV of type {kind} is malformed or repeated"),
            )
        };
        let text = || {
            std::str::from_utf8(value)
                .map(str::to_owned)
                .map_err(|_| wrong())
        };
        let repeated = match kind {
            layout::TLV_TOPIC => self.topic.replace(text()?).is_some(),
            layout::TLV_CLUSTER_ID => self.cluster_id.replace(text()?).is_some(),
            layout::TLV_WRITER => self.writer.replace(text()?).is_some(),
            layout::TLV_CREATED_AT => {
                let value = value.try_into().map_err(|_| wrong())?;
                self.created_at.replace(i64::from_le_bytes(value)).is_some()
            }
            layout::TLV_COMPRESSION => self.compression.replace(text()?).is_some(),
            _ => false,
        };
        if repeated { Err(wrong()) } else { Ok(()) }
    }
}
