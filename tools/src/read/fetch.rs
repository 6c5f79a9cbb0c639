//! Requests the footers and blocks that a reader needs, ahead of its caller, and hands them over in order.
//!
//! ```text
//! segments --> being opened --> opened, blocks to read --> being read --> caller
//!                  |                                           ^
//!                  +--- small ones: all bytes, one request ----+
//!                  +--- the first one: its start with its footer
//!                  +--- keys are looked up: its footer, then pages of its key filter
//! ```
//!
//! [`Readahead`] decides how much is on the way. Requests are made in the order of the caller's needs, and what is next in line is always
//! requested, so memory that others hold delays reading ahead, but never reading. Until the caller has asked for the first block, nothing is needed:
//! a reader that was begun ahead has what memory there is for it, and waits.

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kbk_format::repo::{
    AheadBytes, AheadReader, AheadShare, ReadaheadLimits, RepoError, SegmentEntry,
};
use kbk_format::{IndexEntry, Segment, Streams};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::blocks::FetchedBlock;
use super::key_blocks::KeyBlocks;
use super::options::ReadOptions;
use super::order::Order;
use super::part::BlockPart;
use super::readahead::{Admission, Readahead};
use super::runs::{self, Run, Runs};
use super::selection::Selection;
use super::source::{FirstRead, OpenSegment, Opened, Source};
use crate::segment_file::SegmentFile;

/// Which blocks of a segment are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    /// Those that may hold selected records.
    Needed,
    /// Those that may hold both selected and other records.
    Cut,
}

/// What a reader does after damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterDamage {
    /// It ends there: whoever takes the records must not take a gap for the data.
    Ends,
    /// It continues with what follows, if the error is about one object.
    Continues,
}

impl AfterDamage {
    /// Returns what cannot be read of `source`, if reading continues after it.
    async fn of(self, source: &Source, unread: Unread) -> Result<Unread, RepoError> {
        if self == AfterDamage::Ends {
            return Err(unread.error);
        }
        // An object of a snapshot that was forgotten is missing for that reason, and so is what follows.
        let error = source.judged(unread.error).await;
        match error.is_of_one_object() {
            true => Ok(Unread { error, ..unread }),
            false => Err(error),
        }
    }
}

/// Blocks whose bytes have been read but not yet decoded.
pub(super) struct Fetched {
    segment: OpenSegment,
    /// Where the bytes start in the segment.
    position: u64,
    /// Those that are left, in the order of reading.
    blocks: VecDeque<usize>,
    part: BlockPart,
    bytes: Bytes,
    requested: u64,
    ahead: Option<AheadBytes>,
}

/// Blocks, or a whole segment, that could not be read.
pub(super) struct Unread {
    pub(super) error: RepoError,
    /// What was requested, if anything was.
    requested: Option<u64>,
}

/// What the caller tells the fetcher.
pub(super) enum Told {
    /// It waits for the first blocks.
    Waits,
    /// It has taken an answer of this many bytes.
    Taken(u64),
    /// It has taken the error of something for which nothing was requested.
    Skipped,
}

/// Fetches what one reader needs.
pub(super) struct Fetcher<'a> {
    source: &'a Source,
    selection: &'a Selection,
    wanted: Blocks,
    part: BlockPart,
    options: ReadOptions,
    after_damage: AfterDamage,
    /// Segments that are not being opened yet.
    numbers: Range<usize>,
    opening: FuturesOrdered<Opening<'a>>,
    /// How many of them only the footer is being read of, and their stored bytes.
    opening_footers: usize,
    opening_bytes: u64,
    /// Records that those that are being opened certainly have.
    opening_records: u64,
    opened: VecDeque<ToRead>,
    reading: FuturesOrdered<Reading<'a>>,
    /// Whether the caller has asked for anything.
    is_asked: bool,
    /// Ranges that were requested in line, and that the caller has not taken.
    in_line: usize,
    /// How many records may be missing from the blocks so far.
    left: u64,
    ahead: Readahead,
    memory: Option<AheadReader>,
}

/// What a request for blocks returns: several answers where they had to be requested one by one.
type Reading<'a> = Pin<Box<dyn Future<Output = Vec<Result<Fetched, Unread>>> + Send + 'a>>;
type Opening<'a> = Pin<Box<dyn Future<Output = Answered> + Send + 'a>>;

