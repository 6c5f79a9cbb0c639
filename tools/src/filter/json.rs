//! Selects records by a member of a value that is JSON.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value;
use serde_json::value::RawValue;

use super::decimal::Decimal;
use super::pointer::Pointer;

/// What the value of a record must have, if it is JSON. A value that is not JSON satisfies no condition.
#[derive(Clone, Debug)]
pub struct JsonCondition {
    pointer: Pointer,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Lacks,
    Equals(Operand),
    Differs(Operand),
}

/// What a member is compared with.
#[derive(Clone, Debug)]
enum Operand {
    /// Text without quotes: a string of this text, or what it is as JSON.
    Text {
        text: String,
        number: Option<Decimal>,
    },
    /// A string in quotes: a string only.
    String(String),
    /// An object or an array, as it is written.
    Json(Box<RawValue>),
}

/// Text that is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonConditionError {
    /// It does not begin with a pointer.
    #[error(
        "`{0}` does not begin with a JSON pointer; give one such as `/customer/id=42`, `/customer/id!=42`, `/customer` or `!/customer`, with ~1 for a / \
         and ~0 for a ~ in a name"
    )]
    Pointer(String),
    /// It compares by an order, which conditions do not know.
    #[error(
        "`{0}` has a < or > in its pointer, and there are no such comparisons; give one such as `/customer/id=42` or `/customer/id!=42`, or select values \
         with --value-regex"
    )]
    Order(String),
    /// It is compared with something that begins as JSON and is not.
    #[error("`{0}` is not JSON, as which it begins: {1}")]
    Json(String, String),
}

impl JsonCondition {
    /// Returns whether a value satisfies all of the conditions.
    pub(super) fn all_hold(conditions: &[JsonCondition], value: Option<&[u8]>) -> bool {
        if conditions.is_empty() {
            return true;
        }
        // JSON is UTF-8.
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        text.is_some_and(|text| conditions.iter().all(|condition| condition.holds(text)))
    }

    fn holds(&self, text: &str) -> bool {
        let Ok(found) = self.pointer.find(text) else {
            return false;
        };
        match (&self.test, found) {
            (Test::Exists, found) => found.is_some(),
            (Test::Lacks, found) => found.is_none(),
            (Test::Equals(operand), Some(found)) => operand.equals(found),
            (Test::Differs(operand), Some(found)) => !operand.equals(found),
            (Test::Equals(_) | Test::Differs(_), None) => false,
        }
    }
}

impl Operand {
    fn parse(text: &str) -> Result<Operand, JsonConditionError> {
        let not_json =
            |error: serde_json::Error| JsonConditionError::Json(text.to_owned(), error.to_string());
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text)
                .map(Operand::String)
                .map_err(not_json),
            Some(b'{' | b'[') => {
                // Refuses what is nested too deep to be compared.
                serde_json::from_str::<Value>(text).map_err(not_json)?;
                serde_json::from_str(text)
                    .map(Operand::Json)
                    .map_err(not_json)
            }
            _ => Ok(Operand::Text {
                number: Decimal::parse(text),
                text: text.to_owned(),
            }),
        }
    }

    fn equals(&self, found: &RawValue) -> bool {
        let is_string = found.get().starts_with('"');
        match self {
            Operand::String(text) => is_string && string(found).as_ref() == Some(text),
            Operand::Json(value) => are_equal(value, found),
            Operand::Text { text, .. } if is_string => string(found).as_ref() == Some(text),
            Operand::Text { text, number } => match number {
                Some(number) => Decimal::parse(found.get()).as_ref() == Some(number),
                // true, false and null, which are written in one way. Anything else is not equal to them.
                None => found.get() == text,
            },
        }
    }
}

