//! Selects topics and groups by names, globs and `/regular expressions/`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};
use kbk_format::repo::{Id, TopicState};
use regex::Regex;

use super::nearest::nearest;
use super::partitions::NoPartition;
use super::topic_ref::TopicRef;

/// One `--topic`, `--exclude` or `--group`.
#[derive(Clone, Debug)]
pub struct NamePattern {
    text: String,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Name,
    Glob(GlobMatcher),
    Regex(Regex),
}

impl NamePattern {
    /// Returns whether the pattern is this full name, without wildcards.
    fn names(&self, name: &str) -> bool {
        matches!(self.matcher, Matcher::Name) && self.text == name
    }

    /// Parses a pattern of whole topics.
    ///
    /// # Errors
    ///
    /// As [`from_str`](FromStr::from_str), and for a partition: elsewhere it would select it, and here it would match nothing.
    pub fn of_topics(text: &str) -> Result<NamePattern, PatternError> {
        match text.contains('/') && !text.starts_with('/') {
            true => Err(PatternError::Partition(text.to_owned())),
            false => text.parse(),
        }
    }

    /// Returns whether a topic of this name and id matches.
    pub(super) fn matches_topic(&self, name: &str, id: Id) -> bool {
        match self.by_id() {
            Some(topic) => topic.is(name, id),
            None => self.matches(name),
        }
    }

    /// Returns whether the pattern is one name or `NAME@ID`, without wildcards.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self.matcher, Matcher::Name)
    }

    /// Returns whether the pattern is a full name that a topic of a cluster may have. `NAME@ID` is none.
    fn is_name(&self) -> bool {
        matches!(self.matcher, Matcher::Name) && self.by_id().is_none()
    }

    fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::Name => self.text == name,
            Matcher::Glob(glob) => glob.is_match(name),
            Matcher::Regex(regex) => regex.is_match(name),
        }
    }

    /// Returns the topic that the pattern names by its id, if it does.
    fn by_id(&self) -> Option<TopicRef> {
        let named: TopicRef = self.text.parse().ok()?;
        named.id().is_some().then_some(named)
    }

    /// Returns the pattern without its special characters, to find similar names.
    fn letters(&self) -> String {
        let is_letter = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
        self.text.chars().filter(is_letter).collect()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Ok(Self {
            text: text.to_owned(),
            matcher: matcher(text)?,
        })
    }
}

fn matcher(text: &str) -> Result<Matcher, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if let Some(expression) = text.strip_prefix('/') {
        let expression = expression
            .strip_suffix('/')
            .ok_or_else(|| PatternError::Unclosed(text.to_owned()))?;
        // The whole name must match, as in Kafka's own tools.
        let anchored = format!("^(?:{expression})$");
        let regex = Regex::new(&anchored);
        return regex
            .map(Matcher::Regex)
            .map_err(|error| PatternError::Regex(text.to_owned(), why_no_regex(&error)));
    }
    if text.contains(['*', '?', '[', ']', '{', '}', '\\']) {
        let glob = Glob::new(text);
        return glob
            .map(|glob| Matcher::Glob(glob.compile_matcher()))
            .map_err(|error| PatternError::Glob(text.to_owned(), why_no_glob(&error)));
    }
    Ok(Matcher::Name)
}

/// Text that is not a pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// The empty string.
    #[error(
        "an empty pattern matches nothing; give a name, a glob (`orders-*`) or `/a regular expression/`"
    )]
    Empty,
    /// A regular expression without its second slash.
    #[error(
        "`{0}` starts a regular expression but does not end it; put it between slashes: `{0}/`"
    )]
    Unclosed(String),
    /// A topic with a partition.
    #[error(
        "`{0}` has a `/`, and only whole topics can be given here; give a topic without a partition"
    )]
    Partition(String),
    /// A glob that does not parse.
    #[error("`{0}` is not a glob: {1}; give a name, or a glob such as `orders-*`")]
    Glob(String, String),
    /// A regular expression that does not parse.
    #[error("`{0}` is not a regular expression: {1}; give one such as `/orders-[0-9]+/`")]
    Regex(String, String),
}

