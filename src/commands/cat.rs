//! `kbk cat`: prints records as JSON lines.

use std::ops::ControlFlow;

use kbk_format::render::View;
use kbk_format::repo::{PartitionState, TopicState};
use kbk_format::{OffsetSpan, Record, Renderer, Streams};
use kbk_tools::list::Completeness;
use kbk_tools::{ReadPlan, Selection};
use tokio::runtime::Handle;

use crate::cli::{
    CliError, Context, OffsetArg, OffsetRangeArg, Outcome, Records, SnapshotArg, TimeArg,
    time_range,
};
use crate::human;
use crate::select::{PartitionSet, TopicPartitions};

const EXAMPLES: &str = "\
Examples:
  kbk cat -r /backup/kafka orders -n 10
  kbk cat -r /backup/kafka orders/3 --offset 12345 -n 1
  kbk cat -r /backup/kafka orders/0-3,7 --from-offset 1000 --to-offset 2000
  kbk cat -r /backup/kafka 'orders-*' --offset -100
  kbk cat -r /backup/kafka orders --since 2026-11-22T10:00:00Z --until 2026-11-22T11:00:00Z

Each line has topic, partition, offset, timestamp (milliseconds), time (RFC 3339, UTC), key, value and headers.
Records without a timestamp have -1, and null as their time: --until selects them, --since does not.
OFFSET is first, last, end (one past the last), a number, or -100 for 100 before the end.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// The arguments of `kbk cat`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Topics, or partitions of them, as in orders/0-3,7: a name, a glob, or /a regular expression/ for the whole name; also NAME@ID,
    /// with 8 digits of its id or more
    #[arg(value_name = "TOPIC[/PARTITIONS]", required = true)]
    pub topics: Vec<TopicPartitions>,

    /// Only these partitions of each topic: numbers and ranges, as in 0-3,7; repeatable
    #[arg(short, long, value_name = "LIST")]
    pub partition: Vec<PartitionSet>,

    /// Start at this offset of each partition
    #[arg(
        long,
        visible_alias = "offset",
        value_name = "OFFSET",
        default_value = "first",
        allow_hyphen_values = true
    )]
    pub from_offset: OffsetArg,

    /// End before this offset of each partition
    #[arg(
        long,
        value_name = "OFFSET",
        default_value = "end",
        allow_hyphen_values = true
    )]
    pub to_offset: OffsetArg,

    /// Print at most this many records in total
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,

    /// Only records with this timestamp or a later one
    #[arg(long, value_name = "TIME")]
    pub since: Option<TimeArg>,

    /// Only records with this timestamp or an earlier one, wherever they are in the partition
    #[arg(long, value_name = "TIME")]
    pub until: Option<TimeArg>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,
}

/// Lines are rendered into a buffer of this size before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Prints the records: topic by topic, partition by partition, each in offset order.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let times = time_range(args.since.as_ref(), args.until.as_ref())?;
    let offsets = OffsetRangeArg::new(args.from_offset, args.to_offset)?;
    let wanted = super::topic_partitions(&args.topics, &args.partition)?;
    let repository = super::repository(context).await?;
    let snapshot = super::snapshot(&repository, args.snapshot).await?;
    let selected = super::each_partition(super::partitions(&wanted, &snapshot)?);
    let missing = Completeness::of_partitions(
        snapshot.sequence,
        selected
            .iter()
            .copied()
            .filter(|(_, state)| offsets.reaches_end(state.base_offset, state.end_offset)),
    );
    if let Some(partial) = missing.statement() {
        tracing::warn!("{partial}");
    }
    let mut printer = Printer::new(context.output.records()?, args.count);
    let printed = async {
        for (topic, state) in &selected {
            let selection = Selection {
                offsets: offsets.resolve(state.base_offset, state.end_offset),
                times: times.clone(),
            };
            let place = topic.partition_id(state.partition);
            let plan = ReadPlan::new(&repository, place, state, selection).await?;
            if printer.partition(plan).await?.is_break() {
                return Ok(Outcome::Clean);
            }
        }
        // Everything selected is printed, and it is not all that was there.
        Ok(match missing.complete {
            true => Outcome::Clean,
            false => Outcome::Findings,
        })
    };
    let printed = printed.await;
    if printed.is_ok() && printer.has_printed_nothing() {
        tracing::warn!("no record is selected: {}", stored(&selected));
    }
    // Intact records before the damage are printed.
    printer.finish(printed.as_ref().copied())?;
    printed
}

/// Says which offsets there are to select from.
fn stored(partitions: &[(&TopicState, &PartitionState)]) -> String {
    let of_partition = |(topic, state): &(&TopicState, &PartitionState)| {
        let (name, partition) = (&topic.name, state.partition);
        match state.records {
            0 => format!("{name}/{partition} has no records"),
            _ => {
                let offsets = OffsetSpan::from(state.base_offset..state.end_offset);
                format!("{name}/{partition} has the {offsets}")
            }
        }
    };
    let stored: Vec<String> = partitions.iter().map(of_partition).collect();
    human::some_of(&stored)
}

/// Renders records as the JSON lines of SPEC section 10.
struct Printer<'a> {
    records: Records<'a>,
    buffer: Vec<u8>,
    /// How many more records to print, of how many.
    left: u64,
    most: u64,
    /// Whether a number was printed that not every JSON reader keeps.
    warned: bool,
}

/// The largest number up to which a double, the only number of many JSON readers, holds every integer.
const LARGEST_EXACT: u64 = (1 << 53) - 1;

impl<'a> Printer<'a> {
    fn new(records: Records<'a>, count: Option<u64>) -> Self {
        Self {
            records,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            left: count.unwrap_or(u64::MAX),
            most: count.unwrap_or(u64::MAX),
            warned: false,
        }
    }

    /// Returns whether no record was printed although some were asked for.
    fn has_printed_nothing(&self) -> bool {
        self.left == self.most && self.most > 0
    }

    /// Breaks when enough records are printed, or the reader has closed the pipe.
    async fn partition(&mut self, plan: ReadPlan) -> Result<ControlFlow<()>, CliError> {
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        let id = plan.partition_id();
        let renderer = Renderer::new(&id.topic, id.partition);
        let mut reader = plan.read(Streams::All, &Handle::current());
        while let Some(batch) = reader.next().await? {
            for record in batch.records() {
                if self.record(&renderer, &record)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn record(
        &mut self,
        renderer: &Renderer,
        record: &Record<'_>,
    ) -> Result<ControlFlow<()>, CliError> {
        let largest = record
            .timestamp
            .unsigned_abs()
            .max(record.offset.unsigned_abs());
        if largest > LARGEST_EXACT && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "offsets or timestamps beyond {LARGEST_EXACT} are printed exactly; readers that keep numbers as doubles, such as JavaScript and \
                 jq before 1.7, round them"
            );
        }
        renderer.render(View::Records, record, &mut self.buffer);
        self.left -= 1;
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        if self.buffer.len() >= BUFFER_BYTES {
            return self.write();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn write(&mut self) -> Result<ControlFlow<()>, CliError> {
        let written = self.records.write(&self.buffer);
        self.buffer.clear();
        written
    }

    fn finish(mut self, ended: Result<Outcome, &CliError>) -> Result<(), CliError> {
        let _ = self.write()?;
        self.records.finish(ended)
    }
}
