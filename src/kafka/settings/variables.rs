//! `${env:NAME}` and `${file:PATH}` in the values of client properties: secrets that are kept elsewhere.
//!
//! The forms are those of Kafka's configuration providers, and mean the same without their declaration:
//!
//! | form | replaced by |
//! |---|---|
//! | `${env:NAME}` | the variable of the environment |
//! | `${file:PATH}` | the text of a file, without the line end that ends it |
//! | `${file:PATH:KEY}` | the value of a key in a properties file |
//! | `${directory:PATH:NAME}` | the text of the file NAME in a folder |
//!
//! What replaces them is not searched again. Errors name the variable or the file, and no value.

use std::env;
use std::fs;
use std::path::Path;

use super::properties;

/// Returns the value with everything replaced that it refers to; `escape` is applied to each replacement.
pub(super) fn replaced(value: &str, escape: fn(String) -> String) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        text.push_str(before);
        let variable = from.find('}').map(|end| (&from[2..end], &from[end + 1..]));
        let found = match variable {
            Some((name, after)) => lookup(name)?.map(|found| (found, after)),
            None => None,
        };
        match found {
            Some((found, after)) => {
                text.push_str(&escape(found));
                rest = after;
            }
            // Not a variable: passwords may contain anything.
            None => {
                text.push_str("${");
                rest = &from[2..];
            }
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// Returns what `provider:name` refers to; `None` for another provider.
fn lookup(variable: &str) -> Result<Option<String>, String> {
    let Some((provider, name)) = variable.split_once(':') else {
        return Ok(None);
    };
    let pair = name.rsplit_once(':');
    Ok(Some(match (provider, pair) {
        ("env", _) => {
            env::var(name).map_err(|error| format!("the environment variable {name}: {error}"))?
        }
        ("file", None) => whole_file(Path::new(name))?,
        ("file", Some((path, key))) => of_properties(path, key)?,
        ("directory", Some((folder, name))) => whole_file(&Path::new(folder).join(name))?,
        _ => return Ok(None),
    }))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn whole_file(path: &Path) -> Result<String, String> {
    let text = read(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn of_properties(path: &str, key: &str) -> Result<String, String> {
    let text = read(Path::new(path))?;
    let found = properties::parse(&text)
        .map_err(|error| format!("{path}, line {}: {}", error.line, error.what))?;
    let found = found.into_iter().rev().find(|property| property.key == key);
    found
        .map(|property| property.value)
        .ok_or_else(|| format!("{path} has no property `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: &str) -> Result<String, String> {
        replaced(value, |found| found)
    }

    #[test]
    fn files_and_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let secret = write("secret", "\u{feff}p=${env:HOME}#\r\n");
        assert_eq!(
            plain(&format!("${{file:{secret}}}")),
            Ok("p=${env:HOME}#".into())
        );
        let two = format!("<${{file:{secret}}}|${{file:{secret}}}>");
        assert_eq!(plain(&two), Ok("<p=${env:HOME}#|p=${env:HOME}#>".into()));
        let keys = write("keys", "a=1\nb = two \\\n  lines\r\n");
        assert_eq!(
            plain(&format!("${{file:{keys}:b}}")),
            Ok("two lines".into())
        );
        let error = plain(&format!("${{file:{keys}:c}}")).unwrap_err();
        assert!(error.contains("has no property `c`"), "{error}");
        let parent = folder.path().to_str().unwrap();
        assert_eq!(
            plain(&format!("${{directory:{parent}:secret}}")),
            Ok("p=${env:HOME}#".into())
        );
        let error = plain("${file:/nowhere/secret}").unwrap_err();
        assert!(error.contains("cannot read /nowhere/secret"), "{error}");
    }

    #[test]
    fn variables_of_the_environment() {
        let path = env::var("PATH").unwrap();
        assert_eq!(plain("a${env:PATH}b"), Ok(format!("a{path}b")));
        let error = plain("${env:KBK_NEVER_SET}").unwrap_err();
        assert!(error.contains("KBK_NEVER_SET"), "{error}");
    }

    #[test]
    fn other_text_stays() {
        for text in [
            "",
            "a",
            "$",
            "${",
            "${}",
            "${x}",
            "${x:y}",
            "a${b",
            "}${vault:a:b}",
            "$${",
        ] {
            assert_eq!(plain(text), Ok(text.to_owned()));
        }
    }
}
