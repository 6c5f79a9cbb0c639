//! What an export of kbk has noted beside a log: why offsets have no record.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use kbk_format::kafka_log::{GAPS_FILE, GapFileReader, NextGap};
use kbk_format::{Gap, GapReason};

use super::error::ImportError;

/// The gaps that are noted, read in the order of offsets.
#[derive(Default)]
pub(super) struct KnownGaps {
    path: PathBuf,
    /// `None` where nothing more follows.
    file: Option<GapFileReader<BufReader<File>>>,
    /// Those that were read, and that the log has not passed.
    ahead: VecDeque<Gap>,
    /// Whether there is a file, and it cannot be believed.
    pub(super) is_damaged: bool,
}

impl KnownGaps {
    /// Opens what is noted of the log in a folder, and reads all of it once: only a file that is whole is believed.
    pub(super) fn open(folder: &Path) -> Result<KnownGaps, ImportError> {
        let path = folder.join(GAPS_FILE);
        let found = look_at(&path).map_err(ImportError::io("read", &path))?;
        let file = match found {
            Found::Whole => open(&path).map_err(ImportError::io("read", &path))?,
            Found::Damaged | Found::Nothing => None,
        };
        Ok(KnownGaps {
            path,
            file,
            ahead: VecDeque::new(),
            is_damaged: found == Found::Damaged,
        })
    }

    /// Returns whether all of these offsets are noted to have no record.
    pub(super) fn cover(&mut self, offsets: Range<i64>) -> Result<bool, ImportError> {
        self.fill(offsets.end)?;
        let mut at = offsets.start;
        for gap in &self.ahead {
            if gap.to_offset <= at {
                continue;
            }
            if gap.from_offset > at {
                return Ok(false);
            }
            at = gap.to_offset;
            if at >= offsets.end {
                return Ok(true);
            }
        }
        Ok(at >= offsets.end)
    }

    /// Returns the first part of a gap that has one reason: the one that is noted, or `other`. Gaps are asked for in the order of offsets.
    pub(super) fn first(
        &mut self,
        gap: Range<i64>,
        other: GapReason,
    ) -> Result<(i64, GapReason, bool), ImportError> {
        self.fill(gap.end)?;
        while self
            .ahead
            .front()
            .is_some_and(|front| front.to_offset <= gap.start)
        {
            self.ahead.pop_front();
        }
        Ok(match self.ahead.front() {
            Some(noted) if noted.from_offset <= gap.start => {
                (noted.to_offset.min(gap.end), noted.reason, true)
            }
            Some(noted) => (noted.from_offset.min(gap.end), other, false),
            None => (gap.end, other, false),
        })
    }

    /// Reads gaps up to one that begins at `end` or behind it.
    fn fill(&mut self, end: i64) -> Result<(), ImportError> {
        while self.ahead.back().is_none_or(|gap| gap.from_offset < end) {
            let Some(file) = &mut self.file else {
                return Ok(());
            };
            match file
                .next_gap()
                .map_err(ImportError::io("read", &self.path))?
            {
                NextGap::Gap(gap) => self.ahead.push_back(gap),
                NextGap::End { .. } | NextGap::Damaged => self.file = None,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Whole,
    Damaged,
}

fn open(path: &Path) -> io::Result<Option<GapFileReader<BufReader<File>>>> {
    GapFileReader::new(BufReader::new(File::open(path)?))
}

/// Reads all of a file, and says what it is.
fn look_at(path: &Path) -> io::Result<Found> {
    let mut reader = match open(path) {
        Ok(Some(reader)) => reader,
        Ok(None) => return Ok(Found::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    loop {
        match reader.next_gap()? {
            NextGap::Gap(_) => {}
            NextGap::End { .. } => return Ok(Found::Whole),
            NextGap::Damaged => return Ok(Found::Damaged),
        }
    }
}