/// Returns what is wrong with a regular expression in one line: the library draws where it is.
pub(super) fn why_no_regex(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// Returns what is wrong with a glob, without the advice for other programs.
fn why_no_glob(error: &globset::Error) -> String {
    let text = error.kind().to_string();
    text.split([';', '('])
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The topics that all `--topic` and `--exclude` options select together.
///
/// Without a pattern, all topics are selected except internal ones: those that Kafka flags as its own. Names tell nothing: users have
/// topics whose names begin with `__`, too. An internal topic is selected only if a pattern is its full name.
#[derive(Clone, Debug, Default)]
pub struct TopicSelection {
    include: Vec<NamePattern>,
    exclude: Vec<NamePattern>,
    internal_too: bool,
}

struct Topic<'a> {
    name: &'a str,
    internal: bool,
}

impl TopicSelection {
    /// Selects what matches one of `include` (anything, if that is empty) and none of `exclude`.
    pub fn new(include: Vec<NamePattern>, exclude: Vec<NamePattern>) -> Self {
        Self {
            include,
            exclude,
            internal_too: false,
        }
    }

    /// Treats internal topics like all others, for commands that only read a repository.
    #[must_use]
    pub fn internal_too(mut self) -> Self {
        self.internal_too = true;
        self
    }

    /// Selects from `topics`, given as name and Kafka's internal flag. The result is sorted, without duplicates, and never empty.
    ///
    /// A pattern that matches nothing is an error: a misspelt topic must not become an empty backup.
    /// An `--exclude` may match nothing.
    pub fn select<'a>(
        &self,
        topics: impl IntoIterator<Item = (&'a str, bool)>,
    ) -> Result<Vec<String>, SelectError> {
        let topics: Vec<_> = topics
            .into_iter()
            .map(|(name, flagged)| Topic {
                name,
                internal: flagged && !self.internal_too,
            })
            .collect();
        let mut chosen = self.included(&topics)?;
        chosen.retain(|topic| !self.exclude.iter().any(|pattern| pattern.matches(topic)));
        if chosen.is_empty() {
            return Err(SelectError::AllExcluded);
        }
        Ok(chosen.into_iter().map(str::to_owned).collect())
    }

    /// Returns the full names among the patterns of topics to select.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.include.iter().filter(|pattern| pattern.is_name());
        names.map(|pattern| pattern.text.as_str())
    }

    /// Returns whether every topic that can be selected is given by its full name.
    pub fn is_by_name(&self) -> bool {
        !self.include.is_empty() && self.include.iter().all(NamePattern::is_name)
    }

    /// Returns whether there is a pattern of topics to select.
    pub(super) fn has_patterns(&self) -> bool {
        !self.include.is_empty()
    }

    /// Returns whether the topic is excluded as `NAME@ID`.
    pub(super) fn excludes_by_id(&self, topic: &TopicState) -> bool {
        let mut excluded = self.exclude.iter().filter_map(NamePattern::by_id);
        excluded.any(|excluded| excluded.matches(topic))
    }

    /// Separates the topics that are given as `NAME@ID`, which no topic of a cluster is called, from the patterns.
    pub(super) fn split_by_id(&self) -> (Vec<TopicRef>, TopicSelection) {
        let mut names = self.clone();
        names.include.retain(|pattern| pattern.by_id().is_none());
        let by_id = self.include.iter().filter_map(NamePattern::by_id);
        (by_id.collect(), names)
    }

    /// Returns whether a topic of this name is selected, whatever other topics exist.
    pub fn matches(&self, name: &str) -> bool {
        let among = |patterns: &[NamePattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.include.is_empty() || among(&self.include)) && !among(&self.exclude)
    }

    fn included<'a>(&self, topics: &[Topic<'a>]) -> Result<BTreeSet<&'a str>, SelectError> {
        if self.include.is_empty() {
            let ordinary: BTreeSet<_> = ordinary_names(topics).collect();
            return if ordinary.is_empty() {
                Err(SelectError::NoTopics)
            } else {
                Ok(ordinary)
            };
        }
        let mut chosen = BTreeSet::new();
        for pattern in &self.include {
            let mut matched = topics
                .iter()
                .filter(|topic| pattern.matches(topic.name))
                .filter(|topic| !topic.internal || pattern.names(topic.name))
                .map(|topic| topic.name)
                .peekable();
            if matched.peek().is_none() {
                return Err(no_match(pattern, topics));
            }
            chosen.extend(matched);
        }
        Ok(chosen)
    }
}

fn ordinary_names<'t, 'a>(topics: &'t [Topic<'a>]) -> impl Iterator<Item = &'a str> + use<'t, 'a> {
    topics
        .iter()
        .filter(|topic| !topic.internal)
        .map(|topic| topic.name)
}

