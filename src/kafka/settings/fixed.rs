//! Properties that kbk decides about: those that it sets itself, those that would break its guarantees, and the names that librdkafka has twice.

use super::error::{Origin, SettingsError};

/// Properties that kbk sets and that cannot be changed: name, value, reason.
pub(super) const FIXED: [(&str, &str, &str); 10] = [
    (
        "enable.auto.commit",
        "false",
        "kbk keeps its own positions and commits none",
    ),
    (
        "enable.auto.offset.store",
        "false",
        "kbk keeps its own positions and commits none",
    ),
    (
        "auto.offset.reset",
        "error",
        "a gap left by lost records must be detected",
    ),
    (
        "isolation.level",
        "read_committed",
        "records of aborted transactions must not be backed up",
    ),
    (
        "enable.partition.eof",
        "true",
        "kbk detects the end of a partition by it",
    ),
    (
        "check.crcs",
        "true",
        "corruption in transit must be detected",
    ),
    (
        "enable.idempotence",
        "true",
        "retries would duplicate or reorder records",
    ),
    (
        "acks",
        "all",
        "a record counts as restored when all replicas have it",
    ),
    (
        "allow.auto.create.topics",
        "false",
        "describing a topic must not create it",
    ),
    (
        "enable.metrics.push",
        "false",
        "kbk sends no metrics to the cluster",
    ),
];

/// Pairs of names that librdkafka has for one property. Values are kept under the second, so that `-X` wins under either name.
const ALIASES: [(&str, &str); 11] = [
    ("metadata.broker.list", "bootstrap.servers"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("request.required.acks", "acks"),
    ("compression.codec", "compression.type"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("message.send.max.retries", "retries"),
    (
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
    ),
    (
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
    ),
];

/// Properties that would change what kind of client it is.
const UNUSABLE: [(&str, &str); 3] = [
    ("transactional.id", "kbk chooses its transactional ids"),
    ("test.mock.num.brokers", "`kbk demo` runs its own cluster"),
    ("plugin.library.paths", "kbk loads no plugins"),
];

/// Returns the name under which a property is kept.
pub(super) fn canonical(key: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == key)
        .map_or(key, |(_, name)| name)
}

/// Rejects an option that would break kbk's guarantees.
pub(super) fn check_override(key: &str, value: &str) -> Result<(), SettingsError> {
    let key = canonical(key);
    let fixed = FIXED
        .iter()
        .find(|(name, required, _)| *name == key && !is_equivalent(value, required))
        .map(|(_, _, why)| *why);
    let unusable = UNUSABLE
        .iter()
        .find(|(name, _)| *name == key)
        .map(|(_, why)| *why);
    match fixed.or(unusable) {
        Some(why) => Err(SettingsError::Refused {
            origin: Origin::Option,
            key: key.to_owned(),
            why,
        }),
        None => Ok(()),
    }
}

/// Whether librdkafka treats `value` the same as `required`.
fn is_equivalent(value: &str, required: &str) -> bool {
    let value = value.trim().to_lowercase();
    value == required
        || matches!(
            (value.as_str(), required),
            ("-1", "all") | ("1" | "t", "true") | ("0" | "f", "false")
        )
}