/// The answer to the request for a footer or a whole segment.
struct Answered {
    opened: Result<Option<(Opened, KeyBlocks)>, RepoError>,
    number: usize,
    /// How many bytes from the first on were requested.
    requested: Option<u64>,
    /// How many stored bytes were not, where its footer was requested.
    footer_of: Option<u64>,
    ahead: Option<AheadBytes>,
}

/// What may be requested to open a segment.
struct Admitted {
    first_read: FirstRead,
    /// The memory of its blocks, until the caller has taken them.
    of_blocks: Option<AheadBytes>,
    /// The memory of its footer, until that was read.
    of_footer: Option<AheadBytes>,
}

/// What the caller needs next.
enum ToRead {
    Blocks(OpenSegment, Runs),
    Fetched(Fetched),
    Failed(RepoError),
}

impl Fetched {
    fn new(
        segment: OpenSegment,
        run: Run,
        part: BlockPart,
        bytes: Bytes,
        ahead: Option<AheadBytes>,
    ) -> Fetched {
        let first = entries(&segment).get(run.range.start);
        Fetched {
            position: first.map_or(0, |entry| entry.position),
            segment,
            blocks: run.blocks,
            part,
            bytes,
            requested: run.bytes,
            ahead,
        }
    }

    /// Ends that it is ahead, and returns how many bytes were.
    pub(super) fn take(&mut self) -> u64 {
        self.ahead = None;
        self.requested
    }

    /// Takes the next block.
    pub(super) fn next_block(&mut self) -> Option<FetchedBlock> {
        let number = self.blocks.pop_front()?;
        let bytes = entries(&self.segment).get(number).and_then(|entry| {
            let at = |position: u64| usize::try_from(position.checked_sub(self.position)?).ok();
            let (start, end) = (at(entry.position)?, at(self.part.end(entry))?);
            (start <= end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
        });
        // What does not have the block is found to be truncated.
        let (segment, bytes) = (self.segment.clone(), bytes.unwrap_or_default());
        Some(FetchedBlock::new(segment, number, bytes, self.part))
    }
}

impl Unread {
    /// Ends everything.
    pub(super) fn last(error: RepoError) -> Unread {
        Unread {
            error,
            requested: None,
        }
    }

    /// Returns what the caller tells the fetcher once it has it.
    pub(super) fn taken(&self) -> Told {
        self.requested.map_or(Told::Skipped, Told::Taken)
    }
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(
        source: &'a Source,
        selection: &'a Selection,
        wanted: Blocks,
        options: ReadOptions,
        after_damage: AfterDamage,
    ) -> Fetcher<'a> {
        let profile = source.profile();
        let range_bytes = profile.map_or(SegmentFile::RANGE_BYTES, |profile| profile.range_bytes);
        let limits = profile.map_or(ReadaheadLimits::NONE, |profile| profile.readahead);
        Fetcher {
            source,
            selection,
            wanted,
            part: match options.streams == Streams::Meta
                && selection.filter.streams().next().is_none()
            {
                true => BlockPart::Meta,
                false => BlockPart::Whole,
            },
            options,
            after_damage,
            numbers: 0..source.len(),
            opening: FuturesOrdered::new(),
            opening_footers: 0,
            opening_bytes: 0,
            opening_records: 0,
            opened: VecDeque::new(),
            reading: FuturesOrdered::new(),
            is_asked: false,
            in_line: 0,
            left: options.limit.unwrap_or(u64::MAX),
            ahead: Readahead::new(limits, range_bytes, options.stops_early),
            memory: source.ahead_reader(),
        }
    }

