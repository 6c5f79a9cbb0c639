//! `--report FILE.html`: a page of its own that shows what was verified, without scripts and without anything from elsewhere.
//!
//! | file | holds |
//! |---|---|
//! | `text` | texts of others, made harmless |
//! | `drawing` | partitions as SVG |
//! | `page.css` | how it looks, in light and in dark |
//!
//! The page is bounded: at most [`ROWS`] partitions are drawn, those with findings first, and at most [`FINDINGS`] findings are listed. It says what is
//! left out.

mod drawing;
mod text;

use std::fmt::Write;

use jiff::Timestamp;
use kbk_format::repo::Repository;
use kbk_tools::verify::{
    Finding, Mark, Severity, TopicPicture, VerifyOptions, VerifyReport, pictures,
};

use self::drawing::Drawing;
use self::text::Escaped;
use crate::human;

/// How many partitions are drawn.
const ROWS: usize = 2_000;

/// How many findings are listed.
const FINDINGS: usize = 1_000;

const STYLE: &str = include_str!("page.css");

/// What every page has near its beginning.
pub(super) const MARK: &str = "<meta name=generator content=\"kbk verify\">";

/// What a page is about.
pub(super) struct Page<'a> {
    pub(super) location: &'a str,
    pub(super) report: &'a VerifyReport,
    pub(super) first_line: &'a str,
    pub(super) at: Timestamp,
}

