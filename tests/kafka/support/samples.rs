//! Records to produce: hostile ones written by hand, bulk ones generated from a seed.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;

use super::record::{Header, Message};

const HOUR_MS: i64 = 3_600_000;

/// Returns the current time in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since_1970.as_millis()).expect("before the year 292 million")
}

/// Returns a record with only a value.
pub(crate) fn plain(timestamp: i64, value: &str) -> Message {
    Message {
        timestamp,
        value: Some(value.into()),
        ..Message::default()
    }
}

/// Returns every unusual record that a producer can send and a broker keeps, for one partition.
///
/// The topic must be created with [`ANY_TIME`](super::topics::ANY_TIME).
pub(crate) fn hostile() -> Vec<Message> {
    let now = now_ms();
    let mut messages = strange_fields(now);
    messages.extend(strange_headers().into_iter().map(|headers| Message {
        headers,
        ..plain(now, "with headers")
    }));
    let times = [
        now,
        now - HOUR_MS,
        1,
        -1,
        now + HOUR_MS,
        4_102_444_800_000,
        now,
    ];
    messages.extend(times.map(|time| plain(time, "at any time")));
    messages
}

/// Null, empty, text, bytes and large, as key and value.
fn strange_fields(timestamp: i64) -> Vec<Message> {
    let fields: [Option<Vec<u8>>; 5] = [
        None,
        Some(Vec::new()),
        Some(b"text".to_vec()),
        Some(vec![0xff, 0x00, 0xfe, b'\n', 0x80]),
        Some(Random::new(1).bytes(400_000)),
    ];
    let pairs = fields
        .iter()
        .flat_map(|key| fields.iter().map(move |value| (key, value)));
    pairs
        .map(|(key, value)| Message {
            timestamp,
            key: key.clone(),
            value: value.clone(),
            headers: Vec::new(),
        })
        .collect()
}

/// Null, empty, repeated, not UTF-8, many and long.
fn strange_headers() -> Vec<Vec<Header>> {
    let header = |name: &[u8], value: Option<&[u8]>| (name.to_vec(), value.map(<[u8]>::to_vec));
    let many = (0..300).map(|n| header(format!("header-{n}").as_bytes(), Some(&[b'x'; 7])));
    vec![
        vec![header(b"null", None)],
        vec![header(b"empty", Some(b""))],
        vec![header(b"", Some(b"the name is empty"))],
        vec![
            header(b"again", Some(b"1")),
            header(b"other", None),
            header(b"again", Some(b"1")),
            header(b"again", None),
        ],
        vec![header(b"\xff\xfe not UTF-8 \x80", Some(b"\x00\xff\x00"))],
        vec![header(
            "größe-長さ".as_bytes(),
            Some("größe-長さ".as_bytes()),
        )],
        many.collect(),
        vec![header(&[b'n'; 40_000], Some(&[b'v'; 40_000]))],
    ]
}

/// Returns an endless stream of records of all kinds. Equal seeds give equal records, except for their
/// timestamps, which are out of order within the last 24 hours.
pub(crate) fn mixed(seed: u64) -> impl Iterator<Item = Message> {
    let mut random = Random::new(seed);
    let now = now_ms();
    std::iter::repeat_with(move || Message {
        timestamp: now - random.below(24 * HOUR_MS.unsigned_abs()).cast_signed(),
        key: mixed_key(&mut random),
        value: mixed_value(&mut random),
        headers: (0..random.below(16).saturating_sub(12))
            .map(|_| mixed_header(&mut random))
            .collect(),
    })
}

/// Returns an endless stream of nearly identical records of one length, which compress a hundredfold.
pub(crate) fn repetitive(record_bytes: usize) -> impl Iterator<Item = Message> {
    let now = now_ms();
    (0..).map(move |number| plain(now, &format!("{number:0record_bytes$}")))
}

/// Returns an endless stream of JSON documents of about 1 KB, which compress to about half.
pub(crate) fn documents(seed: u64) -> impl Iterator<Item = Message> {
    let mut random = Random::new(seed);
    let now = now_ms();
    (0..).map(move |number| {
        let noise = HEXLOWER.encode(&random.bytes(450));
        let value = format!(r#"{{"order":{number},"state":"shipped","notes":"{noise}"}}"#);
        Message {
            key: Some(format!("order-{number}").into_bytes()),
            ..plain(now + number / 100, &value)
        }
    })
}

fn mixed_key(random: &mut Random) -> Option<Vec<u8>> {
    match random.below(16) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(random.bytes(8)),
        _ => Some(format!("customer-{}", random.below(10_000)).into_bytes()),
    }
}

fn mixed_value(random: &mut Random) -> Option<Vec<u8>> {
    match random.below(32) {
        0 => None,
        1 => Some(Vec::new()),
        2 => {
            let len = random.below(2_000);
            Some(random.bytes(len))
        }
        _ => {
            let (order, total) = (random.below(1 << 32), random.below(100_000));
            let text = format!(r#"{{"order":{order},"total":{total},"state":"shipped"}}"#);
            Some(text.into_bytes())
        }
    }
}

fn mixed_header(random: &mut Random) -> Header {
    let name = [&b"trace"[..], b"source", b"", b"\xff\x80"][random.below(4) as usize];
    let value = match random.below(4) {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(random.bytes(16)),
    };
    (name.to_vec(), value)
}

/// A small pseudo-random number generator (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    /// Creates a generator; equal seeds give equal numbers.
    pub(crate) fn new(seed: u64) -> Self {
        // The state must not be 0, and similar seeds must not give similar numbers.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below the limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// Returns random bytes.
    pub(crate) fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.next().to_be_bytes()[0]).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
