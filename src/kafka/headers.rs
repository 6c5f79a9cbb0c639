//! Record headers across the C boundary: names are arbitrary bytes, may repeat, and keep their order.

#![expect(
    unsafe_code,
    reason = "headers are reached through librdkafka's C functions"
)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::LazyLock;

use kbk_format::record::{Header, Headers};
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Resp;

use super::error::Code;

/// A list that a consumer thread reuses for the headers of each record.
pub(super) struct HeaderScratch(Vec<Header<'static>>);

impl HeaderScratch {
    pub(super) fn new() -> HeaderScratch {
        HeaderScratch(Vec::new())
    }

    /// Lists the headers of `message`, borrowed from librdkafka's copy; allocates only while the list grows.
    ///
    /// # Safety
    /// `message` is a live consumed message, which is not destroyed while the result is in use.
    #[inline]
    pub(super) unsafe fn read<'m>(
        &'m mut self,
        message: NonNull<sys::rd_kafka_message_t>,
    ) -> Result<&'m [Header<'m>], Code> {
        self.0.clear();
        let mut list = ptr::null_mut();
        // SAFETY: the message is live.
        match unsafe { sys::rd_kafka_message_headers(message.as_ptr(), &mut list) } {
            // SAFETY: the list belongs to the message. The 'static does not escape: the returned slice is shortened to 'm,
            // and the next read clears the list first.
            Resp::RD_KAFKA_RESP_ERR_NO_ERROR => unsafe { collect(list, &mut self.0) },
            Resp::RD_KAFKA_RESP_ERR__NOENT => {}
            // Headers that librdkafka cannot parse must not pass for a record without headers.
            failure => return Err(Code(failure as i32)),
        }
        Ok(&self.0)
    }
}

/// Appends all headers of `list`.
///
/// # Safety
/// `list` outlives every use of the appended headers.
unsafe fn collect(list: *const sys::rd_kafka_headers_t, into: &mut Vec<Header<'static>>) {
    let name_length = *NAME_LENGTH;
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    for index in 0.. {
        // SAFETY: the list is live, the out parameters are valid, and an index past the end returns NOENT.
        let found =
            unsafe { sys::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size) };
        if found != Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
            break;
        }
        // SAFETY: the name belongs to a header that librdkafka built; `size` is the length of a value that is not null.
        into.push(unsafe {
            Header {
                name: slice::from_raw_parts(name.cast(), name_length(name)),
                value: (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), size)),
            }
        });
    }
}

/// Determines the length of a header name.
type NameLength = unsafe fn(*const c_char) -> usize;

/// How to determine a name's length with this librdkafka, decided once.
///
/// The public API returns a name without its length and terminates it with a NUL, so a name that contains a NUL (legal on the wire,
/// and seen in practice) would be truncated. librdkafka stores the length in front of the name. It is read from there if a test
/// list reads back exactly; otherwise names end at the first NUL.
static NAME_LENGTH: LazyLock<NameLength> = LazyLock::new(|| {
    if stored_length_is_where_expected() {
        stored_length
    } else {
        tracing::warn!(
            "unknown header layout in librdkafka: header names are truncated at their first NUL byte"
        );
        length_to_nul
    }
});

/// Bytes between the stored name length and the name (`rd_kafka_header_t` in librdkafka's `rdkafka_header.h`:
/// `size_t rkhdr_name_size; char *rkhdr_value; char rkhdr_name[1]`).
const NAME_SIZE_BEFORE_NAME: usize = size_of::<usize>() + size_of::<*const c_char>();

/// Reads the length that librdkafka stores in front of the name.
///
/// # Safety
/// `name` came from `rd_kafka_header_get_all`, so it is preceded by the other fields of its header.
unsafe fn stored_length(name: *const c_char) -> usize {
    // SAFETY: three words of the same allocation precede the name, so this one is inside it. The word is aligned in practice;
    // the read does not depend on that.
    unsafe {
        name.byte_sub(NAME_SIZE_BEFORE_NAME)
            .cast::<usize>()
            .read_unaligned()
    }
}

/// Counts bytes up to the first NUL.
///
/// # Safety
/// `name` is NUL-terminated.
unsafe fn length_to_nul(name: *const c_char) -> usize {
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(name) }.count_bytes()
}

/// Builds headers with NULs in their names, and with null, empty and other values, and checks the name lengths read back.
fn stored_length_is_where_expected() -> bool {
    let expected: [(&[u8], Option<&[u8]>); 4] = [
        (b"plain", Some(b"value")),
        (b"a\0b", None),
        (b"", Some(b"")),
        (b"\0\0", Some(b"\0x")),
    ];
    let headers = expected.map(|(name, value)| Header { name, value });
    let list = HeaderList::new(Headers::Slice(&headers));
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    headers.iter().enumerate().all(|(index, header)| {
        // SAFETY: the list is live and has `index` + 1 headers. The word is inside the header's allocation in every version of
        // librdkafka so far (the struct begins with at least three words).
        unsafe {
            sys::rd_kafka_header_get_all(list.0.as_ptr(), index, &mut name, &mut value, &mut size);
            stored_length(name) == header.name.len()
        }
    })
}

/// Headers as a librdkafka list, to attach to a produced message.
pub(super) struct HeaderList(NonNull<sys::rd_kafka_headers_t>);

impl HeaderList {
    pub(super) fn new(headers: Headers<'_>) -> HeaderList {
        // SAFETY: a plain constructor; it aborts the process when out of memory.
        let list = unsafe { sys::rd_kafka_headers_new(Headers::count(&headers)) };
        let list = HeaderList(NonNull::new(list).expect("rd_kafka_headers_new never returns null"));
        for Header { name, value } in headers {
            let (value, size) =
                value.map_or((ptr::null(), 0), |v| (v.as_ptr().cast::<c_void>(), v.len()));
            // SAFETY: pointers and sizes describe live slices, which librdkafka copies. The pointer of an empty slice is not
            // null, so empty and null stay distinct. The call fails for read-only lists only, which this is not.
            unsafe {
                sys::rd_kafka_header_add(
                    list.0.as_ptr(),
                    name.as_ptr().cast(),
                    name.len().cast_signed(),
                    value,
                    size.cast_signed(),
                );
            }
        }
        list
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_headers_t {
        self.0.as_ptr()
    }

    /// Gives up the list to librdkafka, which owns it once the message is enqueued.
    pub(super) fn release(self) {
        std::mem::forget(self);
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        // SAFETY: the list is ours until `release`.
        unsafe { sys::rd_kafka_headers_destroy(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_nul_bytes_are_read_whole() {
        assert!(stored_length_is_where_expected());
    }

    #[test]
    fn a_list_keeps_order_repetition_null_and_empty() {
        let headers = [
            Header {
                name: b"a",
                value: Some(b"1"),
            },
            Header {
                name: b"a",
                value: None,
            },
            Header {
                name: b"\xff\0\xfe",
                value: Some(b""),
            },
            Header {
                name: b"",
                value: Some(b"\0"),
            },
        ];
        let list = HeaderList::new(Headers::Slice(&headers));
        let mut read = Vec::new();
        // SAFETY: the list outlives the headers read from it.
        unsafe { collect(list.as_ptr(), &mut read) };
        assert_eq!(read, headers);
    }
}
