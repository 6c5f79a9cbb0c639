//! `kbk cat`: prints records of a topic, or of segment files.
//!
//! | file | holds |
//! |---|---|
//! | `operand` | what is a topic, and what a file |
//! | `files` | segment files without their repository |
//! | `printer` | formats and counts |

mod files;
mod operand;
mod printer;
mod upcoming;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use clap::builder::{OsStringValueParser, TypedValueParser};
use kbk_format::repo::{PartitionState, RepoError, Repository, Snapshot, TopicState};
use kbk_format::{OffsetSpan, TextFormat};
use kbk_tools::list::Completeness;
use kbk_tools::{KeySelection, Order, PartitionReader, ReadOptions, ReadPlan, Selection};
use tokio::runtime::Handle;

pub use self::operand::{Operand, OperandError};

use self::files::Files;
use self::printer::Printer;
use self::upcoming::Upcoming;
use crate::cli::{
    CliError, Context, OffsetArg, OffsetRangeArg, Outcome, RecordKey, SnapshotArg, TimeArg,
    time_range,
};
use crate::human;
use crate::select::{PartitionSet, TopicPartitions, TopicRef};

const EXAMPLES: &str = "\
Examples:
  kbk cat -r /backup/kafka orders -n 10
  kbk cat -r /backup/kafka orders/3 --offset 12345 -n 1
  kbk cat -r /backup/kafka orders/3 --reverse -n 5
  kbk cat -r /backup/kafka orders/0-3,7 --from-offset 1000 --to-offset 2000
  kbk cat -r /backup/kafka 'orders-*' --offset -100
  kbk cat -r /backup/kafka orders --key order-42 --format value
  kbk cat -r /backup/kafka orders --since 2026-11-22T10:00:00Z --until 2026-11-22T11:00:00Z
  kbk cat -r /backup/kafka orders --format csv > orders.csv
  kbk cat -r /backup/kafka orders -f '%p/%o %k: %s\\n'
  kbk cat -r /backup/kafka orders -f '%s\\0' | xargs -0 -n 1 echo
  kbk cat /backup/kafka/data/orders/*/0/*.kseg --reverse -n 5

FORMAT is one of
  jsonl      a JSON object per line: topic, partition, offset, timestamp (milliseconds), time (RFC 3339, UTC), key,
             value, headers; key_base64 and so on for bytes that are not UTF-8
  csv        RFC 4180, with a header line; key_encoding and value_encoding are text, base64, or empty for null
  value      the bytes of the value and a line feed; a null value is an empty line
  key-value  the bytes of the key, a tab, those of the value, a line feed
  a template with the tokens and escapes of kcat:
             %k key  %s value  %K %S their lengths (-1 null)  %R length of the value as 4 bytes  %h headers
             %t topic  %p partition  %o offset  %T timestamp in milliseconds  %% percent sign
             \\n \\r \\t \\\\ \\0 \\xNN; there is no line feed at the end unless you write it
value, key-value and templates do not escape what is inside a key or a value.

A name that ends in .kseg, or begins with ./ or ../, is a segment file; a topic of such a name is NAME@ID or /NAME/.
Records without a timestamp have -1, and no time: --until selects them, --since does not.
Topics and partitions follow one another in the order of name and number; --reverse prints exactly the reverse.
OFFSET is first, last, end (one past the last), a number, or -100 for 100 before the end.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// The arguments of `kbk cat`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Topics, or partitions of them, as in orders/0-3,7: a name, a glob, or /a regular expression/ for the whole name; also NAME@ID,
    /// with 8 digits of its id or more. Or segment files (.kseg), which need no repository
    #[arg(
        value_name = "TOPIC[/PARTITIONS]|FILE",
        required = true,
        num_args = 1..,
        value_parser = OsStringValueParser::new().try_map(Operand::parse)
    )]
    pub operands: Vec<Operand>,

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

    /// Only records with this key: these bytes exactly; repeatable. All partitions are searched, since any partitioner may have placed
    /// the key
    #[arg(long, value_name = "TEXT", value_parser = OsStringValueParser::new().map(RecordKey::text))]
    pub key: Vec<RecordKey>,

    /// Only records with this key, in hex; repeatable
    #[arg(long, value_name = "HEX", value_parser = RecordKey::hex)]
    pub key_hex: Vec<RecordKey>,

    /// Only records with this key, in base64 as in key_base64; repeatable
    #[arg(long, value_name = "BASE64", value_parser = RecordKey::base64)]
    pub key_base64: Vec<RecordKey>,

    /// Only records without a key, besides those of the other keys; an empty key is not null
    #[arg(long)]
    pub key_null: bool,

    /// Print in reverse: the newest record first, the highest partition first, the last file first
    #[arg(long)]
    pub reverse: bool,

    /// How to print records
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "jsonl",
        conflicts_with = "json"
    )]
    pub format: TextFormat,

    /// Print null keys, values and values of headers as this; for value, key-value and templates
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub null_as: Option<String>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,
}

impl Args {
    fn order(&self) -> Order {
        match self.reverse {
            true => Order::Descending,
            false => Order::Ascending,
        }
    }

    /// Returns the selected keys; `None` if every key is.
    fn keys(&self) -> Option<KeySelection> {
        let keys = [&self.key, &self.key_hex, &self.key_base64];
        let keys: HashSet<Vec<u8>> = keys
            .into_iter()
            .flatten()
            .map(|key| key.0.clone())
            .collect();
        let any = !keys.is_empty() || self.key_null;
        any.then(|| KeySelection::new(keys, self.key_null))
    }

    /// Returns the topics; none for files.
    fn topics(&self) -> Result<Vec<TopicPartitions>, CliError> {
        let topics = self.operands.iter().filter_map(|operand| match operand {
            Operand::Topics(topics) => Some(topics.clone()),
            Operand::File(_) => None,
        });
        let topics: Vec<_> = topics.collect();
        if !topics.is_empty() && self.has_files() {
            let message = "topics and files are both given, and only one of them can be read";
            return Err(CliError::usage(message).hint(operand::RULE));
        }
        Ok(topics)
    }

    /// Returns whether segment files are read, and no repository.
    pub(super) fn has_files(&self) -> bool {
        self.files().next().is_some()
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.operands.iter();
        files.filter_map(|operand| match operand {
            Operand::File(file) => Some(&**file),
            Operand::Topics(_) => None,
        })
    }
}

/// Prints the records of a topic, or of files.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let selection = Selection {
        times: time_range(args.since.as_ref(), args.until.as_ref())?,
        keys: args.keys(),
        ..Selection::all()
    };
    if args.null_as.is_some() && !matches!(args.format, TextFormat::Template(_)) {
        return Err(CliError::usage(
            "--null-as is for the formats value, key-value and templates; jsonl and csv distinguish null by themselves",
        ));
    }
    let offsets = OffsetRangeArg::new(args.from_offset, args.to_offset)?;
    let topics = args.topics()?;
    if args.has_files() {
        let files = Files::of(args, selection, offsets)?;
        let mut printer = Printer::new(args, context)?;
        let mut found = Vec::new();
        let printed = files.print(&mut printer, &mut found).await;
        return finish(printer, printed, &found);
    }
    let wanted = super::topic_partitions(&topics, &args.partition)?;
    let repository = super::repository(context).await?;
    let snapshot = super::snapshot(&repository, args.snapshot).await?;
    let partitions = Partitions {
        selected: super::each_partition(super::partitions(&wanted, &snapshot)?),
        repository,
        snapshot: &snapshot,
        selection,
        offsets,
        order: args.order(),
    };
    if let Some(partial) = partitions.missing(&partitions.selected).statement() {
        tracing::warn!("{partial}");
    }
    let expired = partitions.expired();
    if !expired.is_empty() {
        tracing::warn!("expired, and not printed: {}", human::some_of(&expired));
    }
    let mut printer = Printer::new(args, context)?;
    let printed = partitions.print(&mut printer).await;
    finish(printer, printed, &partitions.stored())
}

/// Ends the output, and says if it has no record. `found` states which offsets there are to select from.
fn finish(
    printer: Printer<'_>,
    printed: Result<Outcome, CliError>,
    found: &[String],
) -> Result<Outcome, CliError> {
    if printed.is_ok() && printer.has_printed_nothing() {
        tracing::warn!("no record is selected: {}", human::some_of(found));
    }
    // Intact records before the damage are printed.
    printer.finish(printed.as_ref().copied())?;
    printed
}

/// Whoever has printed partitions of this many stored bytes to their ends is taken to print the next ones, too: they are not begun with little.
const PERSISTENT_BYTES: u64 = 8 << 20;

/// The selected partitions of a snapshot.
struct Partitions<'a> {
    repository: Repository,
    snapshot: &'a Snapshot,
    /// Ordered by topic and number.
    selected: Vec<(&'a TopicState, &'a PartitionState)>,
    /// What is selected of each, but for offsets.
    selection: Selection,
    offsets: OffsetRangeArg,
    order: Order,
}

impl Partitions<'_> {
    /// Prints topic by topic and partition by partition.
    async fn print(&self, printer: &mut Printer<'_>) -> Result<Outcome, CliError> {
        let mut begun = Vec::new();
        let mut readers = Upcoming::new(|number, options| self.begin(number, options));
        let mut numbers = self.order.of(0..self.selected.len());
        let mut printed_bytes = 0;
        loop {
            let options = printer.options(printed_bytes < PERSISTENT_BYTES);
            let Some((number, reader)) = readers.next(&mut numbers, options).await else {
                break;
            };
            let (topic, state) = self.selected[number];
            printed_bytes += state.stored_bytes;
            begun.push((topic, state));
            let printing = printer.print(reader?, &topic.name, state.partition);
            let printed = readers.during(printing).await;
            let named = format!("{}/{}", TopicRef::of(self.snapshot, topic), state.partition);
            let printed = printed.map_err(|error| error.failed(&named, self.order));
            // What is missing from the end is not needed for the first records, but it is for the last ones.
            if printed?.is_break() {
                match self.order {
                    Order::Ascending => return Ok(Outcome::Clean),
                    Order::Descending => break,
                }
            }
        }
        // Everything selected is printed, and it may not be all that was there.
        Ok(Outcome::clean_if(self.missing(&begun).complete))
    }

    /// Begins to read a partition.
    async fn begin(
        &self,
        number: usize,
        options: ReadOptions,
    ) -> Result<PartitionReader, RepoError> {
        let (topic, state) = self.selected[number];
        let selection = Selection {
            offsets: self.offsets.resolve(state.base_offset, state.end_offset),
            ..self.selection.clone()
        };
        let place = topic.partition_id(state.partition);
        let plan = ReadPlan::new(&self.repository, self.snapshot, place, state, selection).await?;
        Ok(plan.read_with(options, &Handle::current()))
    }

    /// Returns what these partitions lack of what is selected.
    fn missing(&self, partitions: &[(&TopicState, &PartitionState)]) -> Completeness {
        let reaching = partitions.iter().copied().filter(|(_, state)| {
            let (base, end) = (state.base_offset, state.end_offset);
            self.offsets.reaches_end(base, end)
        });
        Completeness::of_partitions(self.snapshot.sequence, reaching)
    }

    /// Returns which offsets have expired that were asked for by number.
    fn expired(&self) -> Vec<String> {
        let Some(first) = self.offsets.first_number() else {
            return Vec::new();
        };
        let expired = self.selected.iter().filter_map(|(topic, state)| {
            let expired = state.expired_offsets()?;
            let asked = self.offsets.resolve(state.base_offset, state.end_offset);
            let offsets = first.max(expired.base_offset)..asked.end.min(expired.end_offset);
            let (name, number) = (&topic.name, state.partition);
            let offsets = (!offsets.is_empty()).then(|| OffsetSpan::from(offsets))?;
            Some(format!("{name}/{number} {offsets}"))
        });
        expired.collect()
    }

    fn stored(&self) -> Vec<String> {
        let stored = self.selected.iter().map(|(topic, state)| {
            let name = format!("{}/{}", topic.name, state.partition);
            let stored = stored(&name, state.records, state.base_offset..state.end_offset);
            match state.expired_offsets() {
                // Those that were asked for by number are named before.
                Some(expired) if self.offsets.first_number().is_none() => {
                    format!("{stored}; the {expired} have expired")
                }
                _ => stored,
            }
        });
        stored.collect()
    }
}

/// Says which offsets of a partition or a file there are to select from.
fn stored(name: &str, records: u64, offsets: Range<i64>) -> String {
    match records {
        0 => format!("{name} has no records"),
        _ => format!("{name} has the {}", OffsetSpan::from(offsets)),
    }
}
