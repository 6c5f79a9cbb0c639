//! The error number for each reason why a file cannot be shown.

use fuser::Errno;

use crate::ViewError;

/// The error number that a program gets.
pub(super) fn errno(error: &ViewError) -> Errno {
    match error {
        ViewError::NotFound => Errno::ENOENT,
        ViewError::NotFolder => Errno::ENOTDIR,
        ViewError::IsFolder => Errno::EISDIR,
        ViewError::NotLink => Errno::EINVAL,
        ViewError::NoAttribute => Errno::NO_XATTR,
        ViewError::Stale | ViewError::Changed { .. } | ViewError::Forgotten { .. } => Errno::ESTALE,
        ViewError::Forbidden { .. } => Errno::EACCES,
        ViewError::Deadline { .. } => Errno::ETIMEDOUT,
        ViewError::TooManyFiles { .. } => Errno::EFBIG,
        ViewError::NoKeyFilter { .. } => Errno::EOPNOTSUPP,
        ViewError::Damaged { .. }
        | ViewError::Missing { .. }
        | ViewError::Store { .. }
        | ViewError::CacheFolder { .. }
        | ViewError::Internal { .. } => Errno::EIO,
    }
}

/// Whether it is routine, and not worth logging: programs look up missing names all the time.
pub(super) fn is_routine(error: &ViewError) -> bool {
    matches!(
        error,
        ViewError::NotFound
            | ViewError::NotFolder
            | ViewError::IsFolder
            | ViewError::NotLink
            | ViewError::NoAttribute
            | ViewError::Stale
    )
}
