//! The footer: typed sections after the last block (SPEC 2.5).

use crate::batch_bounds::BatchBoundsOfBlocks;
use crate::error::{ErrorClass, Result};
use crate::gaps::Gaps;
use crate::header::FileHeader;
use crate::hours::Hours;
use crate::index::{BlockIndex, Bounds};
use crate::key_filter::KeyFilter;
use crate::layout::{
    self, ALIGNMENT, file_header, rendered_sizes, section as at, statistics as statistics_at,
};
use crate::render::{RENDERING_VERSION, View, ViewSizes};
use crate::statistics::{RecordStatistics, Statistics};
use crate::trailer::Trailer;
use crate::whole_lines::WholeLines;
use crate::wire::{FieldReader, length, pad};

/// Everything that a segment states about itself after its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) header: FileHeader,
    /// The file header's bytes, as the footer repeats them.
    pub(crate) header_bytes: Vec<u8>,
    pub(crate) index: BlockIndex,
    pub(crate) statistics: Statistics,
    pub(crate) gaps: Gaps,
    pub(crate) rendered: Option<RenderedSizes>,
    pub(crate) whole_lines: Option<WholeLines>,
    pub(crate) hours: Option<Hours>,
    pub(crate) batch_bounds: BatchBoundsOfBlocks,
    pub(crate) key_filter: Option<KeyFilter>,
}

/// Lengths of the rendered views, up to and including each block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedSizes {
    ends: Vec<ViewSizes>,
}

impl RenderedSizes {
    /// Returns the bytes of each view up to and including each block.
    #[must_use]
    pub fn ends(&self) -> &[ViewSizes] {
        &self.ends
    }

    /// Returns the bytes of each view over all blocks.
    #[must_use]
    pub fn totals(&self) -> ViewSizes {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Creates an empty list with room for `count` blocks.
    pub(crate) fn with_capacity(count: usize) -> RenderedSizes {
        RenderedSizes {
            ends: Vec::with_capacity(count),
        }
    }

    pub(crate) fn push(&mut self, sizes: ViewSizes) {
        let mut end = self.ends.last().copied().unwrap_or_default();
        for (end, size) in end.iter_mut().zip(sizes) {
            *end += size;
        }
        self.ends.push(end);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&RENDERING_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(View::ALL.len() as u32).to_le_bytes());
        for view in 0..View::ALL.len() {
            for end in self.ends.iter().filter_map(|ends| ends.get(view)) {
                bytes.extend_from_slice(&end.to_le_bytes());
            }
        }
        bytes
    }