fn string(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

/// Returns whether two values are equal, however they are written. Numbers are compared exactly. It follows `left` as deep as that is nested.
fn are_equal(left: &RawValue, right: &RawValue) -> bool {
    let (left, right) = (left.get(), right.get());
    type Members<'a> = BTreeMap<String, &'a RawValue>;
    match (left.as_bytes().first(), right.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => {
            let members = [left, right].map(serde_json::from_str::<Members<'_>>);
            let [Ok(left), Ok(right)] = members else {
                return false;
            };
            let mut pairs = left.iter().zip(&right);
            left.len() == right.len()
                && pairs
                    .all(|((name, value), (other, found))| name == other && are_equal(value, found))
        }
        (Some(b'['), Some(b'[')) => {
            let elements = [left, right].map(serde_json::from_str::<Vec<&RawValue>>);
            let [Ok(left), Ok(right)] = elements else {
                return false;
            };
            let mut pairs = left.iter().zip(&right);
            left.len() == right.len() && pairs.all(|(value, found)| are_equal(value, found))
        }
        (Some(b'"'), Some(b'"')) => {
            let texts = [left, right].map(|text| serde_json::from_str::<String>(text).ok());
            texts[0].is_some() && texts[0] == texts[1]
        }
        _ => match (Decimal::parse(left), Decimal::parse(right)) {
            (Some(left), Some(right)) => left == right,
            _ => left == right,
        },
    }
}

impl FromStr for JsonCondition {
    type Err = JsonConditionError;

    /// Reads `POINTER`, `!POINTER`, `POINTER=VALUE` or `POINTER!=VALUE`. The first `=` ends the pointer: a name that has one cannot be given, nor one with
    /// `<` or `>`.
    fn from_str(text: &str) -> Result<JsonCondition, JsonConditionError> {
        let (pointer, test) = match text.split_once('=') {
            Some((pointer, value)) => {
                let value = Operand::parse(value)?;
                match pointer.strip_suffix('!') {
                    Some(pointer) => (pointer, Test::Differs(value)),
                    None => (pointer, Test::Equals(value)),
                }
            }
            None => match text.strip_prefix('!') {
                Some(pointer) => (pointer, Test::Lacks),
                None => (text, Test::Exists),
            },
        };
        // It would be taken for a name that no value has, so that nothing is found without a word.
        if pointer.contains(['<', '>']) {
            return Err(JsonConditionError::Order(text.to_owned()));
        }
        let parsed = Pointer::parse(pointer);
        let pointer = parsed.ok_or_else(|| JsonConditionError::Pointer(text.to_owned()))?;
        Ok(JsonCondition { pointer, test })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"{"id":42,"s":"42","t":"a=b","big":12345678901234567891,"no":null,"yes":true,"list":[1,{"x":2.0}],"e":""}"#;

    fn holds(condition: &str, value: &[u8]) -> bool {
        let condition: JsonCondition = condition.parse().unwrap();
        JsonCondition::all_hold(&[condition], Some(value))
    }

    #[test]
    fn comparisons_that_do_not_exist_are_refused() {
        for condition in ["/id>5", "/id<5", "/id>=5", "/id<=5", "!/id>5", "/id > 5"] {
            let refused = condition.parse::<JsonCondition>().err();
            assert_eq!(
                refused,
                Some(JsonConditionError::Order(condition.to_owned()))
            );
        }
        // In a value they are text like any other.
        assert!(holds("/t=<b>", br#"{"t":"<b>"}"#));
    }

    #[test]
    fn members_are_compared_by_their_value() {
        for condition in [
            "",
            "/id",
            "/no",
            "!/x",
            "!/id/x",
            "/id=42",
            "/id=42.0",
            "/id!=43",
            "/s=42",
            "/s=\"42\"",
            "/t=a=b",
            "/big=12345678901234567891",
            "/big!=12345678901234567892",
            "/no=null",
            "/yes=true",
            "/yes!=false",
            "/list=[1, {\"x\": 2}]",
            "/list!=[1,{\"x\":3}]",
            "/list/1/x=2",
            "/e=",
            "/e=\"\"",
            "/id!=\"42\"",
            "/no!=\"null\"",
        ] {
            assert!(holds(condition, VALUE.as_bytes()), "{condition}");
        }
        for condition in [
            "/x",
            "!/id",
            "/id=43",
            "/id!=42",
            "/id=\"42\"",
            "/x=1",
            "/x!=1",
            "/no=\"null\"",
            "/yes=1",
            "/list=[1]",
            "/list={}",
            "/list=[1,{\"x\":2,\"y\":1}]",
            "/e=x",
            "/big=12345678901234567892",
            "/id=",
            "/s=042",
        ] {
            assert!(!holds(condition, VALUE.as_bytes()), "{condition}");
        }
    }

    #[test]
    fn what_is_not_json_satisfies_nothing() {
        for value in [&b""[..], b"{", b"\xff", b"{\"id\":42}\xff", b"{\"id\":42,}"] {
            for condition in ["", "/id", "!/id", "!/x", "/id=42", "/id!=43"] {
                assert!(!holds(condition, value), "{condition}");
            }
        }
        let condition: JsonCondition = "!/x".parse().unwrap();
        assert!(!JsonCondition::all_hold(&[condition], None), "a tombstone");
        assert!(JsonCondition::all_hold(&[], None));
    }

    #[test]
    fn what_is_not_a_condition_is_named() {
        for (text, says) in [
            ("id=42", "begin with a JSON pointer"),
            ("!id", "begin with a JSON pointer"),
            ("/a~=1", "begin with a JSON pointer"),
            ("/a={\"b\"", "is not JSON"),
            ("/a=\"b", "is not JSON"),
        ] {
            let error = text.parse::<JsonCondition>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
