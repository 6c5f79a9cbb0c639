//! What is searched, one source after the other. The next ones are begun before they are needed: of a distant store, a small one takes as long as
//! its answers.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kbk_format::repo::{PartitionId, PartitionState, RepoError, Repository, Snapshot};
use tokio::runtime::Handle;

use crate::filter::RecordFilter;
use crate::read::{BlockReader, FetchedBlock, Order, ReadOptions, ReadPlan, Selection};
use crate::segment_file::SegmentFile;

/// What is searched.
#[derive(Clone, Debug)]
pub enum SearchSource<'a> {
    /// A partition of a snapshot.
    Partition {
        /// The repository.
        repository: &'a Repository,
        /// The snapshot.
        snapshot: &'a Snapshot,
        /// The partition.
        partition: PartitionId,
        /// Its state in the snapshot.
        state: &'a PartitionState,
        /// The offsets to search; the end is exclusive.
        offsets: Range<i64>,
    },
    /// A segment file.
    File {
        /// The file.
        file: SegmentFile,
        /// The offsets to search; the end is exclusive.
        offsets: Range<i64>,
    },
}

impl SearchSource<'_> {
    /// Returns the offsets to search that it covers.
    pub(super) fn offsets(&self) -> Range<i64> {
        let (covered, offsets) = match self {
            SearchSource::Partition { state, offsets, .. } => {
                (state.base_offset..state.end_offset, offsets)
            }
            SearchSource::File { file, offsets } => (file.segment().coverage(), offsets),
        };
        let start = offsets.start.max(covered.start);
        start..offsets.end.min(covered.end).max(start)
    }
}

/// How many sources are begun after the one that is read.
const MOST_AHEAD: usize = 8;

/// A source that is begun.
struct Begun {
    source: usize,
    selection: Arc<Selection>,
    blocks: Result<BlockReader, RepoError>,
}

/// Reads the blocks of all sources, in order.
pub(super) struct Sources<'a> {
    sources: Vec<SearchSource<'a>>,
    filter: RecordFilter,
    times: RangeInclusive<i64>,
    options: ReadOptions,
    /// Those that are not begun, each with what is left of its offsets.
    waiting: VecDeque<(usize, Range<i64>)>,
    beginning: FuturesOrdered<Pin<Box<dyn Future<Output = Begun> + Send + 'a>>>,
    /// Those that are being begun, in order.
    begun: VecDeque<(usize, Range<i64>)>,
    /// The one that is read, and what is left of its offsets.
    current: Option<(Begun, Range<i64>)>,
}

/// A block that has been read, or why blocks cannot be.
pub(super) struct Next {
    /// The number of the source.
    pub(super) source: usize,
    pub(super) selection: Arc<Selection>,
    pub(super) block: Result<FetchedBlock, RepoError>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(
        sources: Vec<SearchSource<'a>>,
        filter: RecordFilter,
        times: RangeInclusive<i64>,
        options: ReadOptions,
    ) -> Sources<'a> {
        let in_order = options.order.of(0..sources.len());
        Sources {
            waiting: in_order
                .filter_map(|number| Some((number, sources.get(number)?.offsets())))
                .collect(),
            sources,
            filter,
            times,
            options,
            beginning: FuturesOrdered::new(),
            begun: VecDeque::new(),
            current: None,
        }
    }

    /// Returns the offsets of a source that are searched.
    pub(super) fn offsets(&self, source: usize) -> Range<i64> {
        let found = self.sources.get(source);
        found.map_or(0..0, SearchSource::offsets)
    }

    /// Leaves out what is left of a source.
    pub(super) fn skip(&mut self, source: usize) {
        self.current = self
            .current
            .take()
            .filter(|(begun, _)| begun.source != source);
    }

    /// Narrows the timestamps to select from what has not been read yet.
    pub(super) fn narrow(&mut self, times: RangeInclusive<i64>) {
        self.times = times;
        // What is begun has planned with the former ones.
        self.beginning = FuturesOrdered::new();
        while let Some(begun) = self.begun.pop_back() {
            self.waiting.push_front(begun);
        }
        if let Some((begun, left)) = self.current.take() {
            self.waiting.push_front((begun.source, left));
        }
    }

    /// Reads the next block; `None` after the last one. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Next> {
        loop {
            self.begin_ahead();
            let Some((begun, left)) = &mut self.current else {
                let begun = self.beginning.next().await?;
                let (_, left) = self.begun.pop_front()?;
                self.current = Some((begun, left));
                continue;
            };
            let read = match &mut begun.blocks {
                Ok(blocks) => blocks.next().await,
                Err(_) => Ok(None),
            };
            let (source, selection) = (begun.source, Arc::clone(&begun.selection));
            let mut passed = |base: i64, end: i64| match self.options.order {
                Order::Ascending => left.start = left.start.max(end),
                Order::Descending => left.end = left.end.min(base),
            };
            let block = match read {
                Ok(Some(block)) => {
                    if let Some(entry) = block.entry() {
                        passed(entry.base_offset, entry.end_offset);
                    }
                    Ok(block)
                }
                Err(error) => {
                    if let Some((_, offsets)) = error.records() {
                        passed(offsets.base_offset, offsets.end_offset);
                    }
                    Err(error)
                }
                Ok(None) => match self.current.take() {
                    Some((
                        Begun {
                            blocks: Err(error), ..
                        },
                        _,
                    )) => Err(error),
                    _ => continue,
                },
            };
            return Some(Next {
                source,
                selection,
                block,
            });
        }
    }

    /// Begins the sources that come next.
    fn begin_ahead(&mut self) {
        while self.begun.len() < MOST_AHEAD {
            let Some((source, offsets)) = self.waiting.pop_front() else {
                return;
            };
            let Some(found) = self.sources.get(source).cloned() else {
                continue;
            };
            let selection = Selection {
                offsets: offsets.clone(),
                times: self.times.clone(),
                filter: self.filter.clone(),
            };
            self.begun.push_back((source, offsets));
            let options = self.options;
            self.beginning.push_back(Box::pin(async move {
                Begun {
                    source,
                    blocks: begin(&found, selection.clone(), options).await,
                    selection: Arc::new(selection),
                }
            }));
        }
    }
}

async fn begin(
    source: &SearchSource<'_>,
    selection: Selection,
    options: ReadOptions,
) -> Result<BlockReader, RepoError> {
    let runtime = Handle::current();
    match source {
        SearchSource::Partition {
            repository,
            snapshot,
            partition,
            state,
            ..
        } => {
            let place = partition.clone();
            let plan = ReadPlan::new(repository, snapshot, place, state, selection).await;
            match plan {
                Ok(plan) => Ok(plan.blocks(options, &runtime)),
                Err(error) => {
                    let error = repository.explain(snapshot.sequence, error).await;
                    Err(repository.store().judged(error).await)
                }
            }
        }
        SearchSource::File { file, .. } => Ok(BlockReader::of_file(
            file.clone(),
            selection,
            options,
            &runtime,
        )),
    }
}
