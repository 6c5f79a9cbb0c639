//! `kbk grep`: searches records of topics, or of segment files, on all cores. What it selects by is in `record_args`.
//!
//! It reads, and writes nothing but its output and, with `--sort time` of more than fits into memory, an unnamed temporary file. It prints in the order of
//! `kbk cat`, and what was found before an error is printed before it. What is damaged or missing is left out of the search, named on stderr and in
//! the JSON (`unsearched`), and sets exit code 3: that nothing was found is said of the rest alone. That nothing was found at all is not a failure: a note
//! on stderr, `matched` in the JSON, and exit code 0.
//!
//! | file | holds |
//! |---|---|
//! | `targets` | the partitions or files that are searched, and their names |
//! | `results` | what is done with records that were found: printed, sorted, counted, listed |
//! | `report` | what was found and what was not searched |

mod report;
mod results;
mod targets;

use std::ops::{Range, RangeInclusive};

use clap::ValueEnum;
use clap::builder::StyledStr;
use kbk_format::{PartitionNumber, TextRenderer};
use kbk_tools::Order;
use kbk_tools::grep::{Found, Search, SearchOptions};
use kbk_tools::list::Completeness;

use self::report::Gaps;
use self::results::{Next, Results};
use self::targets::Targets;
use super::record_args::{self, Partitions, RecordArgs};
use crate::cli::{CliError, Context, Outcome};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk grep -r /backup/kafka orders --key order-42
  kbk grep -r /backup/kafka 'orders*' -e 'timeout|refused' --since 7d
  kbk grep -r /backup/kafka orders --where '/customer/id=42' --where '!/refund' --format value
  kbk grep -r /backup/kafka orders --header trace=4bf92f35 --sort time
  kbk grep -r /backup/kafka orders --key-prefix order-4 --reverse -n 1
  kbk grep -r /backup/kafka orders --key-regex '^order-[0-9]{2}$' --tombstones
  kbk grep -r /backup/kafka '*' --count --since 2h30m
  kbk grep -r /backup/kafka '*' -l -e '(?i)exception'
  kbk grep /backup/kafka/data/orders/*/0/*.kseg --key-hex 6f --invert-match --format hex

Nothing found is exit code 0, with a note on stderr. Exit code 3: something could not be searched, and is named on
stderr and with --json, or the backup lacks records of what is selected.
--sort time sorts what was found by timestamp, over all partitions, and prints it once everything has been searched.
More than 64 MiB of it goes to an unnamed temporary file, in the folder that TMPDIR names.
";

/// The arguments of `kbk grep`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = help())]
pub struct Args {
    /// Which records are searched for, and how they are printed.
    #[command(flatten)]
    pub records: RecordArgs,

    /// Print the number of records instead; with -l that of each partition
    #[arg(long, conflicts_with_all = ["format", "null_as", "max_count", "sort"])]
    pub count: bool,

    /// Print which partitions or files have such a record instead, one per line, in the order of printing; each is searched up to
    /// its first one
    #[arg(short = 'l', long, conflicts_with_all = ["format", "null_as", "max_count", "sort"])]
    pub list: bool,

    /// Print in this order: of offsets, partition by partition, or of timestamps, over all partitions
    #[arg(
        long,
        value_enum,
        value_name = "offset|time",
        default_value_t,
        hide_possible_values = true
    )]
    pub sort: Sort,
}

/// What records are sorted by.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Topic, partition and offset, as they are stored.
    #[default]
    Offset,
    /// The timestamp, and among equal ones topic, partition and offset.
    Time,
}

fn help() -> StyledStr {
    format!("{EXAMPLES}\n{}", record_args::HELP).into()
}

/// Searches the records of topics, or of files.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let records = &args.records;
    records.check()?;
    // Before a repository is opened.
    let times = records.time_range()?;
    records.offsets()?;
    records.topics()?;
    if records.has_files() {
        let targets = Targets::of_files(records).await?;
        return search(args, context, targets, times, |_| None).await;
    }
    let (repository, snapshot) = record_args::open(records, context).await?;
    let partitions = Partitions::select(records, &repository, &snapshot)?;
    let targets = Targets::of_partitions(&partitions);
    let missing = |range: Range<usize>| {
        let selected = partitions.selected.get(range).unwrap_or_default();
        Some(partitions.missing(selected))
    };
    search(args, context, targets, times, missing).await
}

/// Searches, and says what was found. `missing` returns what the backup lacks of some of the targets.
async fn search(
    args: &Args,
    context: &Context,
    targets: Targets<'_>,
    times: RangeInclusive<i64>,
    missing: impl Fn(Range<usize>) -> Option<Completeness>,
) -> Result<Outcome, CliError> {
    let order = args.records.order();
    let mut results = Results::new(args, context)?;
    let mut gaps = Gaps::new(&targets);
    let (ended, stopped_at) = run_search(args, &targets, times, &mut results, &mut gaps).await;
    let searched = match (stopped_at, order) {
        // What is missing from the end is not needed for the first records, but it is for the last ones.
        (Some(_), Order::Ascending) => 0..0,
        (Some(source), Order::Descending) => source..targets.len(),
        (None, _) => 0..targets.len(),
    };
    if let Some(missing) = missing(searched) {
        gaps.lacks(missing);
    }
    if ended.is_ok() && results.is_surprisingly_empty() {
        match gaps.statement() {
            None if !args.records.filter().selects_all() => {
                tracing::warn!("no record matches: everything that is selected was searched")
            }
            None => tracing::warn!(
                "no record is selected: {}",
                human::some_of(targets.stored())
            ),
            Some(_) => tracing::warn!("no record is selected in what could be searched"),
        }
    }
    if let Some(statement) = gaps.statement() {
        tracing::warn!("{statement}");
    }
    let ended = ended.map(|()| gaps.outcome());
    results.finish(&targets, gaps, ended.as_ref().copied())?;
    ended
}

/// Searches, and returns how that ended, and the target in which enough was found.
async fn run_search(
    args: &Args,
    targets: &Targets<'_>,
    times: RangeInclusive<i64>,
    results: &mut Results<'_>,
    gaps: &mut Gaps,
) -> (Result<(), CliError>, Option<usize>) {
    if !results.wants_any() {
        return (Ok(()), None);
    }
    let order = args.records.order();
    let options = options(args, targets, times.clone(), results);
    let mut search = Search::new(targets.sources(), options);
    loop {
        let matches = match search.next().await {
            Ok(Some(Found::Matches(matches))) => matches,
            Ok(Some(Found::Unsearched(unsearched))) => {
                gaps.unsearched(targets, &unsearched);
                continue;
            }
            Ok(None) => return (Ok(()), None),
            Err(error) => return (Err(error.into()), None),
        };
        match results.take(&matches) {
            Ok(Next::Continue) => {}
            Ok(Next::SkipSource) => search.skip(matches.source),
            Ok(Next::Narrow(bound)) => search.narrow(match order {
                Order::Ascending => *times.start()..=bound.min(*times.end()),
                Order::Descending => bound.max(*times.start())..=*times.end(),
            }),
            Ok(Next::Stop) => return (Ok(()), Some(matches.source)),
            Err(error) => return (Err(error), None),
        }
    }
}

fn options(
    args: &Args,
    targets: &Targets<'_>,
    times: RangeInclusive<i64>,
    results: &Results<'_>,
) -> SearchOptions {
    let records = &args.records;
    let renderer = |(topic, partition): (&str, PartitionNumber)| {
        TextRenderer::new(
            results.format(),
            topic,
            partition,
            records.null_as.as_deref(),
        )
    };
    let renderers = results
        .prints()
        .then(|| targets.partitions().map(renderer).collect());
    SearchOptions {
        times,
        filter: records.filter(),
        streams: results.streams(),
        order: records.order(),
        stops_early: results.may_stop(),
        renderers: renderers.unwrap_or_default(),
    }
}
