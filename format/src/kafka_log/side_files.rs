//! The small text files, in both directions.

use data_encoding::BASE64URL_NOPAD;

use crate::PartitionNumber;

/// Encodes `partition.metadata`.
#[must_use]
pub fn encode_metadata(topic_id: [u8; 16]) -> String {
    let id = BASE64URL_NOPAD.encode(&topic_id);
    format!("version: 0\ntopic_id: {id}")
}

/// Reads the topic's id from `partition.metadata`; `None` where there is none.
#[must_use]
pub fn read_topic_id(text: &str) -> Option<[u8; 16]> {
    let mut lines = text.lines();
    let id = lines.find_map(|line| line.strip_prefix("topic_id:"))?;
    let id = BASE64URL_NOPAD.decode(id.trim().as_bytes()).ok()?;
    let id: [u8; 16] = id.try_into().ok()?;
    // Kafka's id for "none".
    (id != [0; 16]).then_some(id)
}

/// Encodes `leader-epoch-checkpoint`: each epoch with its first offset.
#[must_use]
pub fn encode_epochs(epochs: &[(i32, i64)]) -> String {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, offset) in epochs {
        text.push_str(&format!("{epoch} {offset}\n"));
    }
    text
}

/// Reads `leader-epoch-checkpoint`; `None` where it is not one.
#[must_use]
pub fn read_epochs(text: &str) -> Option<Vec<(i32, i64)>> {
    let entry = |line: &str| {
        let (epoch, offset) = line.split_once(' ')?;
        Some((epoch.parse().ok()?, offset.parse().ok()?))
    };
    entries(text)?.map(entry).collect()
}

/// Reads `log-start-offset-checkpoint`; `None` where it is not one. A topic's name holds no space.
#[must_use]
pub fn read_start_offsets(text: &str) -> Option<Vec<(String, PartitionNumber, i64)>> {
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let topic = words.next()?.to_owned();
        let partition = PartitionNumber::new(words.next()?.parse().ok()?)?;
        let offset = words.next()?.parse().ok()?;
        words.next().is_none().then_some((topic, partition, offset))
    };
    entries(text)?.map(entry).collect()
}

/// Returns the lines of a checkpoint of version 0, which states their number.
fn entries(text: &str) -> Option<impl Iterator<Item = &str>> {
    let mut lines = text.lines();
    let version = lines.next()?;
    let count: usize = lines.next()?.parse().ok()?;
    let whole = version == "0" && lines.clone().count() == count;
    whole.then_some(lines)
}
