//! The command that mends what a finding is about, or that comes next where nothing can be mended.

use std::borrow::Cow;

use kbk_format::repo::Origin;

use super::finding::{Finding, FindingKind};

/// What stands for a location that the finding does not know.
const REPOSITORY: &str = "REPO";

/// Where a finding was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remedy<'a> {
    /// The repository's URL.
    pub(super) repository: &'a str,
    /// The original, if the repository is a copy.
    pub(super) origin: Option<&'a Origin>,
}

impl Remedy<'_> {
    /// A remedy in a repository that is not known.
    pub(super) const ANYWHERE: Remedy<'static> = Remedy {
        repository: REPOSITORY,
        origin: None,
    };

    /// Returns the command for a finding.
    pub(super) fn command(&self, finding: &Finding) -> String {
        let repository = quoted(self.repository);
        let on = |command: &str| format!("kbk {command} -r {repository}");
        if finding.replaced_in.is_some() {
            return on("verify --accept-replaced");
        }
        if let Some(command) = self.in_copy(finding.kind) {
            return command;
        }
        let topic = finding.refreshed.as_ref().or(finding.topic.as_ref());
        let topic = topic.map_or(Cow::Borrowed("TOPIC"), |topic| quoted(topic));
        let anew = on(&format!("compact --key-filter=none --topic {topic}"));
        let refresh = on(&format!("backup --refresh --topic {topic}"));
        match finding.kind {
            // Where it was restored from an intact copy is seen when it is verified again.
            FindingKind::DamagedIdentity | FindingKind::Unsupported | FindingKind::Unreadable => {
                on("verify")
            }
            FindingKind::DamagedRestore => on("verify --depth index"),
            FindingKind::OtherParent | FindingKind::ForgottenSnapshot => {
                on("verify --snapshot all")
            }
            FindingKind::DamagedSnapshot => {
                let number = finding
                    .snapshot
                    .map_or("SNAPSHOT".to_owned(), |it| it.to_string());
                on(&format!("backup --ignore-damaged-snapshot {number}"))
            }
            FindingKind::MissingSnapshot => {
                let number = finding
                    .snapshot
                    .map_or("SNAPSHOT".to_owned(), |it| it.to_string());
                on(&format!("forget {number}"))
            }
            FindingKind::Incomplete if finding.is_imported => on("import FOLDER"),
            FindingKind::Incomplete if finding.refreshed.is_some() => refresh,
            FindingKind::Incomplete => on("backup"),
            FindingKind::DeletedBeforeRead => on("verify --accept-lost"),
            FindingKind::LostToDamage if finding.refreshed.is_some() => refresh,
            FindingKind::LostToDamage => on("recover --from COPY"),
            FindingKind::MissingTable
            | FindingKind::DamagedTable
            | FindingKind::WrongSums
            | FindingKind::Hole
            | FindingKind::Overlap
                if finding.is_imported =>
            {
                "kbk import FOLDER -r NEW".to_owned()
            }
            FindingKind::MissingTable
            | FindingKind::DamagedTable
            | FindingKind::WrongSums
            | FindingKind::Hole
            | FindingKind::Overlap => refresh,
            FindingKind::DamagedKeyFilter => anew,
            // The cluster may still have it.
            kind if kind.is_damage_of_segment() && finding.refreshed.is_some() => refresh,
            // The cluster has deleted the topic: only another copy has it.
            FindingKind::MissingSegment
            | FindingKind::WrongSize
            | FindingKind::OtherSegment
            | FindingKind::DamagedSegment
            | FindingKind::DamagedBlock
            | FindingKind::LostOffsets => on("recover --from COPY"),
            // Nothing is found wrong inside of it.
            FindingKind::OtherDigest => "kbk copy --from COPY -r NEW".to_owned(),
            FindingKind::NotASegment => Remedy::of_file(finding),
        }
    }

    /// Returns the command that mends a copy, which a backup would end.
    fn in_copy(&self, kind: FindingKind) -> Option<String> {
        self.origin?;
        let sent_again = [
            FindingKind::MissingSegment,
            FindingKind::WrongSize,
            FindingKind::Incomplete,
        ];
        let contradictions = [
            FindingKind::DamagedSnapshot,
            FindingKind::DamagedKeyFilter,
            FindingKind::WrongSums,
            FindingKind::Hole,
            FindingKind::Overlap,
        ];
        if sent_again.contains(&kind) {
            // By their sizes, a copy sees what it lacks.
            let repository = quoted(self.repository);
            return Some(format!("kbk copy --from ORIGINAL -r {repository}"));
        }
        if kind == FindingKind::LostToDamage {
            let repository = quoted(self.repository);
            return Some(format!("kbk recover --from ORIGINAL -r {repository}"));
        }
        let is_damage = kind.is_damage() || contradictions.contains(&kind);
        is_damage.then(|| "kbk copy --from ORIGINAL -r NEW".to_owned())
    }

    /// Returns the command for a finding about a file that has no repository.
    pub(super) fn of_file(finding: &Finding) -> String {
        let file = quoted(finding.key.as_deref().unwrap_or("FILE"));
        match finding.kind {
            FindingKind::Unsupported | FindingKind::Unreadable => format!("kbk verify {file}"),
            FindingKind::NotASegment => format!("kbk inspect {file}"),
            FindingKind::DeletedBeforeRead | FindingKind::LostToDamage => {
                format!("kbk verify --accept-lost {file}")
            }
            // What is lost can be had from nowhere else, as far as the file alone says.
            _ => format!("kbk recover {file} -o NEW"),
        }
    }
}

