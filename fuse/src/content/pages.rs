//! The segments of a partition, in pages of the same number of segments, and where the text of each ends in the partition's.

use std::ops::Range;
use std::sync::Arc;

use kbk_format::render::{View, ViewSizes};
use kbk_format::repo::{PartitionState, SegmentEntry};

use crate::cache::budget::Lease;
use crate::content::text_lengths::{StandIn, TextLengths};

/// The segments of a page: what is kept in memory as a whole.
pub(crate) const PAGE_SEGMENTS: usize = 512;

/// The number of pages of a partition.
pub(crate) fn pages(state: &PartitionState) -> usize {
    let segments = usize::try_from(state.segments).unwrap_or(usize::MAX);
    segments.div_ceil(PAGE_SEGMENTS)
}

/// How long the text of a segment is.
#[derive(Clone, Debug)]
pub(crate) enum SegmentText {
    /// Its writer rendered otherwise.
    Unknown,
    /// As its row states it.
    Stated(ViewSizes),
    /// As it was computed.
    Computed(Arc<TextLengths>),
}

impl SegmentText {
    fn sizes(&self) -> Option<ViewSizes> {
        match self {
            SegmentText::Unknown => None,
            SegmentText::Stated(sizes) => Some(*sizes),
            SegmentText::Computed(lengths) => Some(lengths.whole()),
        }
    }

    fn stand_ins(&self) -> &[StandIn] {
        match self {
            SegmentText::Unknown | SegmentText::Stated(_) => &[],
            SegmentText::Computed(lengths) => lengths.stand_ins(),
        }
    }
}

/// Consecutive offsets whose text cannot be read, and what holds its place in the partition's text of each view.
#[derive(Clone, Debug)]
pub(crate) struct UnreadableText {
    pub(crate) offsets: Range<i64>,
    pub(crate) text: [Range<u64>; View::ALL.len()],
}

/// At most this many ranges of unreadable text are listed of a partition; all have their place in the text.
const MAX_UNREADABLE: usize = 10_000;

/// The segments of a page, and the lease on their memory.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    pub(crate) segments: Vec<SegmentEntry>,
    /// The length of each view's text in each segment: as its row states it, or as it was computed.
    texts: Vec<Option<ViewSizes>>,
    /// The same through each segment, from the page's beginning.
    ends: Vec<ViewSizes>,
    _lease: Lease,
}

impl SegmentTable {
    /// `texts` are those of the segments.
    pub(crate) fn new(
        segments: Vec<SegmentEntry>,
        texts: &[SegmentText],
        lease: Lease,
    ) -> SegmentTable {
        let texts: Vec<_> = texts.iter().map(SegmentText::sizes).collect();
        let mut end = ViewSizes::default();
        let ends = texts.iter().map(|text| {
            end = sum(end, text.unwrap_or_default());
            end
        });
        SegmentTable {
            ends: ends.collect(),
            texts,
            segments,
            _lease: lease,
        }
    }

    /// The approximate size of a page with this many entries in memory, in bytes.
    pub(crate) fn weight(entries: usize) -> u64 {
        let sizes = size_of::<ViewSizes>() + size_of::<Option<ViewSizes>>();
        entries as u64 * (size_of::<SegmentEntry>() + sizes + 150) as u64
    }

    /// The length of each view's text in a segment, if it is known.
    pub(crate) fn text(&self, segment: usize) -> Option<ViewSizes> {
        self.texts.get(segment).copied().flatten()
    }

    /// Where the text of a segment begins in the page's text.
    pub(crate) fn text_start(&self, segment: usize, view: View) -> u64 {
        let before = segment
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        before.map_or(0, |ends| ends[view as usize])
    }

    /// The segment that contains the byte at `position` of the page's text.
    fn segment_at(&self, position: u64, view: View) -> usize {
        self.ends
            .partition_point(|ends| ends[view as usize] <= position)
    }
}

