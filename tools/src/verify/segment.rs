//! Every byte of one segment, in parts of bounded size.
//!
//! ```text
//! | file header | run of blocks | run of blocks | ... | footer and trailer |
//! ```
//!
//! The footer has been read and compared with the page's entry before. What a damaged block covers
//! is known from the footer, so the check goes on behind it.

use std::ops::Range;

use kbk_format::repo::{BoxedError, Hex, SegmentEntry, SegmentReader};
use kbk_format::verify::RecordVerifier;
use kbk_format::{FormatError, Segment};
use sha2::{Digest, Sha256};

use super::Progress;
use super::object::Object;
use crate::finding::{Finding, Kind};
use crate::runs::runs;

/// A stretch of the segment.
enum Part {
    Header,
    Blocks(Range<usize>),
    /// Checked already; only the SHA-256 needs it once more.
    Footer,
}

/// Checks one segment, with `full` its records and its SHA-256 too.
pub(super) fn check(
    entry: &SegmentEntry,
    reader: &SegmentReader,
    object: &mut Object,
    full: bool,
    progress: &Progress,
) -> Vec<Finding> {
    let mut check = SegmentCheck {
        segment: reader.segment(),
        records: full.then(|| RecordVerifier::new(reader.segment())),
        sha256: full.then(Sha256::new),
        findings: Vec::new(),
    };
    if let Err(error) = check.parts(object, reader.store().profile().range_bytes, progress) {
        let finding = Finding::new(Kind::Unreadable, error.to_string());
        check.findings.push(finding);
        return check.findings;
    }
    check.finish(entry)
}

struct SegmentCheck<'a> {
    segment: &'a Segment,
    records: Option<RecordVerifier<'a>>,
    sha256: Option<Sha256>,
    findings: Vec<Finding>,
}

impl SegmentCheck<'_> {
    fn parts(
        &mut self,
        object: &mut Object,
        range_bytes: u64,
        progress: &Progress,
    ) -> Result<(), BoxedError> {
        let segment = self.segment;
        let entries = segment.index().entries();
        let blocks = runs(entries, 0..entries.len(), range_bytes).map(Part::Blocks);
        let footer = self.sha256.is_some().then_some(Part::Footer);
        let mut parts = std::iter::once(Part::Header)
            .chain(blocks)
            .chain(footer)
            .peekable();
        while let Some(part) = parts.next() {
            let next = parts.peek().map(|next| next.range(segment));
            let range = part.range(segment);
            let length = range.end - range.start;
            let bytes = object.read(range, next)?;
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(bytes);
            }
            match part {
                Part::Header => self.header(bytes),
                Part::Blocks(blocks) => self.blocks(blocks, bytes),
                Part::Footer => {}
            }
            progress(length);
        }
        Ok(())
    }

    fn header(&mut self, bytes: &[u8]) {
        if let Err(error) = self.segment.check_file_header(bytes) {
            self.findings
                .push(Finding::format(&error, Kind::DamagedSegment));
        }
    }

    fn blocks(&mut self, blocks: Range<usize>, bytes: &[u8]) {
        let segment = self.segment;
        let entries = segment.index().entries().get(blocks.clone());
        for (block, entry) in segment
            .blocks(blocks, bytes)
            .zip(entries.unwrap_or_default())
        {
            let checked = block.and_then(|block| match &mut self.records {
                Some(records) => records.block(&block),
                None => block.check(),
            });
            if let Err(error) = checked {
                self.damaged_block(&error, entry);
            }
        }
    }

    fn damaged_block(&mut self, error: &FormatError, entry: &kbk_format::IndexEntry) {
        if let Some(records) = &mut self.records {
            records.skip();
        }
        let finding = Finding::format(error, Kind::DamagedBlock);
        self.findings.push(finding.block(entry));
    }

    /// What shows only when all parts have been seen.
    fn finish(mut self, entry: &SegmentEntry) -> Vec<Finding> {
        if let Some(Err(error)) = self.records.take().map(RecordVerifier::finish) {
            self.findings
                .push(Finding::format(&error, Kind::DamagedSegment));
        }
        // Damage that has been found changes the digest as a matter of course.
        if let Some(sha256) = self.sha256.take()
            && self.findings.is_empty()
        {
            let found = Hex(sha256.finalize().into());
            if found != entry.sha256 {
                let message = format!("its SHA-256 is {found}, and its page says {}", entry.sha256);
                self.findings.push(Finding::new(Kind::OtherDigest, message));
            }
        }
        self.findings
    }
}

impl Part {
    fn range(&self, segment: &Segment) -> Range<u64> {
        match self {
            Part::Header => 0..segment.file_header_length(),
            Part::Blocks(blocks) => segment.index().range(blocks.clone()).unwrap_or_default(),
            Part::Footer => segment.footer_position()..segment.file_length(),
        }
    }
}
