//! Direct calls of librdkafka where rdkafka's wrappers lose information: they require header names to be UTF-8
//! without NUL, and drop the timestamp type of a record without a timestamp.

#![expect(unsafe_code, reason = "calls into librdkafka")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys::{self as sys, rd_kafka_vtype_t as Vtype};

use super::record::{Header, Message, TimestampType};

/// Copies a message to the producer's queue.
///
/// librdkafka treats a timestamp of 0 as "now"; it keeps every other one, including -1 (none).
pub(crate) fn produce<C: ProducerContext>(
    producer: &impl Producer<C>,
    topic: &str,
    partition: i32,
    message: &Message,
) -> Result<(), RDKafkaErrorCode> {
    assert_ne!(message.timestamp, 0, "librdkafka restamps time 0 as now");
    let topic = CString::new(topic).expect("a topic's name has no NUL");
    let headers = new_headers(&message.headers);
    let arguments = [
        argument(Vtype::RD_KAFKA_VTYPE_TOPIC, |u| u.cstr = topic.as_ptr()),
        argument(Vtype::RD_KAFKA_VTYPE_PARTITION, |u| u.i32_ = partition),
        argument(Vtype::RD_KAFKA_VTYPE_MSGFLAGS, |u| {
            u.i = sys::RD_KAFKA_MSG_F_COPY;
        }),
        argument(Vtype::RD_KAFKA_VTYPE_TIMESTAMP, |u| {
            u.i64_ = message.timestamp;
        }),
        argument(Vtype::RD_KAFKA_VTYPE_KEY, |u| {
            u.mem = memory(message.key.as_deref());
        }),
        argument(Vtype::RD_KAFKA_VTYPE_VALUE, |u| {
            u.mem = memory(message.value.as_deref());
        }),
        argument(Vtype::RD_KAFKA_VTYPE_HEADERS, |u| u.headers = headers),
    ];
    // SAFETY: the client lives as long as `producer`, the arguments point at memory that outlives
    // the call, and MSG_F_COPY makes librdkafka copy key and value.
    let error = unsafe {
        sys::rd_kafka_produceva(
            producer.client().native_ptr(),
            arguments.as_ptr(),
            arguments.len(),
        )
    };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller owns `error`, and the headers of a message that was rejected.
    unsafe {
        let code = sys::rd_kafka_error_code(error);
        sys::rd_kafka_error_destroy(error);
        if !headers.is_null() {
            sys::rd_kafka_headers_destroy(headers);
        }
        Err(code.into())
    }
}

fn argument(
    vtype: Vtype,
    set: impl FnOnce(&mut sys::rd_kafka_vu_s__bindgen_ty_1),
) -> sys::rd_kafka_vu_t {
    let mut u = sys::rd_kafka_vu_s__bindgen_ty_1 { _pad: [0; 64] };
    set(&mut u);
    sys::rd_kafka_vu_t { vtype, u }
}

/// Encodes null as a null pointer, and empty as any other pointer with length 0.
fn memory(bytes: Option<&[u8]>) -> sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    let (ptr, size) = pointer(bytes);
    sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: ptr.cast_mut(),
        size,
    }
}

fn pointer(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| {
        (bytes.as_ptr().cast(), bytes.len())
    })
}

/// Creates librdkafka's list of headers; null if there are none.
fn new_headers(headers: &[Header]) -> *mut sys::rd_kafka_headers_t {
    if headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: a plain constructor.
    let list = unsafe { sys::rd_kafka_headers_new(headers.len()) };
    for (name, value) in headers {
        let (value, value_len) = pointer(value.as_deref());
        // SAFETY: `list` is alive, and librdkafka copies name and value.
        let code = unsafe {
            sys::rd_kafka_header_add(
                list,
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value,
                value_len.cast_signed(),
            )
        };
        assert_eq!(code, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    list
}

/// Returns the headers of a consumed message. librdkafka terminates names with a NUL and does not
/// expose their length, so a name that contains a NUL is cut there.
pub(crate) fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive; `list` belongs to it.
    let code = unsafe { sys::rd_kafka_message_headers(message.ptr(), &raw mut list) };
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT => return Vec::new(),
        other => panic!("cannot read the headers: {other:?}"),
    }
    (0..).map_while(|index| header(list, index)).collect()
}

fn header(list: *const sys::rd_kafka_headers_t, index: usize) -> Option<Header> {
    let mut name: *const c_char = ptr::null();
    let mut value: *const c_void = ptr::null();
    let mut value_len = 0;
    // SAFETY: `list` belongs to a message that the caller holds; the returned pointers point into it.
    unsafe {
        let code = sys::rd_kafka_header_get_all(
            list,
            index,
            &raw mut name,
            &raw mut value,
            &raw mut value_len,
        );
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let value = (!value.is_null())
            .then(|| std::slice::from_raw_parts(value.cast::<u8>(), value_len).to_vec());
        Some((CStr::from_ptr(name).to_bytes().to_vec(), value))
    }
}

/// Returns the timestamp of a consumed message and its type.
pub(crate) fn timestamp(message: &BorrowedMessage<'_>) -> (i64, TimestampType) {
    use sys::rd_kafka_timestamp_type_t as Type;
    let mut kind = Type::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive.
    let timestamp = unsafe { sys::rd_kafka_message_timestamp(message.ptr(), &raw mut kind) };
    let kind = match kind {
        Type::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => panic!("only records of Kafka before 0.10"),
        Type::RD_KAFKA_TIMESTAMP_CREATE_TIME => TimestampType::CreateTime,
        Type::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => TimestampType::LogAppendTime,
    };
    (timestamp, kind)
}