fn no_match(pattern: &NamePattern, topics: &[Topic<'_>]) -> SelectError {
    let pattern_text = pattern.to_string();
    let internal = topics.iter().find(|topic| pattern.matches(topic.name));
    if let Some(topic) = internal {
        return SelectError::OnlyInternal {
            pattern: pattern_text,
            example: topic.name.to_owned(),
        };
    }
    let similar = nearest(&pattern.letters(), ordinary_names(topics));
    SelectError::NoMatch {
        pattern: pattern_text,
        topics: ordinary_names(topics).count(),
        nearest: similar.into_iter().map(str::to_owned).collect(),
    }
}

/// Returns the groups that one of `patterns` matches, or all groups without a pattern. A pattern that matches nothing is an error.
pub fn select_groups<'a>(
    patterns: &[NamePattern],
    groups: &[&'a str],
) -> Result<BTreeSet<&'a str>, SelectError> {
    let names = || groups.iter().copied();
    if patterns.is_empty() {
        return Ok(names().collect());
    }
    let mut chosen = BTreeSet::new();
    for pattern in patterns {
        let mut matched = names().filter(|name| pattern.matches(name)).peekable();
        if matched.peek().is_none() {
            let similar = nearest(&pattern.letters(), names());
            return Err(SelectError::NoGroup {
                pattern: pattern.to_string(),
                groups: groups.len(),
                nearest: similar.into_iter().map(str::to_owned).collect(),
            });
        }
        chosen.extend(matched);
    }
    Ok(chosen)
}

/// Why a selection failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A pattern that no topic matches.
    #[error("no topic matches `{pattern}` among {topics}{}", suggestion(.nearest))]
    NoMatch {
        /// The pattern, as it was given.
        pattern: String,
        /// The number of topics, without internal ones.
        topics: usize,
        /// Similar names, the most similar first.
        nearest: Vec<String>,
    },
    /// No topic has the name and the id.
    #[error("no topic is `{wanted}`{}", others(.known))]
    NoSuchId {
        /// The name and the id, as they were given.
        wanted: String,
        /// The topics of this name.
        known: Vec<String>,
    },
    /// A pattern that only internal topics match.
    #[error(
        "`{pattern}` matches only internal topics, such as `{example}`; give the full name of an internal topic to select it"
    )]
    OnlyInternal {
        /// The pattern, as it was given.
        pattern: String,
        /// One of them.
        example: String,
    },
    /// A pattern that no group matches.
    #[error("no group matches `{pattern}` among {groups}{}", suggestion(.nearest))]
    NoGroup {
        /// The pattern, as it was given.
        pattern: String,
        /// The number of groups.
        groups: usize,
        /// Similar names, the most similar first.
        nearest: Vec<String>,
    },
    /// A topic lacks a selected partition.
    #[error(transparent)]
    NoPartition(#[from] NoPartition),
    /// There is nothing to select from.
    #[error("there are no topics (internal ones are selected only by their full name)")]
    NoTopics,
    /// The excludes match everything.
    #[error("`--exclude` excludes every topic")]
    AllExcluded,
}

fn others(known: &[String]) -> String {
    match known {
        [] => "; no topic has this name".to_owned(),
        known => format!("; of this name there are {}", known.join(", ")),
    }
}

