//! The part of the survey that reads the cluster's ACLs.

use jiff::Timestamp;
use kbk_format::repo::FoundAcls;

use super::notice::BackupNotice;
use super::survey::SurveyError;
use crate::kafka::Admin;

/// Whether to save the cluster's ACLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveAcls {
    /// If the cluster returns them; otherwise the snapshot keeps those of the last one.
    IfAllowed,
    /// Yes, all of them, or the backup fails.
    All,
    /// No: the snapshot keeps those of the last one.
    No,
}

/// The ACLs that the cluster returned.
#[derive(Clone, Debug, Default)]
pub(super) struct SurveyedAcls {
    /// `None` if they were not requested or not returned.
    pub(super) found: Option<FoundAcls>,
    pub(super) notice: Option<BackupNotice>,
}

/// Reads all ACLs. As with groups, an authorization error is a notice and does not fail the backup: records matter more.
pub(super) fn survey(admin: &Admin, save: SaveAcls) -> Result<SurveyedAcls, SurveyError> {
    if save == SaveAcls::No {
        return Ok(SurveyedAcls::default());
    }
    let taken_at = Timestamp::now();
    let listing = match admin.acls() {
        Err(error)
            if save == SaveAcls::IfAllowed && (error.is_denied() || error.is_unsupported()) =>
        {
            let cause = error.to_string();
            return Ok(SurveyedAcls {
                found: None,
                notice: Some(BackupNotice::AclsUnknown { cause }),
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
        notice: (acls > 0).then_some(BackupNotice::AclsLeftOut { acls }),
    })
}
