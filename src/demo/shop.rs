//! The records of the demo: a web shop's orders, their events, and its customers.
//!
//! They have what backups get wrong: late records, tombstones, null keys, empty values, repeated header names, headers with
//! a null value. Except for their times they are the same in every run.

use jiff::Timestamp;
use kbk_format::{Header, Headers, PartitionNumber, Record};
use serde::Serialize;

use crate::kafka::TopicPartition;

/// The topics with their numbers of partitions.
pub(super) const TOPICS: [(&str, i32); 3] = [("orders", 4), ("order-events", 1), ("customers", 2)];

/// The time between two records.
const STEP_MS: u64 = 1_000;
/// The most that a late record is older.
const LATE_MS: u64 = 90 * 60_000;
const FIRST_ORDER: u64 = 100_000;
const CUSTOMERS: u64 = 2_000;

const CITIES: [&str; 6] = [
    "Lisbon",
    "Tallinn",
    "Zürich",
    "Osaka",
    "Montréal",
    "Nairobi",
];
const NAMES: [&str; 6] = ["Ada", "Grace", "Edsger", "Barbara", "Leslie", "Radia"];
const EVENTS: [&str; 5] = ["paid", "packed", "shipped", "delivered", "returned"];
const TAGS: [&str; 3] = ["gift", "express", "first-order"];
const GOODS: [(&str, u64); 6] = [
    ("Coffee beans, 1 kg", 1_890),
    ("Moka pot for six", 3_450),
    ("Oat milk, box of 12", 2_280),
    ("Hand grinder", 8_900),
    ("Paper filters, 100", 490),
    ("Espresso cups, set of 4", 2_650),
];

/// Returns every partition of [`TOPICS`].
pub(super) fn targets() -> Vec<TopicPartition> {
    let of_topic = |(topic, partitions): (&str, i32)| {
        let topic = topic.to_owned();
        PartitionNumber::first(partitions).map(move |partition| TopicPartition {
            topic: topic.clone(),
            partition,
        })
    };
    TOPICS.into_iter().flat_map(of_topic).collect()
}

/// A record to produce.
pub(super) struct ShopRecord {
    /// Its partition, as an index into [`targets`].
    pub(super) target: usize,
    /// Milliseconds since the epoch.
    pub(super) timestamp: i64,
    pub(super) key: Option<String>,
    /// `None` is a tombstone.
    pub(super) value: Option<String>,
    headers: Vec<(&'static str, Option<String>)>,
}

impl ShopRecord {
    /// Passes the record to `f` in the producer's form, with `number` for the offset that it does not have yet.
    pub(super) fn lend<T>(&self, number: i64, take: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers: Vec<Header<'_>> = self
            .headers
            .iter()
            .map(|(name, value)| Header {
                name: name.as_bytes(),
                value: bytes(value),
            })
            .collect();
        take(&Record {
            offset: number,
            timestamp: self.timestamp,
            control: false,
            key: bytes(&self.key),
            value: bytes(&self.value),
            headers: Headers::Slice(&headers),
        })
    }
}

fn bytes(text: &Option<String>) -> Option<&[u8]> {
    text.as_deref().map(str::as_bytes)
}

/// Returns a working day of the shop: `count` records in order of arrival, the last at `end_ms`.
pub(super) fn day(count: u64, end_ms: i64) -> Vec<ShopRecord> {
    let mut shop = Shop {
        dice: Dice(7),
        orders: 0,
    };
    let ago = |number| (count - 1 - number) * STEP_MS;
    (0..count)
        .map(|number| shop.next(end_ms.saturating_sub_unsigned(ago(number))))
        .collect()
}

struct Shop {
    dice: Dice,
    /// The number of orders that were placed.
    orders: u64,
}

impl Shop {
    fn next(&mut self, now_ms: i64) -> ShopRecord {
        let late_ms = if self.dice.one_in(33) {
            1 + self.dice.below(LATE_MS)
        } else {
            0
        };
        let timestamp = now_ms.saturating_sub_unsigned(late_ms);
        match self.dice.below(10) {
            0..5 => self.order(timestamp),
            5..9 => self.event(timestamp),
            _ => self.customer(timestamp),
        }
    }

