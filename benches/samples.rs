//! Sample records, identical in every run, with three payloads that are typical of Kafka topics.

#[path = "../tests/support/split_mix.rs"]
mod split_mix;

use kbk_format::{FileHeader, Header, Headers, IsolationLevel, Record, TimestampType};

use split_mix::SplitMix64;

/// A record that owns its bytes. It gets its offset when it is written.
pub(crate) struct Row {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
}

/// The kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Shop orders as JSON of about 1 KB, with keys and two headers.
    Json,
    /// Commit events as JSON: prose, paths and hashes.
    Commits,
    /// Binary measurements of 50 bytes.
    Telemetry,
}

/// Returns `count` records of one kind.
pub(crate) fn rows(payload: Payload, count: usize) -> Vec<Row> {
    endless_rows(payload).take(count).collect()
}

/// Returns the records of [`rows`] one by one, as many as are taken.
pub(crate) fn endless_rows(payload: Payload) -> impl Iterator<Item = Row> {
    let mut random = Random::new(0x6b62_6b00 + payload as u64);
    let make = match payload {
        Payload::Json => order,
        Payload::Commits => commit,
        Payload::Telemetry => measurement,
    };
    (0..).map(move |i| make(i, &mut random))
}

/// The file header of the segments measured.
pub(crate) fn header() -> FileHeader {
    FileHeader {
        segment_id: [7; 16],
        topic_id: [0; 16],
        topic: "measured".to_owned(),
        partition: 0.into(),
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset: 0,
        cluster_id: None,
        writer: None,
        created_at: None,
        compression: None,
    }
}

impl Row {
    /// Returns the size of key, value and headers in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        (self.key.as_ref().map_or(0, Vec::len) + self.value.len() + headers) as u64
    }

    /// Passes the row to `take` as the record at `offset`.
    pub(crate) fn with<T>(&self, offset: i64, take: impl FnOnce(&Record<'_>) -> T) -> T {
        let mut headers = [Header {
            name: b"",
            value: None,
        }; 2];
        for (slot, (name, value)) in headers.iter_mut().zip(&self.headers) {
            *slot = Header {
                name: name.as_bytes(),
                value: Some(value),
            };
        }
        take(&Record {
            offset,
            timestamp: self.timestamp,
            control: false,
            key: self.key.as_deref(),
            value: Some(&self.value),
            headers: Headers::Slice(&headers[..self.headers.len()]),
        })
    }
}

