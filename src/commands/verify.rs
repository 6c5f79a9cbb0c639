//! `kbk verify`: checks that every byte and every offset is present; of segment files, what they prove by themselves.

mod evidence;
mod files;
mod page;
mod state;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use kbk_format::repo::{Digested, Id, Repository, Snapshot, Store, TopicName};
use kbk_tools::claims::Running;
use kbk_tools::verify::{
    Known, Orphan, Portion, PortionReport, VerifyDepth, VerifyEvents, VerifyOptions, VerifyReport,
    verify,
};
use serde::Serialize;

use self::evidence::Signing;
use self::page::Page;
use self::state::State;
use crate::cli::{
    CliError, Context, FileKind, MetricsArgs, Outcome, OutputFile, Report, SnapshotArg,
    SnapshotsArg, TopicArgs,
};
use crate::human;
use crate::run::{RunEvents, Totals};

const EXAMPLES: &str = "\
Examples:
  kbk verify -r /backup/kafka
  kbk verify -r /backup/kafka --snapshot all --full
  kbk verify -r /backup/kafka --depth list
  kbk verify -r /backup/kafka --topic 'orders*'
  kbk verify -r /backup/kafka --subset 5%
  kbk verify -r /backup/kafka --since 41
  kbk verify -r /backup/kafka --depth records --evidence november.json --sign-key kbk.pem
  kbk verify -r /backup/kafka --report verified.html
  kbk verify --check-evidence november.json --public-key kbk.pub
  kbk verify --full /backup/kafka/data/orders/*/0/*.kseg

Depths, each with what the ones before it check:
  list     snapshots, and the names and sizes that listings show; reads no segment
  index    all of the index, and the footer of each segment
  blocks   every byte, by its checksum (the default)
  records  every record: decoded, and compared with digests and statistics
  hash     the BLAKE3 hash of each segment; --full is the same

Findings in history that was replaced are about a topic that was read again in full since: what the topic has
now is verified by itself, and --accept-replaced accepts the old damage. Restore an old history as NAME@ID.

A segment file proves that its own bytes are those that were written. Whether it is the one that a backup has
stored, and whether other offsets are missing, only its repository says. Losses that it names itself are findings.";

/// The file of `--report`.
const REPORT: FileKind = FileKind {
    name: "the report",
    mark: page::MARK,
};

/// The arguments of `kbk verify`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Segment files (.kseg) to verify without their repository; without any, a snapshot of the repository is verified
    #[arg(value_name = "FILE", conflicts_with_all = ["snapshot", "topic", "exclude", "accept_replaced", "since", "subset", "evidence", "report"])]
    pub files: Vec<PathBuf>,

    /// Snapshot number, latest or all
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotsArg,

    /// The topics of the snapshot to verify.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// How deep to look: list, index, blocks, records or hash; the first line says what was not checked
    #[arg(long, value_name = "DEPTH", default_value = "blocks", value_parser = depth_parser())]
    pub depth: VerifyDepth,

    /// The same as --depth hash
    #[arg(long, conflicts_with = "depth")]
    pub full: bool,

    /// Read only the segments that this older snapshot does not name: its number, or latest; of the others, listed sizes are compared
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "subset")]
    pub since: Option<SnapshotArg>,

    /// Read only this share of the bytes, such as 5%: another one in each run, until all is read; listed sizes are compared of all
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub subset: Option<f64>,

    /// Where runs with --subset remember what they have read, instead of a file in ~/.local/state/kbk/verify/ for each place that a
    /// repository is in
    #[arg(long, value_name = "FILE", requires = "subset")]
    pub state: Option<PathBuf>,

    /// Write what was verified and found to a file, signed with --sign-key. A file that is there is replaced if it is evidence
    #[arg(long, value_name = "FILE.json", requires = "sign_key")]
    pub evidence: Option<PathBuf>,

    /// The key that signs: Ed25519 in PEM, as `openssl genpkey -algorithm ed25519` makes it
    #[arg(long, value_name = "KEY.pem", requires = "evidence")]
    pub sign_key: Option<PathBuf>,

    /// Write a page that shows what was verified and found: one file, for any browser. A file that is there is replaced if it is such a
    /// page
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Check the signature of such a file, and say what it attests; no repository is read
    #[arg(long, value_name = "FILE.json", requires = "public_key", conflicts_with_all = ["files", "snapshot", "topic", "exclude", "depth", "full", "since", "subset", "evidence", "report", "accept_lost", "accept_replaced"])]
    pub check_evidence: Option<PathBuf>,

    /// The public key of who signed it: Ed25519 in PEM
    #[arg(long, value_name = "KEY.pub", requires = "check_evidence")]
    pub public_key: Option<PathBuf>,

    /// Exit with 0 even if offsets were deleted in the cluster before a backup read them, or were lost when `kbk recover` replaced
    /// damaged segments; they are still listed
    #[arg(long)]
    pub accept_lost: bool,

    /// Exit with 0 even if what is damaged or missing is in history that was replaced: a topic that was read again in full since, with
    /// `kbk backup --refresh` for example; it is still listed
    #[arg(long)]
    pub accept_replaced: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// Reads a share such as `5%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent = number.parse::<f64>().ok();
    let percent = percent.filter(|it| *it > 0.0 && *it <= 100.0);
    percent.ok_or_else(|| "expected more than 0% and at most 100%, such as 5%".to_owned())
}

/// Accepts the names of depths.
fn depth_parser() -> impl TypedValueParser<Value = VerifyDepth> {
    PossibleValuesParser::new(VerifyDepth::ALL.map(VerifyDepth::name))
        .try_map(|name| name.parse::<VerifyDepth>())
}

impl Args {
    /// Returns whether files are read, and no repository.
    pub(super) fn is_without_repository(&self) -> bool {
        !self.files.is_empty() || self.check_evidence.is_some()
    }

    /// Returns how deep to look.
    fn depth(&self) -> VerifyDepth {
        match self.full {
            true => VerifyDepth::Hash,
            false => self.depth,
        }
    }
}

/// What was verified, and where.
#[derive(Debug, Serialize)]
struct Verified {
    #[serde(skip)]
    repository: String,
    #[serde(flatten)]
    report: VerifyReport,
}

/// Verifies, and prints every finding.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    if let (Some(file), Some(key)) = (&args.check_evidence, &args.public_key) {
        return evidence::check(file, key, context);
    }
    if !args.files.is_empty() {
        return files::run(args, context).await;
    }
    let reads_segments = args.depth() > VerifyDepth::Index;
    if !reads_segments && (args.subset.is_some() || args.since.is_some()) {
        let error = CliError::usage("--subset and --since select segments to read");
        return Err(error.hint("use --depth blocks or deeper with them"));
    }
    let signing = args.sign_key.as_ref().zip(args.evidence.as_ref());
    let signing = signing
        .map(|(key, file)| Signing::open(key, file))
        .transpose()?;
    let page = args.report.as_deref();
    let page = page
        .map(|file| OutputFile::create(file, REPORT))
        .transpose()?;
    let store = Store::open_at(&context.location()?)?;
    let url = store.url().to_owned();
    let mut verification = match Repository::open(store).await {
        Ok(repository) => verified(args, context, repository).await?,
        Err(error) => Verification {
            report: VerifyReport::of_damaged_identity(&error, args.depth()).ok_or(error)?,
            of: None,
            state: None,
        },
    };
    // What was found is printed even where these files cannot be written, which is an error all the same.
    let saved = save(&mut verification, signing, &url);
    let saved = match page {
        Some(file) => saved.and(write_page(&verification, file, &url).await),
        None => saved,
    };
    let report = verification.report;
    let outcome = Outcome::clean_if(report.is_intact());
    let verified = Verified {
        repository: url,
        report,
    };
    let concluded = context.conclude(&verified, outcome);
    saved.and(concluded)
}

/// A verification that has ended.
struct Verification {
    report: VerifyReport,
    /// What was verified; `None` where the repository could not be opened.
    of: Option<(Repository, VerifyOptions)>,
    state: Option<State>,
}

/// Writes the state and the evidence.
fn save(
    verification: &mut Verification,
    signing: Option<Signing>,
    location: &str,
) -> Result<(), CliError> {
    let state = verification.state.take();
    if let Some((state, memory)) = state.zip(verification.report.memory.as_ref()) {
        state.save(memory)?;
    }
    let Some(signing) = signing else {
        return Ok(());
    };
    let of = verification.of.as_ref();
    let repository = of.map(|(repository, _)| repository);
    let options = of.map(|(_, options)| options);
    signing.write(&verification.report, location, repository, options)
}

/// Writes the page.
async fn write_page(
    verification: &Verification,
    file: OutputFile,
    location: &str,
) -> Result<(), CliError> {
    let report = &verification.report;
    let page = Page {
        location,
        report,
        first_line: &first_line(report),
        at: Timestamp::now(),
    };
    let of = verification.of.as_ref();
    let of = of.map(|(repository, options)| (repository, options));
    file.finish(page.render(of).await.as_bytes())
}

async fn verified(
    args: &Args,
    context: &Context,
    repository: Repository,
) -> Result<Verification, CliError> {
    let snapshots = sequences(args, &repository).await?;
    let readable = readable(&repository, &snapshots).await;
    if readable.len() == snapshots.len() && !readable.iter().any(|it| it.has_backup()) {
        let (url, none) = (repository.store().url(), self::snapshots(&snapshots));
        let error = CliError::new(format!(
            "{url}: {none} has no backup, and nothing to verify"
        ));
        return Err(error.hint("`kbk backup` or `kbk copy` creates one"));
    }
    let state = match args.subset {
        Some(_) => Some(State::open(
            args.state.as_deref(),
            repository.identity().repository_id,
            &context.location()?.place(),
        )?),
        None => None,
    };
    let last = snapshots.last().copied().unwrap_or_default();
    let options = VerifyOptions {
        topics: topics(args, &readable)?,
        snapshots,
        all_snapshots: args.snapshot == SnapshotsArg::All,
        depth: args.depth(),
        portion: portion(args, &repository, last, state.as_ref()).await?,
        accept_lost: args.accept_lost,
        accept_replaced: args.accept_replaced,
    };
    let totals = Totals {
        records: None,
        bytes: expected_bytes(&options, &readable),
    };
    let run = Arc::new(RunEvents::start(context.events("verifying"), totals));
    let report = verify(&repository, &options, Arc::new(Checked(Arc::clone(&run)))).await;
    // The progress leaves the screen before the result is written.
    drop(run);
    Ok(Verification {
        report,
        of: Some((repository, options)),
        state,
    })
}

/// Returns which segments are read of snapshots up to `last`.
async fn portion(
    args: &Args,
    repository: &Repository,
    last: u64,
    state: Option<&State>,
) -> Result<Portion, CliError> {
    if let Some((percent, state)) = args.subset.zip(state) {
        return Ok(Portion::Subset(state.subset(percent)));
    }
    let since = match args.since {
        None => return Ok(Portion::All),
        Some(SnapshotArg::Number(number)) => number,
        Some(SnapshotArg::Latest) => {
            let existing = repository.sequences().await?;
            existing.last().copied().unwrap_or(last)
        }
    };
    repository.check_kept(since).await?;
    let known = Known::of(repository, since).await.map_err(|error| {
        let message = format!("cannot tell what is new since snapshot {since}");
        CliError::new(message)
            .caused_by(error)
            .hint("`kbk snapshots` lists the snapshots that there are; without --since everything is verified")
    })?;
    if since > last {
        let message = format!(
            "nothing of snapshot {last} is new since snapshot {since}, which is a newer one"
        );
        return Err(CliError::usage(message)
            .hint("give --since an older snapshot than the one that is verified"));
    }
    Ok(Portion::Since(known))
}

/// Passes on what is checked.
struct Checked(Arc<RunEvents>);

impl VerifyEvents for Checked {
    fn bytes_checked(&self, bytes: u64) {
        self.0.received(0, bytes);
        self.0.advanced(0, bytes);
    }

    fn segment_checked(&self, key: &str, findings: usize) {
        let found = match findings {
            0 => "intact".to_owned(),
            findings => human::counted(findings as u64, "finding"),
        };
        tracing::debug!("checked {key}: {found}");
    }
}

async fn sequences(args: &Args, repository: &Repository) -> Result<Vec<u64>, CliError> {
    let existing = repository.sequences().await?;
    let none = || {
        let url = repository.store().url();
        CliError::new(format!("{url} has no snapshots yet")).hint("`kbk backup` creates one")
    };
    let Some(&latest) = existing.last() else {
        repository.check_newest().await?;
        return Err(none());
    };
    match args.snapshot {
        SnapshotsArg::All => Ok(existing),
        SnapshotsArg::One(SnapshotArg::Latest) => Ok(vec![latest]),
        SnapshotsArg::One(SnapshotArg::Number(number)) if existing.contains(&number) => {
            Ok(vec![number])
        }
        SnapshotsArg::One(SnapshotArg::Number(number)) => {
            repository.check_kept(number).await?;
            let url = repository.store().url();
            Err(CliError::new(format!("{url} has no snapshot {number}"))
                .hint("`kbk snapshots` lists them"))
        }
    }
}

/// Returns the snapshots that can be read. The verification reports the others.
async fn readable(repository: &Repository, sequences: &[u64]) -> Vec<Digested<Snapshot>> {
    let mut readable = Vec::new();
    for sequence in sequences {
        readable.extend(repository.snapshot(*sequence).await.ok());
    }
    readable
}

/// Returns the topics that the patterns select; `None` for all of them, internal and deleted ones too, without a pattern.
fn topics(
    args: &Args,
    snapshots: &[Digested<Snapshot>],
) -> Result<Option<BTreeSet<(TopicName, Id)>>, CliError> {
    let unrestricted = args.topics.topic.is_empty() && args.topics.exclude.is_empty();
    if unrestricted || snapshots.is_empty() {
        return Ok(None);
    }
    let topics = snapshots.iter().flat_map(|snapshot| &snapshot.topics);
    let selection = args.topics.selection().internal_too();
    Ok(Some(selection.select_every(topics)?))
}

/// Returns the bytes to read; `None` for several snapshots, since what they share is read once.
fn expected_bytes(options: &VerifyOptions, snapshots: &[Digested<Snapshot>]) -> Option<u64> {
    let [snapshot] = snapshots else {
        return None;
    };
    if options.depth <= VerifyDepth::Index || !matches!(options.portion, Portion::All) {
        return None;
    }
    let chosen = options.topics.as_ref();
    let topics = snapshot.topics.iter();
    let topics = topics.filter(|topic| {
        chosen.is_none_or(|chosen| chosen.contains(&(topic.name.clone(), topic.topic_id)))
    });
    let states = topics.flat_map(|topic| &topic.partitions);
    Some(states.map(|state| state.stored_bytes).sum())
}

impl Report for Verified {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        writeln!(out, "{}\n", first_line(report))?;
        for finding in &report.findings {
            writeln!(out, "{finding}\n")?;
        }
        for claim in &report.claims {
            writeln!(out, "{claim}\n")?;
        }
        orphans(report, out)?;
        let intact = report.depth.intact();
        let how = match &report.portion {
            None if report.selected_topics.is_some() => {
                format!("of the selected topics, {intact}")
            }
            None => intact.to_owned(),
            Some(portion) if portion.segments == 0 => {
                "no segment was read: their sizes, and the index, are intact".to_owned()
            }
            Some(portion) => format!("{} of them read: {intact} there", read(portion)),
        };
        let found = report.findings.len() as u64;
        let verdict = match (found, report.is_intact()) {
            (0, _) => how,
            (_, true) => format!("{how}; {}", accepted(report)),
            (_, false) if found == report.replaced_findings => format!(
                "{}, all in history that was replaced: what the topics have now is intact",
                human::counted(found, "finding")
            ),
            (_, false) => human::counted(found, "finding"),
        };
        writeln!(
            out,
            "{} of {}: {} in {} of {}, {}: {verdict}",
            snapshots(&report.snapshots),
            self.repository,
            human::counted(report.records, "record"),
            human::counted(report.segments, "segment"),
            human::counted(report.partitions, "partition"),
            human::bytes(report.bytes),
        )?;
        for removed in removed(report) {
            writeln!(out, "{removed}")?;
        }
        Ok(())
    }
}

/// Says what was removed on request, which is no finding.
fn removed(report: &VerifyReport) -> impl Iterator<Item = String> {
    let expired = (report.expired_offsets > 0).then(|| {
        let expired = human::counted(report.expired_offsets, "offset");
        format!("{expired} had expired: `kbk expire` removed them by their age")
    });
    let compacted = (report.compacted_records > 0).then(|| {
        let compacted = human::counted(report.compacted_records, "record");
        format!(
            "{compacted} had been removed by `kbk compact`: later ones had the same keys, or they were old tombstones"
        )
    });
    expired.into_iter().chain(compacted)
}

/// Names the selected topics; `None` where all were.
fn selected(report: &VerifyReport) -> Option<String> {
    let topics = report.selected_topics.as_ref()?;
    // Without the ids of their histories.
    let names = topics
        .iter()
        .filter_map(|topic| Some(topic.rsplit_once('@')?.0));
    let mut names: Vec<&str> = names.collect();
    names.dedup();
    Some(human::some_of(&names))
}

/// Says how deep the verification looked, what it did not check, and what snapshots lack by their own account.
fn first_line(report: &VerifyReport) -> String {
    let depth = report.depth.name();
    let unchecked = report.not_checked.iter().map(|it| it.words().to_owned());
    let mut unchecked: Vec<String> = unchecked.collect();
    if report.portion.is_some() {
        unchecked.push("segments that were not read, but for their sizes".to_owned());
    }
    if let Some(topics) = selected(report) {
        unchecked.push(format!("other topics than {topics}"));
    }
    if report.full && report.not_computed_segments > 0 {
        unchecked.push(without_digests(report.not_computed_segments));
    }
    let mut looked = match unchecked.as_slice() {
        [] => format!("depth {depth}: everything is checked"),
        unchecked => format!("depth {depth}: not checked: {}", unchecked.join(", ")),
    };
    if let Some(portion) = &report.portion {
        looked += &format!("; {}", part(portion));
    }
    if report.partial_snapshots.is_empty() {
        return looked;
    }
    let lack = match report.incomplete_partitions {
        1 => "lacks",
        _ => "lack",
    };
    let missing = match report.missing_offsets {
        0 => "how many is not known".to_owned(),
        offsets => format!("at least {}", human::counted(offsets, "offset")),
    };
    format!(
        "{} partial: {} {lack} records that the cluster had, {missing}; {looked}",
        partial(&report.partial_snapshots),
        human::counted(report.incomplete_partitions, "partition"),
    )
}

/// Says that there was nothing to compare records with but the checksums of their batches.
fn without_digests(segments: u64) -> String {
    let segments = human::counted(segments, "segment");
    format!(
        "digests of {segments} that are not computed, whose batches have checksums of their own"
    )
}

/// Says how much was read.
fn read(portion: &PortionReport) -> String {
    let segments = human::counted(portion.segments, "segment");
    let bytes = human::bytes(portion.bytes);
    format!("{segments}, {bytes} ({:.1} %)", portion.percent())
}

/// Says which part of the segments was read, and how much is left.
fn part(portion: &PortionReport) -> String {
    let mut text = format!("read {}", read(portion));
    if let Some(since) = portion.since {
        text = match portion.segments {
            0 => format!("read no segment: none is new since snapshot {since}"),
            _ => format!("{text}, what is new since snapshot {since}"),
        };
    }
    if let Some(cycle) = portion.cycle {
        text += &format!(
            "; cycle {cycle} has covered {:.1} %",
            portion.cycle_percent()
        );
    }
    if let Some(unverified @ 1..) = portion.unverified_segments {
        let segments = human::counted(unverified, "segment");
        text += &format!("; {segments} never verified as intact");
    }
    if let Some(oldest) = portion.oldest_read_at {
        text += &format!("; the oldest was verified at {}", human::moment(oldest));
    }
    text
}

/// Says what is accepted.
fn accepted(report: &VerifyReport) -> String {
    let lost = report.lost_offsets.saturating_add(report.damaged_offsets);
    let lost = (lost > 0).then(|| {
        let lost = human::counted(lost, "offset");
        format!("the loss of {lost}")
    });
    let replaced = (report.replaced_findings > 0).then(|| {
        let findings = human::counted(report.replaced_findings, "finding");
        format!("{findings} in history that was replaced")
    });
    let all: Vec<String> = lost.into_iter().chain(replaced).collect();
    let are = match (report.replaced_findings, all.len()) {
        (0 | 1, 1) => "is",
        _ => "are",
    };
    format!("{} {are} accepted", all.join(" and "))
}

/// Names what no snapshot names. Long lists are cut: JSON has all of it.
fn orphans(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    const SHOWN: usize = 10;
    let orphans = &report.orphans;
    let [command, next, unfinished] = match &report.origin {
        None => [
            "backup, import or compaction",
            "the next backup or compaction uses segments that are intact and still fit",
            "a backup removes them once they are a day old",
        ],
        Some(_) => [
            "`kbk copy` or compaction",
            "the next one uses segments that are intact and still fit",
            "they do no harm, and the next one writes them anew",
        ],
    };
    let mut writers = report
        .claims
        .iter()
        .filter(|claim| claim.running != Running::No);
    let left_by = match writers.next() {
        Some(writer) => format!(
            "left by an interrupted {command}, or a forgotten snapshot, or being written by {}",
            writer.owner()
        ),
        None => format!("left by an interrupted {command}, or a forgotten snapshot"),
    };
    if orphans.objects > 0 {
        writeln!(
            out,
            "no snapshot names {}, {}: {left_by}; {next}, and `kbk prune` deletes what is not needed",
            human::counted(orphans.objects, "object"),
            human::bytes(orphans.bytes),
        )?;
        for Orphan { key, bytes } in orphans.keys.iter().take(SHOWN) {
            writeln!(out, "  {key}  {}", human::bytes(*bytes))?;
        }
        if let Some(more) = orphans
            .keys
            .len()
            .checked_sub(SHOWN)
            .filter(|more| *more > 0)
        {
            writeln!(out, "  and {more} more")?;
        }
        for key in &orphans.unread {
            writeln!(out, "  {key} could not be read, and may name some of them")?;
        }
        writeln!(out)?;
    }
    if orphans.unfinished_files > 0 {
        writeln!(
            out,
            "{} of segments and pages that are not complete, {}: {left_by}; {unfinished}\n",
            human::counted(orphans.unfinished_files, "file"),
            human::bytes(orphans.unfinished_bytes),
        )?;
    }
    super::write_foreign(orphans.foreign_files, &orphans.foreign_names, out)
}

fn partial(sequences: &[u64]) -> String {
    match sequences {
        [one] => format!("snapshot {one} is"),
        several => format!("{} are", snapshots(several)),
    }
}

fn snapshots(sequences: &[u64]) -> String {
    match sequences {
        [] => "nothing".to_owned(),
        [one] => format!("snapshot {one}"),
        [first, .., last] => format!("{} snapshots from {first} to {last}", sequences.len()),
    }
}
