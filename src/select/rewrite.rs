//! Renaming topics by rule on the command line: `--map-regex 'PATTERN=REPLACEMENT'`.

use std::fmt;
use std::str::FromStr;

use regex::Regex;

use super::topic::{TopicError, topic_name};

/// One `--map-regex`: topics whose whole name the pattern matches are restored under another.
#[derive(Clone, Debug)]
pub struct TopicRewrite {
    text: String,
    pattern: Regex,
    replacement: String,
}

impl TopicRewrite {
    /// The target name of a topic; `None` where the pattern does not match it.
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

/// Text that renames no topics.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// No `=`, or nothing on one of its sides.
    #[error(
        "`{0}` renames no topic; give PATTERN=REPLACEMENT as in `prod-(.*)=restored-$1`, the pattern for the whole name"
    )]
    Form(String),
    /// A pattern that does not parse.
    #[error("{0}")]
    Regex(#[from] regex::Error),
    /// The replacement names a group that the pattern does not have: it would be replaced with nothing.
    #[error(
        "`${group}` names no group of `{pattern}`; in front of a letter, a digit or `_` write `${{1}}` for `$1`"
    )]
    Group {
        /// What is named.
        group: String,
        /// The pattern.
        pattern: String,
    },
}

impl FromStr for TopicRewrite {
    type Err = RewriteError;

    /// The last `=` divides: a topic's name has none, a pattern may.
    fn from_str(text: &str) -> Result<Self, RewriteError> {
        let sides = text
            .rsplit_once('=')
            .filter(|(pattern, replacement)| !pattern.is_empty() && !replacement.is_empty());
        let (expression, replacement) = sides.ok_or_else(|| RewriteError::Form(text.to_owned()))?;
        // The whole name must match, as with --topic.
        let pattern = Regex::new(&format!("^(?:{expression})$"))?;
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

/// The first group that is named in `replacement` and is not in `pattern`, read as `regex` does.
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
    fn what_renames_nothing_says_what_does() {
        for (text, says) in [
            ("abc", "PATTERN=REPLACEMENT"),
            ("=x", "PATTERN=REPLACEMENT"),
            ("a=", "PATTERN=REPLACEMENT"),
            ("(=x", "unclosed group"),
            ("(.*)=$1_copy", "`$1_copy` names no group"),
            ("(.*)=$2", "`$2` names no group"),
            ("(.*)=${name}", "`$name` names no group"),
        ] {
            let error = text.parse::<TopicRewrite>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let rewrite: TopicRewrite = "(.*)=$1 copy".parse().unwrap();
        assert!(rewrite.apply("a").unwrap().is_err(), "no name of a topic");
    }
}