struct Random(SplitMix64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(SplitMix64(seed))
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0.next() % n
    }

    /// Returns a number below `n`, skewed towards small ones, as popular names and products are.
    fn often_low(&mut self, n: u64) -> u64 {
        let unit = self.0.next() as f64 / u64::MAX as f64;
        ((n as f64 * unit.powi(3)) as u64).min(n - 1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn words(&mut self, count: u64) -> String {
        let words: Vec<_> = (0..count)
            .map(|_| WORDS[self.often_low(WORDS.len() as u64) as usize])
            .collect();
        words.join(" ")
    }
}

const START_MS: i64 = 1_763_800_000_000;
const CITIES: &[&str] = &[
    "Berlin", "Lyon", "Porto", "Graz", "Gdańsk", "Malmö", "Ghent", "Turin", "Zürich", "Cork",
    "Bilbao", "Brno",
];
const NAMES: &[&str] = &[
    "Mara", "Jonas", "Aylin", "Noah", "Ines", "Pavel", "Chiara", "Liam", "Sofie", "Emil", "Zoé",
    "Tomasz",
];
const WORDS: &[&str] = &[
    "cable", "steel", "lamp", "blue", "desk", "chair", "wool", "soft", "green", "paper", "set",
    "glass", "oak", "large", "travel", "mug", "light", "kit", "frame", "cotton", "black", "box",
    "small", "clock", "linen", "tray", "round", "parser", "index", "fix", "add", "remove", "test",
    "for", "the", "when", "buffer", "is", "empty", "retry", "of", "offset", "handle", "missing",
    "error", "in", "reader", "update", "cache", "and", "docs", "rename", "to",
];

/// Customers, products and authors keep their attributes across records, and a few of them are frequent.
fn order(i: u64, random: &mut Random) -> Row {
    let customer = random.often_low(20_000);
    let items: Vec<String> = (0..3 + random.below(5)).map(|_| item(random)).collect();
    let value = format!(
        concat!(
            r#"{{"orderId":"{:012x}","sequence":{},"customer":{},"currency":"EUR","#,
            r#""status":"{}","items":[{}],"payment":{{"method":"{}","captured":{}}}}}"#
        ),
        random.below(1 << 48),
        i,
        profile(customer),
        random.pick(&["created", "paid", "packed", "shipped", "returned"]),
        items.join(","),
        random.pick(&["card", "invoice", "transfer"]),
        random.pick(&["true", "false"]),
    );
    let late = if random.below(50) == 0 {
        random.below(60_000)
    } else {
        random.below(20)
    };
    Row {
        timestamp: START_MS + 7 * i as i64 - late as i64,
        key: Some(format!("customer-{customer}").into_bytes()),
        value: value.into_bytes(),
        headers: vec![
            ("content-type", b"application/json".to_vec()),
            (
                "source",
                random.pick(&["web", "app", "shop"]).as_bytes().to_vec(),
            ),
        ],
    }
}

fn profile(customer: u64) -> String {
    let mut random = Random::new(customer);
    let name = random.pick(NAMES);
    format!(
        concat!(
            r#"{{"id":{},"name":"{} {}","email":"{}.{}@example.org","segment":"{}","#,
            r#""address":{{"street":"{} {}","city":"{}","zip":"{:05}","country":"DE"}}}}"#
        ),
        customer,
        name,
        random.pick(NAMES),
        name.to_lowercase(),
        customer,
        random.pick(&["retail", "business", "partner"]),
        random.words(1),
        random.below(200),
        random.pick(CITIES),
        random.below(100_000),
    )
}

fn item(random: &mut Random) -> String {
    let sku = random.often_low(5_000);
    let mut product = Random::new(sku);
    format!(
        r#"{{"sku":"SKU-{sku:06}","title":"{}","quantity":{},"unitPrice":{}.{:02},"taxRate":{},"warehouse":"{}"}}"#,
        product.words(4),
        1 + random.often_low(5),
        product.below(400),
        product.below(100),
        product.pick(&["0.07", "0.19"]),
        product.pick(CITIES),
    )
}

fn commit(i: u64, random: &mut Random) -> Row {
    let repository = random.often_low(300);
    let files: Vec<String> = (0..1 + random.often_low(8))
        .map(|_| path(1_000 * repository + random.often_low(200)))
        .collect();
    let mut fixed = Random::new(repository);
    let (owner, name) = (fixed.pick(NAMES).to_lowercase(), fixed.pick(WORDS));
    let author = random.often_low(NAMES.len() as u64) as usize;
    let author = NAMES[author];
    let value = format!(
        concat!(
            r#"{{"sha":"{:016x}{:016x}{:08x}","repo":"{}/{}","ref":"refs/heads/main","#,
            r#""author":{{"name":"{}","email":"{}@example.org"}},"message":"{}","files":[{}]}}"#
        ),
        random.0.next(),
        random.0.next(),
        random.below(1 << 32),
        owner,
        name,
        author,
        author.to_lowercase(),
        random.words(6),
        files.join(","),
    );
    Row {
        timestamp: START_MS + 900 * i as i64 + random.below(900) as i64,
        key: Some(format!("{owner}/{name}").into_bytes()),
        value: value.into_bytes(),
        headers: Vec::new(),
    }
}

fn path(file: u64) -> String {
    let mut random = Random::new(file);
    format!(
        r#"{{"path":"src/{}/{}_{}.rs","status":"modified"}}"#,
        random.pick(WORDS),
        random.pick(WORDS),
        random.pick(WORDS)
    )
}

fn measurement(i: u64, random: &mut Random) -> Row {
    let device = random.below(2_000);
    let mut value = Vec::with_capacity(50);
    value.extend_from_slice(&1u16.to_le_bytes());
    value.extend_from_slice(&(device as u32).to_le_bytes());
    value.extend_from_slice(&(START_MS + 2 * i as i64).to_le_bytes());
    for sensor in 0..4 {
        let reading = (20 + sensor * 5) as f64 + random.below(400) as f64 / 100.0;
        value.extend_from_slice(&(reading as f32).to_le_bytes());
    }
    value.extend_from_slice(&(4_800_000 + random.below(2_000) as i32).to_le_bytes());
    value.extend_from_slice(&(1_100_000 + random.below(2_000) as i32).to_le_bytes());
    value.extend_from_slice(&(3_700 + random.below(200) as u16).to_le_bytes());
    value.push(random.below(100) as u8);
    value.resize(50, 0);
    Row {
        timestamp: START_MS + 2 * i as i64,
        key: Some((device as u32).to_be_bytes().to_vec()),
        value,
        headers: Vec::new(),
    }
}
