//! What the errors of stores and of the operating system say: stores wrap them in errors of their own.

use std::error::Error;
use std::io;

/// Returns whether the store says that it does not know these credentials.
pub(super) fn is_unauthenticated(error: &(dyn Error + 'static)) -> bool {
    matches!(
        error.downcast_ref(),
        Some(object_store::Error::Unauthenticated { .. })
    )
}

/// Returns whether the store or the operating system denied access.
pub(super) fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let by_store = matches!(
        error.downcast_ref(),
        Some(object_store::Error::PermissionDenied { .. })
    );
    by_store || io_kind(error) == Some(io::ErrorKind::PermissionDenied)
}

/// Returns the innermost I/O error, or else the error itself: what stores wrap around it names their own types, and files that the
/// message names already.
pub(super) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut found = error;
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<io::Error>() {
            found = cause;
        }
        next = cause.source();
    }
    found
}

/// Returns the kind of the innermost I/O error: stores wrap it in errors of their own.
pub(super) fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let inner = error.source().and_then(io_kind);
    inner.or_else(|| error.downcast_ref::<io::Error>().map(io::Error::kind))
}
