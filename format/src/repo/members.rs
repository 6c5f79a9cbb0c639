//! JSON objects whose members are data, such as a topic's configuration: each name once (SPEC section 11.2).
//!
//! By default, serde keeps the last of several members of one name. Two readers could then see two
//! configurations in the same bytes, so such an object is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Reads an object whose members have distinct names.
pub(super) fn unique<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    deserializer.deserialize_map(UniqueNames(PhantomData))
}

/// Reads such an object, or null.
pub(super) fn unique_or_null<'de, D, V>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, V>>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    let members = Option::<Members<V>>::deserialize(deserializer)?;
    Ok(members.map(|Members(members)| members))
}

struct Members<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unique(deserializer).map(Members)
    }
}

struct UniqueNames<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueNames<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut found: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = found.next_entry::<String, V>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate member `{name}`")));
            }
            members.insert(name, value);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Topic {
        #[serde(default, deserialize_with = "unique_or_null")]
        config: Option<BTreeMap<String, String>>,
    }

    #[test]
    fn a_repeated_name_is_refused_and_a_missing_object_is_null() {
        let read = |json: &str| serde_json::from_str::<Topic>(json).map(|topic| topic.config);
        let two = read(r#"{"config":{"a":"1","b":"2"}}"#).unwrap();
        assert_eq!(two.unwrap().len(), 2);
        assert_eq!(read("{}").unwrap(), None);
        assert_eq!(read(r#"{"config":null}"#).unwrap(), None);
        assert!(read(r#"{"config":{"a":"1","a":"1"}}"#).is_err());
    }
}