fn suggestion(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return String::new();
    }
    let names: Vec<_> = nearest.iter().map(|name| format!("`{name}`")).collect();
    format!("; did you mean {}?", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [(&str, bool); 8] = [
        ("payments", false),
        ("orders", false),
        ("orders-eu", false),
        ("orders-us", false),
        ("__consumer_offsets", true),
        ("__transaction_state", true),
        ("__debezium-heartbeat.shop", false),
        ("_schemas", true),
    ];

    fn patterns(texts: &[&str]) -> Vec<NamePattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn select(include: &[&str], exclude: &[&str]) -> Result<Vec<String>, SelectError> {
        TopicSelection::new(patterns(include), patterns(exclude)).select(TOPICS)
    }

    #[test]
    fn without_patterns_everything_but_internal_topics() {
        assert_eq!(
            select(&[], &[]).unwrap(),
            [
                "__debezium-heartbeat.shop",
                "orders",
                "orders-eu",
                "orders-us",
                "payments"
            ]
        );
        let excluded = select(&[], &["orders*", "__*"]);
        assert_eq!(excluded.unwrap(), ["payments"]);
    }

    #[test]
    fn names_globs_and_regular_expressions() {
        assert_eq!(select(&["orders"], &[]).unwrap(), ["orders"]);
        assert_eq!(
            select(&["orders-*"], &[]).unwrap(),
            ["orders-eu", "orders-us"]
        );
        assert_eq!(
            select(&["orders-{eu,us}"], &["*-us"]).unwrap(),
            ["orders-eu"]
        );
        assert_eq!(select(&["orders-?u"], &[]).unwrap(), ["orders-eu"]);
        assert_eq!(
            select(&["/orders-(eu|us)/"], &[]).unwrap(),
            ["orders-eu", "orders-us"]
        );
    }

    #[test]
    fn a_regular_expression_matches_the_whole_name() {
        assert_eq!(select(&["/orders/"], &[]).unwrap(), ["orders"]);
        assert_eq!(select(&["/order|payments/"], &[]).unwrap(), ["payments"]);
    }

    #[test]
    fn full_names_are_known_as_such() {
        let selection = |include: &[&str]| TopicSelection::new(patterns(include), Vec::new());
        let id = "orders@0123456789abcdef0123456789abcdef";
        let names = selection(&["orders", "pay*", "/o.*/", id]);
        assert_eq!(names.names().collect::<Vec<_>>(), ["orders"]);
        assert!(!names.is_by_name() && !selection(&[]).is_by_name());
        assert!(selection(&["orders", "payments"]).is_by_name());
    }

    #[test]
    fn each_topic_once_however_many_patterns_take_it() {
        assert_eq!(
            select(&["orders", "order?", "/o.*s/"], &["nothing-like-it"])
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn internal_topics_only_by_their_full_name() {
        assert_eq!(
            select(&["__consumer_offsets"], &[]).unwrap(),
            ["__consumer_offsets"]
        );
        assert_eq!(
            select(&["_schemas", "orders"], &[]).unwrap(),
            ["_schemas", "orders"]
        );
        let heartbeat = ["__debezium-heartbeat.shop"];
        assert_eq!(select(&["__*"], &[]).unwrap(), heartbeat);
        for wildcard in ["__c*", "/__consumer_offsets/", "__transaction_stat?"] {
            let error = select(&[wildcard], &[]).unwrap_err();
            assert!(matches!(error, SelectError::OnlyInternal { .. }), "{error}");
        }
        assert!(
            !select(&["*"], &[])
                .unwrap()
                .iter()
                .any(|topic| topic == "_schemas" || topic == "__consumer_offsets")
        );
        let all = TopicSelection::default()
            .internal_too()
            .select(TOPICS)
            .unwrap();
        assert_eq!(all.len(), TOPICS.len());
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error_with_the_nearest_names() {
        let error = select(&["payments", "oders"], &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("no topic matches `oders` among 5; did you mean `orders`"),
            "{error}"
        );
        let error = select(&["oders-e*"], &[]).unwrap_err().to_string();
        assert!(error.contains("did you mean `orders-eu`"), "{error}");
        let error = select(&["zzz"], &[]).unwrap_err().to_string();
        assert_eq!(error, "no topic matches `zzz` among 5");
    }

    #[test]
    fn nothing_left_is_an_error() {
        assert_eq!(select(&[], &["*"]).unwrap_err(), SelectError::AllExcluded);
        assert_eq!(
            select(&["orders"], &["orders"]).unwrap_err(),
            SelectError::AllExcluded
        );
        let nothing = TopicSelection::default().select([("__consumer_offsets", true)]);
        assert_eq!(nothing.unwrap_err(), SelectError::NoTopics);
    }

    #[test]
    fn groups_by_the_same_patterns() {
        let groups = ["billing", "billing-eu", "Ops team"];
        let select = |texts: &[&str]| select_groups(&patterns(texts), &groups);
        let chosen = |texts: &[&str]| Vec::from_iter(select(texts).unwrap());
        assert_eq!(chosen(&[]).len(), 3);
        assert_eq!(chosen(&["billing"]), ["billing"]);
        assert_eq!(chosen(&["billing*", "/Ops .*/"]).len(), 3);
        let error = select(&["billing", "biling"]).unwrap_err().to_string();
        assert!(
            error.starts_with("no group matches `biling` among 3; did you mean `billing`"),
            "{error}"
        );
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        for (text, reason) in [
            ("", "empty"),
            ("/", "between slashes"),
            ("/a", "between slashes"),
            ("a[", "a["),
            ("/(/", "`/(/` is not a regular expression: unclosed group"),
        ] {
            let error = text.parse::<NamePattern>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
