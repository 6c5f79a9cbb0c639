//! Renames topics by a rule: `--map-regex 'PATTERN=REPLACEMENT'`.

use std::fmt;
use std::str::FromStr;

use regex::Regex;

use super::pattern::why_no_regex;
use super::topic::{TopicError, topic_name};

/// One `--map-regex`: topics whose whole name matches the pattern are restored under another name.
#[derive(Clone, Debug)]
pub struct TopicRewrite {
    text: String,
    pattern: Regex,
    replacement: String,
}

impl TopicRewrite {
    /// Returns the target name of a topic; `None` if the pattern does not match it.
    pub fn apply(&self, topic: &str) -> Option<Result<String, TopicError>> {
        let found = self.pattern.captures(topic)?;
        let mut name = String::new();
        found.expand(&self.replacement, &mut name);
        Some(topic_name(&name))
    }
}

impl fmt::Display for TopicRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text that is not a rewrite rule.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// No `=`, or nothing on one side of it.
    #[error(
        "`{0}` is not a rewrite rule; give PATTERN=REPLACEMENT as in `prod-(.*)=restored-$1`, where the pattern matches the whole name"
    )]
    Form(String),
    /// A pattern that does not parse.
    #[error("`{0}` is not a regular expression: {1}; give one such as `prod-(.*)`")]
    Regex(String, String),
    /// The replacement refers to a group that the pattern does not have, which would expand to nothing.
    #[error(
        "`${group}` is not a group of `{pattern}`; before a letter, a digit or `_` write `${{1}}` instead of `$1`"
    )]
    Group {
        /// The reference.
        group: String,
        /// The pattern.
        pattern: String,
    },
}

impl FromStr for TopicRewrite {
    type Err = RewriteError;

    /// Splits at the last `=`: a topic name cannot have one, but a pattern can.
    fn from_str(text: &str) -> Result<Self, RewriteError> {
        let sides = text
            .rsplit_once('=')
            .filter(|(pattern, replacement)| !pattern.is_empty() && !replacement.is_empty());
        let (expression, replacement) = sides.ok_or_else(|| RewriteError::Form(text.to_owned()))?;
        // The whole name must match, as with --topic.
        let pattern = Regex::new(&format!("^(?:{expression})$"));
        let pattern = pattern
            .map_err(|error| RewriteError::Regex(expression.to_owned(), why_no_regex(&error)))?;
        if let Some(group) = unknown_group(&pattern, replacement) {
            return Err(RewriteError::Group {
                group,
                pattern: expression.to_owned(),
            });
        }
        Ok(Self {
            text: text.to_owned(),
            pattern,
            replacement: replacement.to_owned(),
        })
    }
}

/// Returns the first reference in `replacement`, as `regex` reads it, to a group that `pattern` does not have.
fn unknown_group(pattern: &Regex, replacement: &str) -> Option<String> {
    let reference = Regex::new(r"\$\$|\$([0-9A-Za-z_]+)|\$\{([^}]*)\}").expect("it parses");
    let known = |group: &str| match group.parse::<usize>() {
        Ok(number) => number < pattern.captures_len(),
        Err(_) => pattern.capture_names().flatten().any(|name| name == group),
    };
    let references = reference.captures_iter(replacement);
    let groups = references.filter_map(|found| found.get(1).or(found.get(2)));
    groups
        .map(|group| group.as_str())
        .find(|group| !known(group))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(rewrite: &str, topic: &str) -> Option<String> {
        let rewrite: TopicRewrite = rewrite.parse().unwrap();
        rewrite.apply(topic).map(Result::unwrap)
    }

    #[test]
    fn the_whole_name_must_match() {
        let rule = "prod-(.*)=restored-$1";
        assert_eq!(renamed(rule, "prod-a").as_deref(), Some("restored-a"));
        assert_eq!(renamed(rule, "not-prod-a"), None);
        assert_eq!(renamed("a|b=c", "ab"), None, "alternatives too");
        let rule = "(?P<team>[a-z]+)[.](.*)=${team}_$2.copy";
        assert_eq!(
            renamed(rule, "shop.orders").as_deref(),
            Some("shop_orders.copy")
        );
    }

    #[test]
    fn an_invalid_rule_is_refused_with_the_reason() {
        for (text, says) in [
            ("abc", "PATTERN=REPLACEMENT"),
            ("=x", "PATTERN=REPLACEMENT"),
            ("a=", "PATTERN=REPLACEMENT"),
            ("(=x", "unclosed group"),
            ("(.*)=$1_copy", "`$1_copy` is not a group"),
            ("(.*)=$2", "`$2` is not a group"),
            ("(.*)=${name}", "`$name` is not a group"),
        ] {
            let error = text.parse::<TopicRewrite>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let rewrite: TopicRewrite = "(.*)=$1 copy".parse().unwrap();
        assert!(
            rewrite.apply("a").unwrap().is_err(),
            "not a valid topic name"
        );
    }
}