impl Page<'_> {
    /// Renders the page, with pictures of what was verified if it could be opened.
    pub(super) async fn render(&self, of: Option<(&Repository, &VerifyOptions)>) -> String {
        let pictures = match of {
            Some((repository, options)) => {
                let drawn = pictures(repository, options, self.report).await;
                drawn.map_err(|error| format!("nothing can be drawn: {error}"))
            }
            None => Err("nothing can be drawn: the repository cannot be opened".to_owned()),
        };
        let mut out = String::new();
        self.head(&mut out);
        self.facts(&mut out);
        self.findings(&mut out);
        match pictures {
            Ok(topics) => self.topics(topics, &mut out),
            Err(error) => push(
                &mut out,
                format_args!("<p class=note>{}</p>\n", Escaped(&error)),
            ),
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }

    fn head(&self, out: &mut String) {
        let location = Escaped(self.location);
        let scope = self.scope();
        let part = match scope.is_empty() {
            true => "",
            false => "a part of ",
        };
        push(
            out,
            format_args!(
                "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
                 <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
                 <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<meta name=referrer content=no-referrer>\n{MARK}\n\
                 <title>kbk verify: {part}{location}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
                 <h1>Verification of {part}<code>{location}</code></h1>\n"
            ),
        );
        let found = self.report.findings.len() as u64;
        let (class, verdict) = match (found, self.report.is_intact()) {
            (0, _) => ("ok", self.report.depth.intact().to_owned()),
            (found, true) => {
                let accepted = human::counted(found, "accepted finding");
                ("ok", format!("{}; {accepted}", self.report.depth.intact()))
            }
            (found, false) => ("bad", human::counted(found, "finding")),
        };
        // What is intact of a part must not look like the whole.
        let (class, verdict) = match (class, scope.as_slice()) {
            (_, []) => (class, verdict),
            ("ok", scope) => (
                "warn",
                format!("{verdict}, of a part: {}", scope.join("; ")),
            ),
            (_, scope) => (class, format!("{verdict}, in a part: {}", scope.join("; "))),
        };
        push(
            out,
            format_args!(
                "<p class=\"verdict {class}\" id=verdict>{}</p>\n<p class=depth>{}</p>\n",
                Escaped(&verdict),
                Escaped(self.first_line)
            ),
        );
    }

    /// Says of which part the page is; nothing of the whole of a snapshot.
    fn scope(&self) -> Vec<String> {
        let portion = self.report.portion.as_ref();
        let portion = portion.map(|portion| format!("only {} read", super::read(portion)));
        let topics = super::selected(self.report);
        let topics = topics.map(|topics| format!("of the topics, only {topics}"));
        portion.into_iter().chain(topics).collect()
    }

    fn facts(&self, out: &mut String) {
        let report = self.report;
        let topics = super::selected(report);
        let topics = topics.map_or_else(|| "all".to_owned(), |topics| format!("only {topics}"));
        let facts = [
            ("verified", super::snapshots(&report.snapshots)),
            ("at", human::moment(self.at)),
            ("depth", report.depth.name().to_owned()),
            ("topics", topics),
            ("partitions", human::count(report.partitions)),
            ("segments", human::count(report.segments)),
            ("records", human::count(report.records)),
            ("size", human::bytes(report.bytes)),
            (
                "offsets deleted before they were read",
                human::count(report.lost_offsets),
            ),
            (
                "offsets lost to damage",
                human::count(report.damaged_offsets),
            ),
            ("expired offsets", human::count(report.expired_offsets)),
            (
                "records removed by key",
                human::count(report.compacted_records),
            ),
            ("missing offsets", human::count(report.missing_offsets)),
            ("by", concat!("kbk ", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        out.push_str("<dl>\n");
        for (name, value) in facts {
            push(
                out,
                format_args!("<div><dt>{name}</dt><dd>{}</dd></div>\n", Escaped(&value)),
            );
        }
        out.push_str("</dl>\n");
        for removed in super::removed(report) {
            push(
                out,
                format_args!("<p class=note>{}</p>\n", Escaped(&removed)),
            );
        }
    }

    fn findings(&self, out: &mut String) {
        let findings = &self.report.findings;
        if findings.is_empty() {
            return;
        }
        out.push_str(
            "<h2>Findings</h2>\n<div class=wide><table id=findings>\n<thead><tr><th>severity<th>what<th>where<th>why, and what mends it</tr></thead>\n<tbody>\n",
        );
        for finding in findings.iter().take(FINDINGS) {
            row(finding, out);
        }
        out.push_str("</tbody>\n</table></div>\n");
        if let Some(more @ 1..) = findings.len().checked_sub(FINDINGS) {
            let more = human::counted(more as u64, "more finding");
            push(
                out,
                format_args!("<p class=note>and {more}: --json has all of them</p>\n"),
            );
        }
    }

    fn topics(&self, mut topics: Vec<TopicPicture>, out: &mut String) {
        let all: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        let snapshot = self.report.snapshots.last().copied().unwrap_or_default();
        push(
            out,
            format_args!("<h2>Topics of snapshot {snapshot}</h2>\n"),
        );
        legend(out);
        if self.report.portion.is_some() {
            out.push_str(
                "<p class=note>Of segments that were not read, only the sizes were compared.</p>\n",
            );
        }
        let left_out = bound(&mut topics);
        // Stable: by name within each group.
        topics.sort_by_key(|topic| topic.partitions.iter().all(|it| it.findings == 0));
        let drawing = Drawing::of(all.min(ROWS));
        for topic in &topics {
            section(topic, &drawing, out);
        }
        if left_out > 0 {
            let left_out = human::counted(left_out as u64, "more partition");
            push(
                out,
                format_args!(
                    "<p class=note>{left_out} not drawn: those with findings come first</p>\n"
                ),
            );
        }
    }
}

fn row(finding: &Finding, out: &mut String) {
    let (severity, class) = match finding.severity {
        Severity::Error => ("error", "bad"),
        Severity::Warning => ("warning", "warn"),
        Severity::Accepted => ("accepted", "ok"),
    };
    let mut place = String::new();
    if let Some(snapshot) = finding.snapshot {
        push(&mut place, format_args!("snapshot {snapshot}<br>"));
    }
    if let (Some(topic), Some(partition)) = (&finding.topic, finding.partition) {
        push(
            &mut place,
            format_args!("{}/{partition}<br>", Escaped(topic)),
        );
    }
    if let Some(offsets) = &finding.offsets {
        push(
            &mut place,
            format_args!("{}<br>", Escaped(&offsets.to_string())),
        );
    }
    if let Some(key) = &finding.key {
        push(&mut place, format_args!("<code>{}</code>", Escaped(key)));
    }
    push(
        out,
        format_args!(
            "<tr><td class={class}>{severity}<td>{}<td>{place}<td>{}<br><small>{}</small><br><code>{}</code></tr>\n",
            finding.kind,
            Escaped(&finding.message),
            Escaped(&finding.hint),
            Escaped(&finding.next_step),
        ),
    );
}

fn legend(out: &mut String) {
    out.push_str("<ul class=legend>\n");
    for mark in Mark::ALL {
        let (class, what) = (drawing::class(mark), drawing::words(mark));
        push(
            out,
            format_args!(
                "<li><svg width=14 height=14 aria-hidden=true><rect class={class} width=14 height=14 rx=2 /></svg> {what}</li>\n"
            ),
        );
    }
    out.push_str("</ul>\n");
}

/// Leaves out partitions beyond the bound, those without findings first, and returns how many.
fn bound(topics: &mut Vec<TopicPicture>) -> usize {
    let all: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    let with_findings = topics.iter().flat_map(|topic| &topic.partitions);
    let with_findings = with_findings.filter(|it| it.findings > 0).count();
    let mut room_for_others = ROWS.saturating_sub(with_findings);
    let mut room = ROWS;
    for topic in topics.iter_mut() {
        topic.partitions.retain(|partition| {
            let left = match partition.findings {
                0 => &mut room_for_others,
                _ => &mut room,
            };
            let fits = *left > 0;
            *left = left.saturating_sub(1);
            fits
        });
    }
    topics.retain(|topic| !topic.partitions.is_empty());
    all - topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum::<usize>()
}

fn section(topic: &TopicPicture, drawing: &Drawing, out: &mut String) {
    let partitions = &topic.partitions;
    let findings: usize = partitions.iter().map(|it| it.findings).sum();
    let records = partitions.iter().map(|it| it.records).sum();
    let bytes = partitions.iter().map(|it| it.stored_bytes).sum();
    let mut about = format!(
        "{} of {}, {}",
        human::counted(records, "record"),
        human::counted(partitions.len() as u64, "partition"),
        human::bytes(bytes)
    );
    let compacted: u64 = partitions.iter().map(|it| it.compacted_records).sum();
    if compacted > 0 {
        let compacted = human::counted(compacted, "record");
        about += &format!(", without {compacted} that were removed by key");
    }
    if findings > 0 {
        about += &format!(", {}", human::counted(findings as u64, "finding"));
    }
    if topic.replaced {
        about += ", replaced by a newer history";
    } else if topic.deleted {
        about += ", deleted in the cluster";
    }
    let class = if findings > 0 { "topic found" } else { "topic" };
    push(
        out,
        format_args!(
            "<section class=\"{class}\">\n<h3>{}</h3>\n<p>{} <small>{}</small></p>\n<div class=pair>\n",
            Escaped(&topic.name),
            Escaped(&about),
            Escaped(&topic.topic_id),
        ),
    );
    drawing.offsets(topic, out);
    drawing.times(topic, out);
    out.push_str("</div>\n</section>\n");
}

/// Appends to a page.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