    /// Returns `None` for another rendering version: the section is not critical.
    fn decode(payload: &[u8], position: u64, blocks: usize) -> Result<Option<RenderedSizes>> {
        let view = FieldReader::new("section rendered_sizes", position, payload, payload.len())?;
        let views = View::ALL.len();
        view.holds(rendered_sizes::LENGTH)?;
        if view.u32(rendered_sizes::RENDERING_VERSION)? != RENDERING_VERSION {
            return Ok(None);
        }
        let stated = view.u32(rendered_sizes::VIEW_COUNT)?;
        view.ensure(length(stated) == views, ErrorClass::Inconsistent, || {
            format!("view_count {stated}, expected {views}")
        })?;
        let expected = rendered_sizes::LENGTH + 8 * views * blocks;
        view.ensure(payload.len() == expected, ErrorClass::Inconsistent, || {
            format!("{} bytes for {blocks} blocks", payload.len())
        })?;
        let mut ends = vec![ViewSizes::default(); blocks];
        for i in 0..views {
            let mut before = 0;
            for (block, ends) in ends.iter_mut().enumerate() {
                let end = view.u64(rendered_sizes::LENGTH + 8 * (i * blocks + block))?;
                view.ensure(end >= before, ErrorClass::Inconsistent, || {
                    format!("view {i} shrinks at block {block}")
                })?;
                before = end;
                if let Some(slot) = ends.get_mut(i) {
                    *slot = end;
                }
            }
        }
        Ok(Some(RenderedSizes { ends }))
    }
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut index =
            Vec::with_capacity(self.index.entries().len() * layout::index_entry::LENGTH);
        self.index.encode(&mut index);
        let mut bytes = Vec::new();
        let critical = layout::SECTION_CRITICAL;
        put_section(
            &mut bytes,
            layout::SECTION_HEADER_COPY,
            critical,
            &self.header_bytes,
        );
        put_section(&mut bytes, layout::SECTION_BLOCK_INDEX, critical, &index);
        put_section(
            &mut bytes,
            layout::SECTION_STATISTICS,
            critical,
            &self.statistics.encode(),
        );
        put_section(
            &mut bytes,
            layout::SECTION_GAPS,
            critical,
            &self.gaps.encode(),
        );
        if let Some(rendered) = &self.rendered {
            put_section(
                &mut bytes,
                layout::SECTION_RENDERED_SIZES,
                0,
                &rendered.encode(),
            );
        }
        if let Some(lines) = self.whole_lines {
            let payload = lines.encode();
            put_section(&mut bytes, layout::SECTION_WHOLE_LINES, 0, &payload);
        }
        if let Some(hours) = &self.hours {
            put_section(&mut bytes, layout::SECTION_HOURS, 0, &hours.encode());
        }
        if self.index.has_batches() {
            let payload = self.batch_bounds.encode();
            put_section(&mut bytes, layout::SECTION_BATCH_BOUNDS, 0, &payload);
        }
        if let Some(filter) = &self.key_filter {
            let payload = filter.encode();
            put_section(&mut bytes, layout::SECTION_KEY_FILTER, critical, &payload);
        }
        pad(&mut bytes, ALIGNMENT);
        bytes
    }

    /// Decodes the footer that the trailer describes.
    pub(crate) fn decode(bytes: &[u8], trailer: &Trailer) -> Result<Footer> {
        let view = FieldReader::new(
            "footer",
            trailer.footer_position,
            bytes,
            length(trailer.footer_length),
        )?;
        let covered = view.slice(0, length(trailer.footer_length))?;
        view.crc("footer_crc", trailer.footer_crc, covered)?;
        let sections = Sections::decode(&view, covered.len())?;

        let (header_bytes, position) = required(&view, "header_copy", sections.header_copy)?;
        let (header, header_length) =
            FileHeader::decode_at(header_bytes, position).map_err(|mut error| {
                // footer_crc covers the copy, so no byte of it is missing: its writer was faulty.
                if error.class == ErrorClass::Truncated {
                    error.class = ErrorClass::Inconsistent;
                }
                error
            })?;
        let copy = FieldReader::new("header_copy", position, header_bytes, header_length)?;
        let header_crc = copy.u32(header_length - 4)?;
        let minor = copy.u16(file_header::MINOR)?;
        view.ensure(
            header.segment_id == trailer.segment_id,
            ErrorClass::Misplaced,
            || "header_copy and trailer belong to different segments".to_owned(),
        )?;
        view.ensure(
            header_length == header_bytes.len()
                && header_crc == trailer.header_crc
                && minor == trailer.minor,
            ErrorClass::Inconsistent,
            || "header_copy is not the header that the trailer names".to_owned(),
        )?;

        let (payload, position) = required(&view, "statistics", sections.statistics)?;
        view.ensure(
            payload.len() == statistics_at::LENGTH,
            ErrorClass::Inconsistent,
            || format!("section statistics of {} bytes", payload.len()),
        )?;
        let features = copy.u64(file_header::INCOMPATIBLE_FEATURES)?;
        let is_computed = features & layout::FEATURE_NOT_COMPUTED == 0;
        let statistics = Statistics::decode(payload, position, is_computed)?;
        let absent = [
            ("rendered_sizes", sections.rendered_sizes),
            ("whole_lines", sections.whole_lines),
            ("hours", sections.hours),
            ("key_filter", sections.key_filter),
        ];
        let there = absent.into_iter().find(|(_, section)| section.is_some());
        view.ensure(
            is_computed || there.is_none(),
            ErrorClass::Inconsistent,
            || {
                let (name, _) = there.unwrap_or_default();
                format!(
                    "the bit not computed of its features is set, and the section {name} is there"
                )
            },
        )?;
        let is_marked = features & layout::FEATURE_KEY_FILTER != 0;
        view.ensure(
            sections.key_filter.is_some() == is_marked,
            ErrorClass::Inconsistent,
            || {
                let bit = if is_marked { "set" } else { "clear" };
                let section = if is_marked { "missing" } else { "there" };
                format!("the bit key_filter of its features is {bit}, and the section is {section}")
            },
        )?;
        let salt = header.salt();
        let (blocks, footer_position) = (trailer.block_count, trailer.footer_position);
        let key_filter = sections.key_filter.map(|(payload, position)| {
            KeyFilter::decode(payload, position, salt, blocks, footer_position)
        });
        let key_filter = key_filter.transpose()?;

        let (payload, position) = required(&view, "block_index", sections.block_index)?;
        let bounds = Bounds {
            first_block: header_length as u64,
            end: match &key_filter {
                Some(filter) => filter.range().start,
                None => trailer.footer_position,
            },
            base_offset: header.base_offset,
            end_offset: statistics.end_offset,
        };
        let index = BlockIndex::decode(payload, position, trailer.block_count, &bounds)?;
        let is_marked = features & layout::FEATURE_BATCHES != 0;
        view.ensure(
            index.has_batches() == is_marked,
            ErrorClass::Inconsistent,
            || {
                let bit = if is_marked { "set" } else { "clear" };
                let blocks = if is_marked {
                    "no block is"
                } else {
                    "a block is"
                };
                format!("the bit batches of its features is {bit}, and {blocks} of kind 2")
            },
        )?;

        view.ensure(
            sections.batch_bounds.is_some() == is_marked,
            ErrorClass::Inconsistent,
            || {
                let bit = if is_marked { "set" } else { "clear" };
                let section = if is_marked { "missing" } else { "there" };
                format!(
                    "the bit batches of its features is {bit}, and the section batch_bounds is {section}"
                )
            },
        )?;
        let batch_bounds = match sections.batch_bounds {
            Some((payload, position)) => BatchBoundsOfBlocks::decode(payload, position, &index)?,
            None => BatchBoundsOfBlocks::default(),
        };

        view.ensure(
            index.is_computed() == is_computed,
            ErrorClass::Inconsistent,
            || {
                let (bit, blocks) = match is_computed {
                    true => ("clear", "a block is not computed"),
                    false => ("set", "all blocks are computed"),
                };
                format!("the bit not computed of its features is {bit}, and {blocks}")
            },
        )?;

        let (payload, position) = required(&view, "gaps", sections.gaps)?;
        let gaps = Gaps::decode(payload, position, header.base_offset, statistics.end_offset)?;

        let rendered = match sections.rendered_sizes {
            Some((payload, position)) => {
                RenderedSizes::decode(payload, position, index.entries().len())?
            }
            None => None,
        };
        let whole_lines = match sections.whole_lines {
            Some((payload, position)) => WholeLines::decode(payload, position)?,
            None => None,
        };
        // Without the rendered sizes that its numbers add up to, the section states nothing.
        let hours = match (sections.hours, &rendered) {
            (Some((payload, position)), Some(rendered)) => {
                Hours::decode(payload, position, &index, rendered)?
            }
            _ => None,
        };
        let footer = Footer {
            header,
            header_bytes: header_bytes.to_vec(),
            index,
            statistics,
            gaps,
            rendered,
            whole_lines,
            hours,
            batch_bounds,
            key_filter,
        };
        footer.check(&view)?;
        Ok(footer)
    }

    /// Checks the relations between the sections.
    fn check(&self, view: &FieldReader<'_>) -> Result<()> {
        let entries = self.index.entries();
        let statistics = &self.statistics;
        let records: u64 = entries.iter().map(|e| u64::from(e.record_count)).sum();
        let raw: u64 = entries.iter().map(|e| u64::from(e.raw_length)).sum();
        let minima = || entries.iter().filter_map(|e| e.min_timestamps);
        let min = minima().map(|min| min.all).min().unwrap_or(i64::MAX);
        let max = entries
            .iter()
            .map(|e| e.max_timestamp)
            .max()
            .unwrap_or(i64::MIN);
        let known = minima().map(|min| min.known).min().unwrap_or(i64::MAX);
        let is_min =
            |it: &RecordStatistics| (it.min_timestamp, it.min_known_timestamp) == (min, known);
        let holds = statistics.base_offset == self.header.base_offset
            && (statistics.record_count, statistics.raw_bytes) == (records, raw)
            && statistics.max_timestamp == max
            && statistics.computed.as_ref().is_none_or(is_min)
            && self.gaps.missing_count == statistics.missing_count();
        view.ensure(holds, ErrorClass::Inconsistent, || {
            "statistics or gaps do not match the block index".to_owned()
        })
    }
}

