//! Answers of a cluster about many partitions or groups, each under the key that was asked about.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Display;

use super::error::KafkaError;

/// One answer per key that was asked about.
///
/// Callers look answers up by key, never by position. An answer that a broker left out is an error that names its key, so that it
/// cannot pass for "none".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers<K, T> {
    /// The request, as in "cannot *list the offsets of partitions*".
    doing: String,
    by_key: BTreeMap<K, T>,
}

impl<K: Ord + Display, T> Answers<K, T> {
    /// Wraps the answers to one request, or fails naming the first key in `asked` that has none.
    pub(super) fn complete<'a>(
        doing: &str,
        asked: impl IntoIterator<Item = &'a K>,
        by_key: BTreeMap<K, T>,
    ) -> Result<Answers<K, T>, KafkaError>
    where
        K: 'a,
    {
        let answers = Answers {
            doing: doing.to_owned(),
            by_key,
        };
        for key in asked {
            answers.get(key)?;
        }
        Ok(answers)
    }

    /// Returns the answer about `key`.
    ///
    /// # Errors
    ///
    /// Where `key` was not asked about.
    pub fn get<Q>(&self, key: &Q) -> Result<&T, KafkaError>
    where
        K: Borrow<Q>,
        Q: Ord + Display + ?Sized,
    {
        self.by_key.get(key).ok_or_else(|| self.missing(key))
    }

    /// Removes and returns the answer about `key`.
    ///
    /// # Errors
    ///
    /// Where `key` was not asked about, or its answer was removed before.
    pub fn take<Q>(&mut self, key: &Q) -> Result<T, KafkaError>
    where
        K: Borrow<Q>,
        Q: Ord + Display + ?Sized,
    {
        let answer = self.by_key.remove(key);
        answer.ok_or_else(|| self.missing(key))
    }

    fn missing<Q: Display + ?Sized>(&self, key: &Q) -> KafkaError {
        KafkaError::Other {
            doing: self.doing.clone(),
            cause: format!("the answer lacks {key}"),
        }
    }
}

impl<K, T> Answers<K, T> {
    /// Iterates over keys and answers, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.by_key.iter()
    }
}

impl<K, T> IntoIterator for Answers<K, T> {
    type Item = (K, T);
    type IntoIter = std::collections::btree_map::IntoIter<K, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_key.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::TopicPartition;

    #[test]
    fn a_missing_answer_is_an_error_that_names_its_key() {
        let (first, second) = (
            TopicPartition::new("orders", 0.into()),
            TopicPartition::new("orders", 1.into()),
        );
        let found = BTreeMap::from([(first.clone(), 7)]);
        let asked = [first.clone(), second.clone()];
        let error = Answers::complete("list offsets", &asked, found.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot list offsets: the answer lacks orders/1"
        );
        let mut answers = Answers::complete("list offsets", &asked[..1], found).unwrap();
        assert_eq!(*answers.get(&first).unwrap(), 7);
        assert!(answers.get(&second).is_err());
        assert_eq!(answers.take(&first).unwrap(), 7);
        assert!(answers.take(&first).is_err(), "taken before");
    }
}