/// Sums over the pages of a partition: enough for the attributes of its files, without the pages.
#[derive(Debug)]
pub(crate) struct PartitionIndex {
    /// Through each page.
    pages: Vec<PageEnd>,
    /// Whether the length of every segment's text is known, and the sums are valid file sizes.
    pub(crate) sized: bool,
    /// The smallest timestamp, where every segment states it, and the largest one, or a bound, if there is a record.
    pub(crate) times: Option<(Option<i64>, i64)>,
    /// Over all records; none if a segment does not state it.
    pub(crate) content_digest: Option<u128>,
    /// Whether each line of values, and of keys, is a whole one; none if a segment does not state it.
    pub(crate) whole_lines: Option<[bool; 2]>,
    /// The number of segments that do not state what only decoding tells (SPEC 2.11): the length of their text was computed.
    pub(crate) not_computed: u64,
    /// What of the text cannot be read, and was not when its length was computed; neighbours are one.
    pub(crate) unreadable: Vec<UnreadableText>,
    /// How many more there are.
    pub(crate) unreadable_left_out: u64,
    /// Whether every segment with records has a key filter.
    key_filters: bool,
    _lease: Lease,
}

/// Sums through a page.
#[derive(Clone, Copy, Debug, Default)]
struct PageEnd {
    segments: u64,
    end_offset: i64,
    text: ViewSizes,
}

/// A segment, by the page that lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentLocation {
    pub(crate) page: usize,
    pub(crate) segment: usize,
    /// Where the segment's text begins in the partition's text.
    pub(crate) text_start: u64,
}

impl PartitionIndex {
    /// Sums up all segments, which must come in order.
    ///
    /// `texts` are theirs.
    pub(crate) fn sum(
        segments: &[SegmentEntry],
        texts: &[SegmentText],
        lease: Lease,
    ) -> PartitionIndex {
        let mut index = PartitionIndex {
            pages: Vec::new(),
            sized: true,
            times: None,
            content_digest: Some(0),
            whole_lines: Some([true; 2]),
            not_computed: 0,
            unreadable: Vec::new(),
            unreadable_left_out: 0,
            key_filters: true,
            _lease: lease,
        };
        let mut end = PageEnd::default();
        let pages = segments.chunks(PAGE_SEGMENTS);
        for (page, texts) in pages.zip(texts.chunks(PAGE_SEGMENTS)) {
            for (entry, text) in page.iter().zip(texts) {
                end.segments += 1;
                end.end_offset = entry.end_offset;
                text.stand_ins()
                    .iter()
                    .for_each(|stand_in| index.add_unreadable(&end.text, stand_in));
                let sizes = text.sizes();
                index.sized &= sizes.is_some();
                end.text = sum(end.text, sizes.unwrap_or_default());
                index.add(entry);
            }
            index.pages.push(end);
        }
        index.sized &= end.text.iter().all(|size| *size <= i64::MAX as u64);
        index
    }

    /// Adds a stand-in of a segment whose text begins at `start`.
    fn add_unreadable(&mut self, start: &ViewSizes, stand_in: &StandIn) {
        let text = std::array::from_fn(|view| {
            let at = |position: u64| start[view].saturating_add(position);
            let range = &stand_in.text[view];
            at(range.start)..at(range.end)
        });
        let next = UnreadableText {
            offsets: stand_in.offsets.clone(),
            text,
        };
        let is_full = self.unreadable.len() == MAX_UNREADABLE;
        match self.unreadable.last_mut() {
            Some(last) if last.joins(&next) => last.extend(next),
            _ if is_full => self.unreadable_left_out += 1,
            _ => self.unreadable.push(next),
        }
    }

    fn add(&mut self, entry: &SegmentEntry) {
        self.not_computed += u64::from(!entry.is_computed());
        let digests = self.content_digest.zip(entry.content());
        self.content_digest = digests.map(|(sum, digest)| sum.wrapping_add(digest));
        let lines = self.whole_lines.zip(entry.whole_lines);
        self.whole_lines = lines.map(|(all, own)| [all[0] && own[0], all[1] && own[1]]);
        self.key_filters &= entry.key_filter || entry.records == 0;
        if entry.records > 0 {
            let (min, max) = self.times.unwrap_or((Some(i64::MAX), i64::MIN));
            let min = min.zip(entry.min_timestamp).map(|(min, own)| min.min(own));
            self.times = Some((min, max.max(entry.max_timestamp)));
        }
    }

