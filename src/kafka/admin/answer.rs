//! Arrays in answers of the admin interface, borrowed as slices.

#![expect(unsafe_code, reason = "reads librdkafka's answers in place")]

use std::ffi::c_int;
use std::slice;

use crate::kafka::client::length;

/// Borrows an array of pointers.
///
/// # Safety
/// `array` has `count` pointers to live objects, or `count` is 0.
pub(super) unsafe fn items<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    // SAFETY: by contract.
    if count == 0 {
        &[]
    } else {
        unsafe { slice::from_raw_parts(array, count) }
    }
}

/// Borrows an array of values.
///
/// # Safety
/// `array` has `count` live values, or `count` is 0.
pub(super) unsafe fn structs<'a, T>(array: *const T, count: c_int) -> &'a [T] {
    match length(count, "elements of an answer") {
        // The pointer of an empty array may be null.
        0 => &[],
        // SAFETY: by contract.
        count => unsafe { slice::from_raw_parts(array, count) },
    }
}
