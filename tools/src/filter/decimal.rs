//! Numbers of JSON, compared by their exact value: a double would take 12345678901234567891 for 12345678901234567892.

/// The value of a number: `digits` times ten to the power of `exponent`. Zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without zeros at the beginning and at the end.
    digits: Vec<u8>,
    exponent: i128,
}

impl Decimal {
    /// Reads a number as JSON defines it, such as `-1.50e3`. Returns `None` for anything else, and for an exponent of more than 18 digits.
    pub(super) fn parse(text: &str) -> Option<Decimal> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let leads_with_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leads_with_zero || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        let trailing = i128::try_from(digits.len() - significant.len()).ok()?;
        let fraction = i128::try_from(fraction.len()).ok()?;
        Some(match significant {
            // There is one zero: -0, 0.0 and 0e7 are equal.
            "" => Decimal {
                negative: false,
                digits: Vec::new(),
                exponent: 0,
            },
            digits => Decimal {
                negative,
                digits: digits.into(),
                exponent: i128::from(exponent) - fraction + trailing,
            },
        })
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(left: &str, right: &str) -> bool {
        Decimal::parse(left).unwrap() == Decimal::parse(right).unwrap()
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        for (left, right) in [
            ("42", "42.0"),
            ("42", "4.2e1"),
            ("1000", "1E+3"),
            ("-0.05", "-5e-2"),
            ("0", "-0.0e9"),
            ("120", "12e1"),
        ] {
            assert!(equal(left, right), "{left} {right}");
        }
        for (left, right) in [
            ("42", "-42"),
            ("12345678901234567891", "12345678901234567892"),
            ("0.1", "0.10000000000000000001"),
            ("1e400", "1e401"),
        ] {
            assert!(!equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn what_is_not_a_number_of_json_is_none() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            ".5",
            "5.",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "1 ",
            "1e9999999999999999999",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