    fn order(&mut self, timestamp: i64) -> ShopRecord {
        // An order is erased on request: a tombstone for an earlier one.
        if self.orders > 0 && self.dice.one_in(50) {
            let erased = self.some_order();
            return record(0, erased, timestamp, Some(order_id(erased)), None, vec![]);
        }
        let number = self.orders;
        self.orders += 1;
        let items: Vec<Item> = (0..1 + self.dice.below(3)).map(|_| self.item()).collect();
        let order = Order {
            order: order_id(number),
            customer: customer_id(self.dice.below(CUSTOMERS)),
            placed_at: time(timestamp),
            total_cents: items
                .iter()
                .map(|item| item.quantity * item.price_cents)
                .sum(),
            currency: "EUR",
            ship_to: self.dice.pick(&CITIES),
            items,
        };
        let mut headers = vec![
            ("content-type", Some("application/json".to_owned())),
            self.trace(),
        ];
        // Real clients repeat header names, and send names without a value.
        headers.extend(
            (0..self.dice.below(3)).map(|_| ("tag", Some(self.dice.pick(&TAGS).to_owned()))),
        );
        headers.push((
            "coupon",
            self.dice.one_in(10).then(|| "WELCOME10".to_owned()),
        ));
        record(
            0,
            number,
            timestamp,
            Some(order_id(number)),
            json(&order),
            headers,
        )
    }

    fn item(&mut self) -> Item {
        let (name, price_cents) = self.dice.pick(&GOODS);
        Item {
            name,
            quantity: 1 + self.dice.below(4),
            price_cents,
        }
    }

    fn event(&mut self, timestamp: i64) -> ShopRecord {
        // A heartbeat: no key, and an empty value.
        if self.orders == 0 || self.dice.one_in(40) {
            return record(
                1,
                0,
                timestamp,
                None,
                Some(String::new()),
                vec![("heartbeat", None)],
            );
        }
        let order = order_id(self.some_order());
        let event = Event {
            order: &order,
            event: self.dice.pick(&EVENTS),
            at: time(timestamp),
        };
        let headers = vec![self.trace()];
        record(1, 0, timestamp, Some(order.clone()), json(&event), headers)
    }

    fn customer(&mut self, timestamp: i64) -> ShopRecord {
        let number = self.dice.below(CUSTOMERS);
        let id = customer_id(number);
        let customer = Customer {
            customer: &id,
            name: self.dice.pick(&NAMES),
            city: self.dice.pick(&CITIES),
        };
        // Many accounts are closed, so that the topic has many tombstones.
        let value = if self.dice.one_in(3) {
            None
        } else {
            json(&customer)
        };
        record(2, number, timestamp, Some(id.clone()), value, vec![])
    }

    /// Returns one of the last thousand orders.
    fn some_order(&mut self) -> u64 {
        self.orders - 1 - self.dice.below(self.orders.min(1_000))
    }

    fn trace(&mut self) -> (&'static str, Option<String>) {
        ("trace-id", Some(format!("{:016x}", self.dice.next())))
    }
}

/// Returns a record of topic number `topic`; records with the same `number` are in the same partition.
fn record(
    topic: usize,
    number: u64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(&'static str, Option<String>)>,
) -> ShopRecord {
    let before: i32 = TOPICS[..topic]
        .iter()
        .map(|(_, partitions)| partitions)
        .sum();
    let partition = number % TOPICS[topic].1 as u64;
    ShopRecord {
        target: before as usize + partition as usize,
        timestamp,
        key,
        value,
        headers,
    }
}

#[derive(Serialize)]
struct Order {
    order: String,
    customer: String,
    placed_at: Option<Timestamp>,
    items: Vec<Item>,
    total_cents: u64,
    currency: &'static str,
    ship_to: &'static str,
}

#[derive(Serialize)]
struct Item {
    name: &'static str,
    quantity: u64,
    price_cents: u64,
}

#[derive(Serialize)]
struct Event<'a> {
    order: &'a str,
    event: &'static str,
    at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Customer<'a> {
    customer: &'a str,
    name: &'static str,
    city: &'static str,
}

fn order_id(number: u64) -> String {
    format!("O-{}", FIRST_ORDER + number)
}

fn customer_id(number: u64) -> String {
    format!("C-{number:04}")
}

fn time(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

fn json(value: &impl Serialize) -> Option<String> {
    Some(serde_json::to_string(value).expect("a struct of texts and numbers is JSON"))
}

/// SplitMix64: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_gets_records_and_every_hard_case_is_there() {
        let (targets, records) = (targets(), day(2_000, 1_700_000_000_000));
        for (number, target) in targets.iter().enumerate() {
            let in_target = |record: &ShopRecord| record.target == number;
            assert!(records.iter().any(in_target), "{target:?}");
        }
        let has = |hard: fn(&ShopRecord) -> bool| records.iter().any(hard);
        assert!(has(|record| record.key.is_none()));
        assert!(has(|record| record.value.is_none()));
        assert!(has(|record| record.value.as_deref() == Some("")));
        assert!(has(|record| record
            .headers
            .iter()
            .any(|(_, value)| value.is_none())));
        assert!(has(|record| record
            .headers
            .iter()
            .filter(|(name, _)| *name == "tag")
            .count()
            > 1));
        assert!(
            !records.is_sorted_by_key(|record| record.timestamp),
            "none is late"
        );
        assert!(
            records
                .iter()
                .all(|record| record.timestamp <= 1_700_000_000_000)
        );
    }
}