fn put_section(bytes: &mut Vec<u8>, kind: u32, flags: u32, payload: &[u8]) {
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(payload);
    pad(bytes, layout::SECTION_ALIGNMENT);
}

/// A section's payload and its position in the segment.
type Payload<'a> = (&'a [u8], u64);

#[derive(Default)]
struct Sections<'a> {
    header_copy: Option<Payload<'a>>,
    block_index: Option<Payload<'a>>,
    statistics: Option<Payload<'a>>,
    gaps: Option<Payload<'a>>,
    rendered_sizes: Option<Payload<'a>>,
    whole_lines: Option<Payload<'a>>,
    hours: Option<Payload<'a>>,
    batch_bounds: Option<Payload<'a>>,
    key_filter: Option<Payload<'a>>,
}

impl<'a> Sections<'a> {
    fn decode(view: &FieldReader<'a>, end: usize) -> Result<Sections<'a>> {
        let mut sections = Sections::default();
        let (mut start, mut previous) = (0, 0);
        while start + at::LENGTH <= end {
            let kind = view.u32(start + at::TYPE)?;
            if kind == 0 {
                break;
            }
            view.ensure(kind > previous, ErrorClass::Inconsistent, || {
                format!("section {kind} is repeated or out of order")
            })?;
            previous = kind;
            let payload_at = start + at::LENGTH;
            let payload_end = usize::try_from(view.u64(start + at::PAYLOAD_LENGTH)?)
                .ok()
                .and_then(|length| payload_at.checked_add(length))
                // Bounded before it is rounded up, which a length near the largest number would overflow.
                .filter(|payload_end| *payload_end <= end)
                .filter(|payload_end| layout::align(*payload_end, layout::SECTION_ALIGNMENT) <= end)
                .ok_or_else(|| {
                    view.error(
                        ErrorClass::Inconsistent,
                        format!("section {kind} is cut off"),
                    )
                })?;
            let payload = (
                view.slice(payload_at, payload_end)?,
                view.position + payload_at as u64,
            );
            sections.set(view, kind, view.u32(start + at::FLAGS)?, payload)?;
            start = layout::align(payload_end, layout::SECTION_ALIGNMENT);
            view.padding(payload_end, start)?;
        }
        view.padding(start, end)?;
        view.ensure(
            end == layout::align(start, ALIGNMENT),
            ErrorClass::Inconsistent,
            || format!("its sections end at {start} of {end} bytes: more padding than it needs"),
        )?;
        Ok(sections)
    }

    fn set(
        &mut self,
        view: &FieldReader<'_>,
        kind: u32,
        flags: u32,
        payload: Payload<'a>,
    ) -> Result<()> {
        let slot = match kind {
            layout::SECTION_HEADER_COPY => &mut self.header_copy,
            layout::SECTION_BLOCK_INDEX => &mut self.block_index,
            layout::SECTION_STATISTICS => &mut self.statistics,
            layout::SECTION_GAPS => &mut self.gaps,
            layout::SECTION_RENDERED_SIZES => &mut self.rendered_sizes,
            layout::SECTION_WHOLE_LINES => &mut self.whole_lines,
            layout::SECTION_HOURS => &mut self.hours,
            layout::SECTION_BATCH_BOUNDS => &mut self.batch_bounds,
            layout::SECTION_KEY_FILTER => &mut self.key_filter,
            unknown => {
                let critical = flags & layout::SECTION_CRITICAL != 0;
                return view.ensure(!critical, ErrorClass::Unsupported, || {
                    format!("unknown critical section {unknown}; a newer kbk may read it")
                });
            }
        };
        *slot = Some(payload);
        Ok(())
    }
}

fn required<'a>(
    view: &FieldReader<'_>,
    name: &str,
    section: Option<Payload<'a>>,
) -> Result<Payload<'a>> {
    section.ok_or_else(|| {
        view.error(
            ErrorClass::Inconsistent,
            format!("section {name} is missing"),
        )
    })
}
