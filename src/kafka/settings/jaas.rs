//! `sasl.jaas.config`: the login module of Java's security framework, as Kafka's Java clients configure it in one property.

use std::collections::BTreeMap;

/// `org.example.SomeLoginModule required key="value" ... ;`
pub(super) struct LoginModule {
    /// The class name without its package.
    pub(super) name: String,
    pub(super) options: BTreeMap<String, String>,
}

impl LoginModule {
    /// Parses the first module of the text. Errors do not repeat the text, which contains secrets.
    pub(super) fn parse(text: &str) -> Result<LoginModule, &'static str> {
        let mut words = words(text)?.into_iter();
        let class = words.next().ok_or("it is empty")?;
        let name = class.rsplit('.').next().unwrap_or_default().to_owned();
        words
            .next()
            .ok_or("a control flag such as `required` must follow the class")?;
        let options = words
            .map(|word| {
                word.split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            })
            .collect::<Option<_>>()
            .ok_or("options after `required` must have the form key=\"value\"")?;
        Ok(LoginModule { name, options })
    }

    pub(super) fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }
}

/// Splits the text into words up to the semicolon. Quotes group blanks; a backslash within them escapes the next character.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.trim().chars();
    loop {
        match (chars.next(), quote) {
            (None, _) | (Some(';'), None) => break,
            (Some('\\'), Some(_)) => word.extend(chars.next()),
            (Some(c), Some(open)) if c == open => quote = None,
            (Some(c), None) if c == '"' || c == '\'' => quote = Some(c),
            (Some(c), None) if c.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            }
            (Some(c), _) => word.push(c),
        }
    }
    if quote.is_some() {
        return Err("a quotation mark is not closed");
    }
    words.extend((!word.is_empty()).then_some(word));
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_login() {
        let text = r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="al ice" password="a\"b;=c" ;"#;
        let module = LoginModule::parse(text).unwrap();
        assert_eq!(module.name, "PlainLoginModule");
        assert_eq!(module.option("username"), Some("al ice"));
        assert_eq!(module.option("password"), Some("a\"b;=c"));
    }

    #[test]
    fn malformed_text_is_an_error_without_secrets() {
        for text in [
            "",
            "Module",
            "Module required user",
            "Module required password=\"x",
        ] {
            assert!(LoginModule::parse(text).is_err(), "{text}");
        }
    }
}