    /// Whether text of the partition could not be read when its length was computed.
    pub(crate) fn has_unreadable_text(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// Whether a key can be looked up without reading all blocks.
    pub(crate) fn has_key_filters(&self) -> bool {
        self.key_filters && self.times.is_some()
    }

    /// The size of the index of this many pages in memory, in bytes.
    pub(crate) fn weight(pages: usize) -> u64 {
        (size_of::<PartitionIndex>() + pages * size_of::<PageEnd>()) as u64
    }

    /// The length of the partition's text.
    pub(crate) fn size(&self, view: View) -> u64 {
        self.pages.last().map_or(0, |end| end.text[view as usize])
    }

    /// The page that contains the byte at `position` of the partition's text.
    pub(crate) fn page_at(&self, position: u64, view: View) -> Option<usize> {
        let page = self
            .pages
            .partition_point(|end| end.text[view as usize] <= position);
        (page < self.pages.len()).then_some(page)
    }

    /// The segment of that page that contains the byte.
    pub(crate) fn location_at(
        &self,
        page: usize,
        table: &SegmentTable,
        position: u64,
        view: View,
    ) -> SegmentLocation {
        let before = self.page_start(page, view);
        let segment = table.segment_at(position.saturating_sub(before), view);
        self.location(page, table, segment, view)
    }

    pub(crate) fn location(
        &self,
        page: usize,
        table: &SegmentTable,
        segment: usize,
        view: View,
    ) -> SegmentLocation {
        let text_start = self.page_start(page, view) + table.text_start(segment, view);
        SegmentLocation {
            page,
            segment,
            text_start,
        }
    }

    /// The segments of a page that have text in a range of the partition's, and where the text of each begins.
    pub(crate) fn between(
        &self,
        page: usize,
        table: &SegmentTable,
        range: Range<u64>,
        view: View,
    ) -> Vec<(u64, SegmentEntry)> {
        let first = self.location_at(page, table, range.start, view).segment;
        let entries = table.segments.iter().enumerate().skip(first);
        entries
            .map(|(segment, entry)| {
                let start = self.location(page, table, segment, view).text_start;
                (start, entry.clone())
            })
            .take_while(|(start, _)| *start < range.end)
            .collect()
    }

    /// Where the text of a page ends in the partition's text.
    pub(crate) fn page_end(&self, page: usize, view: View) -> u64 {
        self.page_start(page + 1, view)
    }

    /// The page that covers an offset of the partition, and the number of segments before it.
    pub(crate) fn page_of_offset(&self, offset: i64) -> Option<(usize, u64)> {
        let page = self.pages.partition_point(|end| end.end_offset <= offset);
        self.pages.get(page)?;
        let before = page
            .checked_sub(1)
            .and_then(|before| self.pages.get(before));
        Some((page, before.map_or(0, |end| end.segments)))
    }

    /// The page of a segment, by its ordinal in the partition, and its index there.
    pub(crate) fn page_of(&self, segment: u64) -> Option<(usize, usize)> {
        let page = self.pages.partition_point(|end| end.segments <= segment);
        let before = page
            .checked_sub(1)
            .and_then(|before| self.pages.get(before));
        let into = segment - before.map_or(0, |end| end.segments);
        (page < self.pages.len()).then(|| Some((page, usize::try_from(into).ok()?)))?
    }

    fn page_start(&self, page: usize, view: View) -> u64 {
        let before = page
            .checked_sub(1)
            .and_then(|before| self.pages.get(before));
        before.map_or(0, |end| end.text[view as usize])
    }
}

impl UnreadableText {
    fn joins(&self, next: &UnreadableText) -> bool {
        let mut views = self.text.iter().zip(&next.text);
        self.offsets.end == next.offsets.start && views.all(|(text, next)| text.end == next.start)
    }

    fn extend(&mut self, next: UnreadableText) {
        self.offsets.end = next.offsets.end;
        for (text, next) in self.text.iter_mut().zip(next.text) {
            text.end = next.end;
        }
    }
}

fn sum(a: ViewSizes, b: ViewSizes) -> ViewSizes {
    std::array::from_fn(|view| a[view].saturating_add(b[view]))
}