/// Quotes a word where a shell would not take it as it is.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::Id;

    use super::*;

    #[test]
    fn every_kind_has_a_command() {
        for (at, kind) in FindingKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "ALL has every kind once, in order");
            let finding = Finding::new(kind, "wrong").key("a b.kseg");
            for finding in [finding.clone(), finding.mended_in_file()] {
                assert!(
                    finding.next_step.starts_with("kbk "),
                    "{kind}: {}",
                    finding.next_step
                );
            }
        }
        assert_eq!(FindingKind::ALL.last(), Some(&FindingKind::Unreadable));
    }

    #[test]
    fn nothing_but_a_copy_mends_what_no_cluster_has() {
        let finding = Finding::new(FindingKind::DamagedBlock, "wrong");
        let command = Remedy::ANYWHERE.command(&finding);
        assert_eq!(command, "kbk recover --from COPY -r REPO");
    }

    #[test]
    fn no_backup_mends_what_was_imported() {
        for kind in FindingKind::ALL {
            let finding = Finding::new(kind, "wrong").of_imported_topic();
            let command = Remedy::ANYWHERE.command(&finding);
            let is_backup = command.starts_with("kbk backup");
            // It names again what only the damaged snapshot named.
            assert_eq!(
                is_backup,
                kind == FindingKind::DamagedSnapshot,
                "{kind}: {command}"
            );
        }
        let command = |kind| {
            let finding = Finding::new(kind, "wrong").of_imported_topic();
            Remedy::ANYWHERE.command(&finding)
        };
        assert_eq!(
            command(FindingKind::Incomplete),
            "kbk import FOLDER -r REPO"
        );
        assert_eq!(
            command(FindingKind::MissingSegment),
            "kbk recover --from COPY -r REPO"
        );
        assert_eq!(
            command(FindingKind::DamagedTable),
            "kbk import FOLDER -r NEW"
        );
    }

    #[test]
    fn a_copy_is_mended_from_its_original() {
        let origin = Origin {
            repository_id: Id::random(),
            sequence: 1,
            backup: 1,
            sha256: kbk_format::repo::Hex([1; 32]),
        };
        let remedy = |origin| Remedy {
            repository: "/it's here",
            origin,
        };
        let topic = "orders".parse().unwrap();
        let refresh = "kbk backup --refresh --topic orders -r '/it'\\''s here'";
        let again = "kbk copy --from ORIGINAL -r '/it'\\''s here'";
        let from_original = "kbk recover --from ORIGINAL -r '/it'\\''s here'";
        let anew = "kbk copy --from ORIGINAL -r NEW";
        let others = "kbk verify --snapshot all -r '/it'\\''s here'";
        for (kind, here, in_copy) in [
            (FindingKind::MissingSegment, refresh, again),
            (FindingKind::DamagedBlock, refresh, anew),
            (FindingKind::DamagedTable, refresh, anew),
            (FindingKind::LostToDamage, refresh, from_original),
            (FindingKind::OtherParent, others, others),
        ] {
            let finding = Finding::new(kind, "wrong").repaired_by_refresh(&topic);
            for (origin, expected) in [(None, here), (Some(&origin), in_copy)] {
                assert_eq!(remedy(origin).command(&finding), expected, "{kind}");
            }
        }
    }
}
