//! The topics that are read: what is in them, how their producer compressed it, and how many partitions they have.

use std::fmt;

use crate::samples::Payload;

/// A topic that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its records.
    pub(crate) payload: Payload,
    /// The `compression.codec` of its producer.
    pub(crate) codec: &'static str,
    /// The number of its partitions.
    pub(crate) partitions: i32,
}

/// Shop orders as JSON of 1 KB, with a key and two headers.
pub(crate) const fn orders(codec: &'static str, partitions: i32) -> Source {
    Source {
        payload: Payload::Json,
        codec,
        partitions,
    }
}

/// Binary measurements of 50 bytes, which compress to two thirds: each costs what a record costs, and little besides.
pub(crate) const fn telemetry(codec: &'static str, partitions: i32) -> Source {
    Source {
        payload: Payload::Telemetry,
        codec,
        partitions,
    }
}

/// The names of payloads, for tables and for the arguments of contenders.
const PAYLOADS: [(&str, Payload); 2] =
    [("orders", Payload::Json), ("telemetry", Payload::Telemetry)];

/// Returns the name of a payload.
pub(crate) fn payload_name(payload: Payload) -> &'static str {
    let named = PAYLOADS.iter().find(|(_, known)| *known == payload);
    named.expect("the bench names every payload that it uses").0
}

/// Returns the payload of this name.
pub(crate) fn payload(name: &str) -> Payload {
    let named = PAYLOADS.iter().find(|(known, _)| *known == name);
    named.expect("a contender is started with a payload").1
}

impl Source {
    /// Returns how many bytes of keys, headers and values it has where topics of 1 KB records have `bytes`. A fifth of that is enough of
    /// small records: it is still four times as many of them.
    pub(crate) fn bytes(self, bytes: u64) -> u64 {
        match self.payload {
            Payload::Telemetry => bytes / 5,
            Payload::Json | Payload::Commits => bytes,
        }
    }

    /// Returns whether its producer compressed it.
    pub(crate) fn is_compressed(self) -> bool {
        self.codec != "none"
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source {
            payload,
            codec,
            partitions,
        } = *self;
        let partitions = match partitions {
            1 => "1 partition".to_owned(),
            count => format!("{count} partitions"),
        };
        write!(f, "{}, {codec}, {partitions}", payload_name(payload))
    }
}