    /// Fetches everything, each range once there is room for it. Returns early if the reader was dropped.
    pub(super) async fn run(
        mut self,
        sender: &UnboundedSender<Result<Fetched, Unread>>,
        mut told: UnboundedReceiver<Told>,
    ) -> Result<(), RepoError> {
        loop {
            // In this order: what is next in line must not wait for what is behind it.
            while self.read_next() {}
            while self.open_next() {}
            let opens_more = !(self.opening.is_empty() && self.numbers.is_empty());
            let plans_more = self.left > 0 && opens_more;
            if !plans_more && self.opened.is_empty() && self.reading.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(answers) = self.reading.next() => {
                    self.in_line += answers.len().saturating_sub(1);
                    for answer in answers {
                        let answer = match answer {
                            Ok(fetched) => Ok(fetched),
                            Err(unread) => Err(self.after_damage.of(self.source, unread).await?),
                        };
                        if sender.send(answer).is_err() {
                            return Ok(());
                        }
                    }
                }
                Some(answer) = self.opening.next() => self.plan(answer),
                told = told.recv() => match told {
                    Some(Told::Waits) => self.asked(),
                    Some(Told::Taken(bytes)) => {
                        self.in_line = self.in_line.saturating_sub(1);
                        self.ahead.taken(bytes);
                    }
                    Some(Told::Skipped) => self.in_line = self.in_line.saturating_sub(1),
                    None => return Ok(()),
                },
            }
        }
    }

    fn asked(&mut self) {
        self.is_asked = true;
        if let Some(memory) = &mut self.memory {
            memory.asked();
        }
    }

    /// Returns memory for a request that may be made now: `Some(None)` for one that needs none.
    fn admit(&self, bytes: u64, is_next: bool) -> Option<Option<AheadBytes>> {
        match self.ahead.admission(bytes, is_next, self.share()) {
            Admission::Needed => Some(None),
            Admission::Early => self.take(bytes),
            Admission::Later => None,
        }
    }

    fn take(&self, bytes: u64) -> Option<Option<AheadBytes>> {
        self.memory.as_ref()?.take(bytes).map(Some)
    }

    fn share(&self) -> AheadShare {
        let none = AheadShare {
            bytes: 0,
            requests: 1,
        };
        self.memory.as_ref().map_or(none, AheadReader::share)
    }

    /// Requests the next range of blocks, if it may be requested now.
    fn read_next(&mut self) -> bool {
        let answer: Reading<'a> = match self.opened.pop_front() {
            None => return false,
            Some(ToRead::Fetched(fetched)) => Box::pin(ready(vec![Ok(fetched)])),
            Some(ToRead::Failed(error)) => Box::pin(ready(vec![Err(Unread::last(error))])),
            Some(ToRead::Blocks(segment, mut runs)) => {
                let run = runs.peek(entries(&segment), self.ahead.run_bytes());
                let Some(run) = run else {
                    return true;
                };
                let is_next = self.is_asked && self.in_line == 0;
                let Some(ahead) = self.admit(run.bytes, is_next) else {
                    self.opened.push_front(ToRead::Blocks(segment, runs));
                    return false;
                };
                self.ahead.requested(run.bytes);
                runs.skip(entries(&segment), &run);
                let answer = read(self.source, segment.clone(), run, self.part, ahead);
                let answer = Box::pin(answer);
                self.opened.push_front(ToRead::Blocks(segment, runs));
                answer
            }
        };
        self.in_line += 1;
        self.reading.push_back(answer);
        true
    }

    /// Begins to open the next segment, if that is useful now.
    fn open_next(&mut self) -> bool {
        let mut numbers = self.numbers.clone();
        let Some(number) = self.options.order.next(&mut numbers) else {
            return false;
        };
        let is_first = self.in_line == 0 && self.opening.is_empty() && self.opened.is_empty();
        let is_next = self.is_asked && is_first;
        let left = self.left.saturating_sub(self.opening_records);
        if left == 0 || !(is_next || self.opens_ahead()) {
            return false;
        }
        let entry = self.source.entry(number);
        let first_read = self.first_read(number, left, is_first);
        let Some(admitted) = self.admit_opening(number, first_read, is_next) else {
            return false;
        };
        let Admitted {
            first_read,
            of_blocks: ahead,
            of_footer,
        } = admitted;
        let records = entry.map_or(0, |entry| self.certain_records(entry));
        // Where keys are looked up, hardly anything is left to be read, and waiting for that would be most of the time.
        let is_read = entry.filter(|entry| !self.selection.looks_up(entry));
        let size = is_read.map_or(0, |entry| entry.size);
        let (requested, footer_of) = match first_read {
            FirstRead::Whole(bytes) => (Some(bytes), None),
            FirstRead::Start(bytes) => (Some(bytes), Some(size.saturating_sub(bytes))),
            FirstRead::Footer => (None, Some(size)),
        };
        if let Some(bytes) = requested {
            self.ahead.requested(bytes);
        }
        if let Some(bytes) = footer_of {
            self.opening_footers += 1;
            self.opening_bytes += bytes;
        }
        self.numbers = numbers;
        self.opening_records = self.opening_records.saturating_add(records);
        let (source, selection) = (self.source, self.selection);
        self.opening.push_back(Box::pin(async move {
            let opened = match source.open(number, first_read).await {
                Ok(Some(opened)) => {
                    let found = KeyBlocks::look_up(selection, &opened.0, opened.1.as_ref()).await;
                    let blocks = 0..opened.0.segment().index().entries().len();
                    let found = found.map_err(|error| opened.0.in_blocks(error, blocks));
                    found.map(|found| Some((opened, found)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            drop(of_footer);
            Answered {
                opened,
                number,
                requested,
                footer_of,
                ahead,
            }
        }));
        true
    }

    /// Returns what of a segment is to be read to open it. `left` records may be missing from those before it; `is_first` says that there is
    /// nothing before it.
    fn first_read(&self, number: usize, left: u64, is_first: bool) -> FirstRead {
        let Some(entry) = self.source.entry(number) else {
            return FirstRead::Footer;
        };
        let is_needed = self.needs_all(entry, left) && !self.source.has_footer(number);
        // The start of a segment has META of its first blocks, and what is not needed of them.
        let start = match self.part {
            BlockPart::Whole => self.ahead.start_bytes(),
            BlockPart::Meta => 0,
        };
        match is_needed {
            true if entry.size <= self.ahead.whole_bytes() => FirstRead::Whole(entry.size),
            // Behind others, there is time to wait for the footer, which says where blocks end.
            true if is_first && start > 0 && self.options.order == Order::Ascending => {
                FirstRead::Start(start.min(entry.footer_position))
            }
            _ => FirstRead::Footer,
        }
    }

    /// Returns what of a segment may be read to open it now, and the memory for it.
    fn admit_opening(
        &self,
        number: usize,
        first_read: FirstRead,
        is_next: bool,
    ) -> Option<Admitted> {
        let of_footer = match is_next || self.source.has_footer(number) {
            true => Some(None),
            false => {
                let entry = self.source.entry(number);
                self.take(entry.map_or(0, |it| it.size.saturating_sub(it.footer_position)))
            }
        };
        let (of_blocks, of_footer) = match first_read {
            FirstRead::Whole(bytes) => (self.admit(bytes, is_next), Some(None)),
            FirstRead::Start(bytes) => (self.admit(bytes, is_next), of_footer),
            FirstRead::Footer => (None, of_footer),
        };
        let of_footer = of_footer?;
        let (first_read, of_blocks) = match (first_read, of_blocks) {
            (first_read, Some(of_blocks)) => (first_read, of_blocks),
            (FirstRead::Whole(_), None) => return None,
            _ => (FirstRead::Footer, None),
        };
        Some(Admitted {
            first_read,
            of_blocks,
            of_footer,
        })
    }

    fn opens_ahead(&self) -> bool {
        let opened = self.opened.iter().map(|next| match next {
            ToRead::Blocks(_, runs) => runs.bytes(),
            ToRead::Fetched(_) | ToRead::Failed(_) => 0,
        });
        let known = self.opening_bytes + opened.sum::<u64>();
        self.ahead.opens(self.opening_footers, known, self.share())
    }

    /// Returns whether all of a segment is needed. `left` records may be missing from those before it.
    fn needs_all(&self, entry: &SegmentEntry, left: u64) -> bool {
        self.wanted == Blocks::Needed
            && self.selection.covers_segment(entry)
            && !self.selection.looks_up(entry)
            && entry.records <= left
    }

    /// Returns how many records of a segment are selected, whatever its blocks hold.
    fn certain_records(&self, entry: &SegmentEntry) -> u64 {
        let certain = self.wanted == Blocks::Needed
            && self.selection.filter.selects_all()
            && self.selection.covers_segment(entry);
        entry.records * u64::from(certain)
    }

    /// Plans to read what is needed of a segment. After one that cannot be opened, there is nothing to read, unless the reader continues after damage;
    /// nor is there after those that have all that the caller will take, so it does not matter whether one behind them can be opened.
    fn plan(&mut self, opening: Answered) {
        if self.left == 0 {
            return;
        }
        let entry = self.source.entry(opening.number);
        let records = entry.map_or(0, |entry| self.certain_records(entry));
        self.opening_records = self.opening_records.saturating_sub(records);
        if let Some(bytes) = opening.footer_of {
            self.opening_footers -= 1;
            self.opening_bytes = self.opening_bytes.saturating_sub(bytes);
        }
        let ((segment, bytes), keys) = match opening.opened {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(error) => {
                if let Some(bytes) = opening.requested {
                    self.ahead.taken(bytes);
                }
                self.opened.push_back(ToRead::Failed(error));
                if self.after_damage == AfterDamage::Ends {
                    self.numbers = 0..0;
                    self.opening = FuturesOrdered::new();
                }
                return;
            }
        };
        let mut blocks = self.needed(segment.segment(), &keys);
        if let (None, Some(requested)) = (&bytes, opening.requested) {
            self.ahead.taken(requested);
        }
        if let (Some(bytes), Some(requested)) = (bytes, opening.requested) {
            // Those whose last byte is in what was read are there; of the others, all is read again.
            let end = bytes.len() as u64;
            let entries = entries(&segment);
            let part = self.part;
            let there = |block: &usize| entries.get(*block).is_some_and(|it| part.end(it) <= end);
            let (read, rest) = blocks.into_iter().partition::<VecDeque<_>, _>(there);
            blocks = rest;
            match read.is_empty() {
                true => self.ahead.taken(requested),
                false => self.opened.push_back(ToRead::Fetched(Fetched {
                    segment: segment.clone(),
                    position: 0,
                    blocks: read,
                    part,
                    bytes,
                    requested,
                    ahead: opening.ahead,
                })),
            }
        }
        if !blocks.is_empty() {
            let gap_bytes = self.ahead.gap_bytes();
            let (order, part) = (self.options.order, self.part);
            let runs = Runs::new(entries(&segment), blocks, order, part, gap_bytes);
            self.opened.push_back(ToRead::Blocks(segment, runs));
        }
    }

    /// Returns the blocks of a segment that are needed, in order, and counts their records.
    fn needed(&mut self, segment: &Segment, keys: &KeyBlocks) -> VecDeque<usize> {
        let entries = segment.index().entries();
        let mut needed = VecDeque::new();
        for block in self.options.order.of(0..entries.len()) {
            let Some(entry) = entries.get(block).filter(|_| self.left > 0) else {
                continue;
            };
            if !(keys.may_have(block) && self.selection.needs_block(segment, block)) {
                continue;
            }
            let cut = self.selection.cuts_block(segment, entry);
            if cut || self.wanted == Blocks::Needed {
                needed.push_back(block);
                // A block that also has other records may have none that is selected.
                let certain = u64::from(entry.record_count) * u64::from(!cut);
                self.left -= self.left.min(certain);
            }
        }
        needed
    }
}

fn entries(segment: &OpenSegment) -> &[IndexEntry] {
    segment.segment().index().entries()
}

/// Reads a run. Where the object cannot be read there although the store returns others, its blocks are read one by one: what has failed may be
/// one place of them.
async fn read(
    source: &Source,
    segment: OpenSegment,
    run: Run,
    part: BlockPart,
    ahead: Option<AheadBytes>,
) -> Vec<Result<Fetched, Unread>> {
    let error = match read_run(&segment, run.range.clone(), part).await {
        Ok(bytes) => return vec![Ok(Fetched::new(segment, run, part, bytes, ahead))],
        Err(error) => error,
    };
    let may_be_of_one_block = run.range.len() > 1 && error.kind().may_be_about_one_object();
    let error = match may_be_of_one_block {
        true => source.judged(error).await,
        false => error,
    };
    if !may_be_of_one_block || !error.is_of_one_object() {
        let requested = Some(run.bytes);
        return vec![Err(Unread { error, requested })];
    }
    drop(ahead);
    let mut answers = Vec::with_capacity(run.blocks.len());
    for block in run.blocks {
        let range = block..block + 1;
        let one = Run {
            // What was requested is taken with the first of them.
            bytes: if answers.is_empty() { run.bytes } else { 0 },
            range: range.clone(),
            blocks: [block].into(),
        };
        answers.push(match read_run(&segment, range, part).await {
            Ok(bytes) => Ok(Fetched::new(segment.clone(), one, part, bytes, None)),
            Err(error) => Err(Unread {
                error,
                requested: Some(one.bytes),
            }),
        });
    }
    answers
}

/// Reads these blocks; the error names their records.
async fn read_run(
    segment: &OpenSegment,
    blocks: Range<usize>,
    part: BlockPart,
) -> Result<Bytes, RepoError> {
    let bytes = runs::bytes_of(entries(segment), &blocks, part);
    let read = match bytes {
        Some(range) => segment.read(range).await,
        None => Ok(Bytes::new()),
    };
    read.map_err(|error| segment.in_blocks(error, blocks))
}
