//! What the pages of a partition say: its segments, and where each one's text ends in the partition's.

use kbk_format::render::{View, ViewSizes};
use kbk_format::repo::{Page, PartitionState, SegmentEntry};

use crate::cache::budget::Lease;

/// A page and its memory.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) page: Page,
    /// Bytes of each view up to and including each segment, from the page's beginning.
    ends: Vec<ViewSizes>,
    _lease: Lease,
}

impl Table {
    pub(crate) fn new(page: Page, lease: Lease) -> Table {
        let mut end = ViewSizes::default();
        let ends = page.segments.iter().map(|entry| {
            end = sum(end, entry.rendered.unwrap_or_default());
            end
        });
        Table {
            ends: ends.collect(),
            page,
            _lease: lease,
        }
    }

    /// Bytes that a page of so many entries takes in memory, roughly.
    pub(crate) fn weight(entries: usize) -> u64 {
        entries as u64 * (size_of::<SegmentEntry>() + size_of::<ViewSizes>() + 150) as u64
    }

    /// Where the text of a segment begins in the page's.
    pub(crate) fn text_start(&self, segment: usize, view: View) -> u64 {
        let before = segment
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        before.map_or(0, |ends| ends[view as usize])
    }

    /// The segment that holds the byte at `position` of the page's text.
    fn segment_at(&self, position: u64, view: View) -> usize {
        self.ends
            .partition_point(|ends| ends[view as usize] <= position)
    }
}

/// Sums over the pages of a partition: what is said of its files without keeping the pages.
#[derive(Debug)]
pub(crate) struct Extent {
    /// Of each page.
    pages: Vec<PageEnd>,
    /// Every segment states the sizes of its text, and their sums are sizes that a file can have.
    pub(crate) sized: bool,
    /// Smallest and largest timestamp, where there is a record.
    pub(crate) times: Option<(i64, i64)>,
    /// Over all records.
    pub(crate) content_digest: u128,
    /// Of values and keys: whether each line is a whole one; none where a segment does not state it.
    pub(crate) whole_lines: Option<[bool; 2]>,
    _lease: Lease,
}

/// Sums up to and including a page.
#[derive(Clone, Copy, Debug, Default)]
struct PageEnd {
    segments: u64,
    text: ViewSizes,
    records: u64,
    stored_bytes: u64,
    raw_bytes: u64,
}

/// A segment, by the page that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) page: usize,
    pub(crate) segment: usize,
    /// Where the segment's text begins in the partition's.
    pub(crate) text_start: u64,
}

impl Extent {
    /// Sums up pages given in their order.
    pub(crate) fn sum<'a>(pages: impl Iterator<Item = &'a Page>, lease: Lease) -> Extent {
        let mut extent = Extent {
            pages: Vec::new(),
            sized: true,
            times: None,
            content_digest: 0,
            whole_lines: Some([true; 2]),
            _lease: lease,
        };
        let mut end = PageEnd::default();
        for page in pages {
            for entry in &page.segments {
                end.segments += 1;
                end.text = sum(end.text, entry.rendered.unwrap_or_default());
                end.records = end.records.saturating_add(entry.records);
                end.stored_bytes = end.stored_bytes.saturating_add(entry.size);
                end.raw_bytes = end.raw_bytes.saturating_add(entry.raw_bytes);
                extent.add(entry);
            }
            extent.pages.push(end);
        }
        extent.sized &= end.text.iter().all(|size| *size <= i64::MAX as u64);
        extent
    }

    fn add(&mut self, entry: &SegmentEntry) {
        self.sized &= entry.rendered.is_some();
        let digest = u128::from_be_bytes(entry.content_digest.0);
        self.content_digest = self.content_digest.wrapping_add(digest);
        let lines = self.whole_lines.zip(entry.whole_lines);
        self.whole_lines = lines.map(|(all, own)| [all[0] && own[0], all[1] && own[1]]);
        if entry.records > 0 {
            let (min, max) = self.times.unwrap_or((i64::MAX, i64::MIN));
            self.times = Some((min.min(entry.min_timestamp), max.max(entry.max_timestamp)));
        }
    }

    /// What the snapshot says of the partition that its pages do not.
    pub(crate) fn difference(&self, state: &PartitionState) -> Option<String> {
        let end = self.pages.last().copied().unwrap_or_default();
        let sums = [
            ("records", end.records, state.records),
            ("stored bytes", end.stored_bytes, state.stored_bytes),
            ("raw bytes", end.raw_bytes, state.raw_bytes),
        ];
        let (what, found, stated) = sums
            .into_iter()
            .find(|(_, found, stated)| found != stated)?;
        Some(format!(
            "the snapshot says {stated} {what}, its pages {found}"
        ))
    }

    /// Bytes that the sums of so many pages take.
    pub(crate) fn weight(pages: usize) -> u64 {
        (size_of::<Extent>() + pages * size_of::<PageEnd>()) as u64
    }

    /// Length of the partition's text.
    pub(crate) fn size(&self, view: View) -> u64 {
        self.pages.last().map_or(0, |end| end.text[view as usize])
    }

    /// The page that holds the byte at `position` of the partition's text.
    pub(crate) fn page_at(&self, position: u64, view: View) -> Option<usize> {
        let page = self
            .pages
            .partition_point(|end| end.text[view as usize] <= position);
        (page < self.pages.len()).then_some(page)
    }

    /// The segment of that page that holds it.
    pub(crate) fn spot_at(&self, page: usize, table: &Table, position: u64, view: View) -> Spot {
        let before = self.page_start(page, view);
        let segment = table.segment_at(position.saturating_sub(before), view);
        self.spot(page, table, segment, view)
    }

    pub(crate) fn spot(&self, page: usize, table: &Table, segment: usize, view: View) -> Spot {
        let text_start = self.page_start(page, view) + table.text_start(segment, view);
        Spot {
            page,
            segment,
            text_start,
        }
    }

    /// The page of a segment that is counted through the partition, and its place there.
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

fn sum(a: ViewSizes, b: ViewSizes) -> ViewSizes {
    std::array::from_fn(|view| a[view].saturating_add(b[view]))
}
