//! `kbk restore --only-config`: topics without their records.

use std::io::{self, Write};

use kbk_format::counted;
use kbk_format::repo::Repository;

use super::{Args, WithAcls, options, plan_acls};
use crate::acls;
use crate::blocking::blocking;
use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::human;
use crate::kafka::ClientSettings;
use crate::restore::{
    self, ConfigAction, ConfigChange, ConfigPlan, ConfigReport, RecordSelection, TopicConfigPlan,
};

/// Plans, and unless it is a dry run, restores topics without their records.
pub(super) async fn run(
    args: &Args,
    selection: RecordSelection,
    repository: &Repository,
    kafka: ClientSettings,
    context: &Context,
) -> Result<Outcome, CliError> {
    let snapshot = super::super::snapshot(repository, args.snapshot).await?;
    let (options, left_out) = options(args, selection, (repository, &snapshot), &kafka).await?;
    let plan = restore::plan_config(repository, &snapshot, &options).await?;
    let acls = match args.acls {
        true => {
            let targets = &options.targets;
            Some(plan_acls(&args.groups, repository, plan.snapshot, targets, &kafka).await?)
        }
        false => None,
    };
    let planned = WithAcls {
        main: plan,
        acls,
        left_out,
    };
    let planned = planned.into_approved(|plan| &plan.obstacles, args.dry_run, context)?;
    let Some(WithAcls {
        main: plan,
        acls,
        left_out,
    }) = planned
    else {
        return Ok(Outcome::Clean);
    };
    let (settings, cancel) = (kafka.clone(), context.cancel.clone());
    let report = blocking(move || restore::apply_config(&plan, &settings, &cancel)).await?;
    let interrupted = report.interrupted;
    let (acls, acls_error) = match acls.filter(|_| !interrupted) {
        None => (None, None),
        Some(plan) => match acls::restore(plan, kafka).await {
            Ok(restored) => (Some(restored), None),
            Err(error) => (None, Some(error)),
        },
    };
    // The topics are reported even if the ACLs failed.
    let report = WithAcls {
        main: report,
        acls,
        left_out,
    };
    if let Some(error) = acls_error {
        return Err(context.conclude_failed(&report, error.into()));
    }
    let outcome = match interrupted {
        true => Outcome::Interrupted,
        false => Outcome::Clean,
    };
    context.conclude(&report, outcome)?;
    if interrupted {
        tracing::warn!("stopped early: run it again for the rest");
    }
    Ok(outcome)
}

impl Report for ConfigPlan {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Left("TARGET"),
            Column::Right("PARTITIONS"),
            Column::Left("KEY"),
            Column::Left("NOW"),
            Column::Left("SAVED"),
        ]);
        for topic in &self.topics {
            for [target, partitions, key, now, saved] in config_rows(topic) {
                table.row([topic.source.clone(), target, partitions, key, now, saved]);
            }
        }
        table.write(out)?;
        for topic in &self.topics {
            let saved = topic.source_partitions;
            if let ConfigAction::Change { partitions, .. } = &topic.action
                && *partitions != saved
            {
                let target = &topic.target;
                writeln!(
                    out,
                    "{target} has {} and the backup has {saved}: the number does not change",
                    counted(*partitions, "partition")
                )?;
            }
        }
        let missing = self.topics.iter().filter(|topic| topic.config_missing);
        let missing: Vec<&str> = missing.map(|topic| topic.target.as_str()).collect();
        no_configuration(&missing, out)?;
        writeln!(
            out,
            "no record of snapshot {} would be written",
            self.snapshot
        )
    }
}

/// Returns a row per entry, and at least one: target, partitions, key, current value, saved value.
fn config_rows(topic: &TopicConfigPlan) -> Vec<[String; 5]> {
    let (target, partitions, entries) = match &topic.action {
        ConfigAction::Create(create) => {
            let entries = create.config.iter();
            let entries = entries.map(|(key, to)| [key.clone(), String::new(), to.clone()]);
            let target = format!("{} (new)", topic.target);
            let partitions = create.partitions.to_string();
            (target, partitions, entries.collect::<Vec<_>>())
        }
        ConfigAction::Change {
            partitions,
            changes,
        } => {
            let entry = |(key, change): (&String, &ConfigChange)| {
                let now = change.from.clone().unwrap_or_else(|| "?".to_owned());
                let saved = change.to.clone();
                [
                    key.clone(),
                    now,
                    saved.unwrap_or_else(|| "(the cluster's)".to_owned()),
                ]
            };
            let entries = changes.iter().map(entry).collect();
            (topic.target.clone(), partitions.to_string(), entries)
        }
    };
    let entries = match entries.is_empty() {
        true => vec![["(nothing to set)".to_owned(), String::new(), String::new()]],
        false => entries,
    };
    let row =
        |[key, now, saved]: [String; 3]| [target.clone(), partitions.clone(), key, now, saved];
    entries.into_iter().map(row).collect()
}

impl Report for ConfigReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} created, {} configured, {} already as saved; no record was written",
            human::counted(self.topics_created as u64, "topic"),
            self.topics_changed,
            self.topics_unchanged,
        )?;
        no_configuration(&self.config_missing, out)
    }
}

/// Names the topics whose configuration the snapshot does not have.
fn no_configuration<T: std::fmt::Display>(topics: &[T], out: &mut dyn Write) -> io::Result<()> {
    match topics {
        [] => Ok(()),
        topics => writeln!(
            out,
            "the snapshot has no configuration of {}, so none is set: new topics get the cluster's defaults, and others stay as they are",
            human::some_of(topics)
        ),
    }
}
