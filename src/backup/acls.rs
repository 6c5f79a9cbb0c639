//! The ACLs of the cluster, a part of the survey.

use jiff::Timestamp;
use kbk_format::repo::FoundAcls;

use super::plan::Finding;
use super::survey::SurveyError;
use crate::kafka::Admin;

/// Whether to save the cluster's ACLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveAcls {
    /// If the cluster tells them; otherwise those of the last snapshot stay.
    IfTold,
    /// All of them, or the backup fails.
    All,
    /// No: those of the last snapshot stay.
    No,
}

/// What the cluster told of its ACLs.
#[derive(Clone, Debug, Default)]
pub(super) struct SurveyedAcls {
    /// `None` where they were not asked for, or not told.
    pub(super) found: Option<FoundAcls>,
    pub(super) finding: Option<Finding>,
}

/// Asks for all ACLs. As with groups, a cluster that does not tell is a finding: records are worth more.
pub(super) fn ask(admin: &Admin, save: SaveAcls) -> Result<SurveyedAcls, SurveyError> {
    if save == SaveAcls::No {
        return Ok(SurveyedAcls::default());
    }
    let taken_at = Timestamp::now();
    let listing = match admin.acls() {
        Err(error) if save == SaveAcls::IfTold && (error.is_denied() || error.is_unsupported()) => {
            let cause = error.to_string();
            return Ok(SurveyedAcls {
                found: None,
                finding: Some(Finding::AclsUnknown { cause }),
            });
        }
        listing => listing?,
    };
    let acls = listing.unknown;
    if acls > 0 && save == SaveAcls::All {
        return Err(SurveyError::AclsLeftOut { acls });
    }
    Ok(SurveyedAcls {
        found: Some(FoundAcls {
            taken_at,
            authorizer: listing.authorizer,
            left_out: acls as u64,
            acls: listing.bindings.into(),
        }),
        finding: (acls > 0).then_some(Finding::AclsLeftOut { acls }),
    })
}
