//! Every format against what an independent reader makes of it.

use proptest::prelude::*;

use super::*;
use crate::record::{Header, Headers};

fn format(text: &str) -> TextFormat {
    text.parse().unwrap()
}

fn render(format: &TextFormat, record: &Record<'_>) -> Vec<u8> {
    let renderer = TextRenderer::new(format, "orders", 3.into(), None);
    // What is there already must not change: lines are rendered one after the other.
    let mut out = b"before,\"".to_vec();
    renderer.render(record, &mut out);
    out.split_off(8)
}

fn printed(text: &str, record: &Record<'_>) -> String {
    String::from_utf8(render(&format(text), record)).unwrap()
}

fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Record<'a> {
    Record {
        offset: 42,
        timestamp: 1_763_800_000_123,
        control: false,
        key,
        value,
        headers: Headers::EMPTY,
    }
}

/// A field of a line, and whether it was between quotes.
type Field = (Vec<u8>, bool);

/// Reads one line as RFC 4180 defines it.
fn csv_fields(line: &[u8]) -> Vec<Field> {
    let mut bytes = line
        .strip_suffix(b"\r\n")
        .unwrap()
        .iter()
        .copied()
        .peekable();
    let mut fields = Vec::new();
    loop {
        let mut field = Vec::new();
        let quoted = bytes.next_if_eq(&b'"').is_some();
        if quoted {
            loop {
                match bytes.next().unwrap() {
                    b'"' if bytes.next_if_eq(&b'"').is_some() => field.push(b'"'),
                    b'"' => break,
                    byte => field.push(byte),
                }
            }
        }
        while let Some(byte) = bytes.next_if(|byte| *byte != b',') {
            assert!(!quoted && !b"\"\r\n".contains(&byte), "{line:?}");
            field.push(byte);
        }
        fields.push((field, quoted));
        if bytes.next().is_none() {
            return fields;
        }
    }
}

/// Returns the bytes that a field and its encoding are for.
fn decoded(field: &Field, encoding: &Field) -> Option<Vec<u8>> {
    match &*encoding.0 {
        b"" => {
            assert_eq!(*field, (Vec::new(), false));
            None
        }
        b"text" => {
            assert!(field.1, "text is between quotes, so that empty is not null");
            Some(field.0.clone())
        }
        encoding => {
            assert_eq!(encoding, b"base64");
            Some(data_encoding::BASE64.decode(&field.0).unwrap())
        }
    }
}

#[test]
fn the_names_are_formats_and_anything_else_without_a_token_is_not() {
    assert_eq!(format("jsonl"), TextFormat::JsonLines);
    assert_eq!(format("csv"), TextFormat::Csv);
    assert_eq!(format("value"), format("%s\\n"));
    assert_eq!(format("key-value"), format("%k\\t%s\\n"));
    for text in ["", "json", "values", "CSV", "\\n"] {
        let error = text.parse::<TextFormat>().unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{text}`")) && error.contains("key-value"),
            "{error}"
        );
    }
}

#[test]
fn a_template_has_the_tokens_and_escapes_of_kcat() {
    let headers = [
        Header {
            name: b"a",
            value: Some(b"1"),
        },
        Header {
            name: b"b",
            value: None,
        },
        Header {
            name: b"a",
            value: Some(b""),
        },
    ];
    let headers = Headers::Slice(&headers);
    let record = Record {
        headers,
        ..record(Some(b"key"), Some(b"a value"))
    };
    for (template, expected) in [
        ("%k=%s", "key=a value"),
        ("%K %S", "3 7"),
        ("%R", "\0\0\0\x07"),
        ("%h", "a=1,b=NULL,a="),
        (
            "%t [%p] at offset %o: %T",
            "orders [3] at offset 42: 1763800000123",
        ),
        ("100%% of %k%%", "100% of key%"),
        ("%k\\n\\r\\t\\\\\\0\\x41\\x7e", "key\n\r\t\\\0A~"),
        ("%kk%s%%s ä\n", "keyka value%s ä\n"),
    ] {
        assert_eq!(printed(template, &record), expected, "{template}");
    }
    assert_eq!(render(&format("%o\\xff\\x0a"), &record), b"42\xff\n");
}

#[test]
fn an_unknown_token_or_escape_is_named() {
    for (template, says) in [
        ("%k%v", "`%v` is not a token; valid are %k key, %s value"),
        ("%", "ends after `%`; write `%%`"),
        ("%k\\", "ends after `\\`; write `\\\\`"),
        ("%k\\q", "`\\q` is not an escape; valid are \\n"),
        ("%k\\x4", "`\\x4` is not"),
        ("%k\\x+1", "`\\x+1` is not"),
        ("%kä%ä", "`%ä`"),
    ] {
        let error = template.parse::<TextFormat>().unwrap_err().to_string();
        assert!(error.contains(says), "{template}: {error}");
    }
}

#[test]
fn null_is_nothing_unless_it_has_a_marker() {
    let null = record(None, None);
    assert_eq!(printed("key-value", &null), "\t\n");
    assert_eq!(printed("value", &null), "\n");
    assert_eq!(
        render(&format("%K %S %R"), &null),
        b"-1 -1 \xff\xff\xff\xff"
    );
}

#[test]
fn a_marker_is_for_null_and_not_for_empty() {
    let headers = [Header {
        name: b"h",
        value: None,
    }];
    let null = Record {
        headers: Headers::Slice(&headers),
        ..record(None, None)
    };
    let format = format("%k|%s|%h");
    let renderer = TextRenderer::new(&format, "orders", 3.into(), Some("<null>"));
    let mut out = Vec::new();
    renderer.render(&null, &mut out);
    renderer.render(&record(Some(b""), Some(b"")), &mut out);
    assert_eq!(out, b"<null>|<null>|h=<null>||");
}

#[test]
fn csv_distinguishes_null_empty_text_and_bytes() {
    let line = |key, value| printed("csv", &record(key, value));
    let start = "orders,3,42,1763800000123,2025-11-22T08:26:40.123Z,";
    for (key, value, expected) in [
        (None, None, ",,,,\"[]\""),
        (Some(&b""[..]), Some(&b""[..]), "\"\",text,\"\",text,\"[]\""),
        (
            Some(b"a,b"),
            Some(b"say \"hi\"\r\n"),
            "\"a,b\",text,\"say \"\"hi\"\"\r\n\",text,\"[]\"",
        ),
        (
            Some(b"\xff\0"),
            Some(b"a\0b"),
            "/wA=,base64,YQBi,base64,\"[]\"",
        ),
    ] {
        assert_eq!(line(key, value), format!("{start}{expected}\r\n"));
    }
    let none = Record {
        timestamp: -1,
        ..record(None, None)
    };
    assert!(printed("csv", &none).starts_with("orders,3,42,-1,,,"));
    let columns = csv_fields(format("csv").head()).len();
    assert_eq!(csv_fields(line(None, None).as_bytes()).len(), columns);
}

#[test]
fn hex_is_one_line_whatever_it_holds() {
    let headers = [
        Header {
            name: b"a\t",
            value: Some(b"\n="),
        },
        Header {
            name: b"",
            value: None,
        },
    ];
    let all = Record {
        headers: Headers::Slice(&headers),
        ..record(Some(b"\0\xff"), Some(b""))
    };
    assert_eq!(
        printed("hex", &all),
        "orders\t3\t42\t1763800000123\t00ff\t\t6109=0a3d,=-\n"
    );
    assert_eq!(
        printed("hex", &record(None, None)),
        "orders\t3\t42\t1763800000123\t-\t-\t\n"
    );
    let renderer = TextRenderer::new(&TextFormat::Hex, "a\tb%", 0.into(), None);
    let mut out = Vec::new();
    renderer.render(&record(None, None), &mut out);
    assert!(out.starts_with(b"a%09b%25\t0\t42\t"));
}

/// What is left of records in the format `raw`, and how it is read.
struct Raw<'a>(&'a [u8]);

impl Raw<'_> {
    fn number<const N: usize>(&mut self) -> [u8; N] {
        let (number, rest) = self.0.split_first_chunk::<N>().unwrap();
        self.0 = rest;
        *number
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(i32::from_be_bytes(self.number())).ok()?;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes.to_vec())
    }
}

proptest! {
    #[test]
    fn raw_records_are_read_back_by_their_lengths(
        offset in 0..=i64::MAX,
        timestamp: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        names in prop::collection::vec((any::<Vec<u8>>(), any::<Option<Vec<u8>>>()), 0..4),
    ) {
        let headers: Vec<_> = names
            .iter()
            .map(|(name, value)| Header { name, value: value.as_deref() })
            .collect();
        let one = Record {
            offset, timestamp, control: false,
            key: key.as_deref(), value: value.as_deref(),
            headers: Headers::Slice(&headers),
        };
        let two = [render(&TextFormat::Raw, &one), render(&TextFormat::Raw, &one)].concat();
        let mut raw = Raw(&two);
        for _ in 0..2 {
            let length = u32::from_be_bytes(raw.number()) as usize;
            let before = raw.0.len();
            prop_assert_eq!(raw.bytes(), Some(b"orders".to_vec()));
            prop_assert_eq!(i32::from_be_bytes(raw.number()), 3);
            prop_assert_eq!(i64::from_be_bytes(raw.number()), offset);
            prop_assert_eq!(i64::from_be_bytes(raw.number()), timestamp);
            prop_assert_eq!(raw.bytes(), key.clone());
            prop_assert_eq!(raw.bytes(), value.clone());
            let count = u32::from_be_bytes(raw.number());
            let found: Vec<_> = (0..count).map(|_| (raw.bytes(), raw.bytes())).collect();
            let expected: Vec<_> = names.iter().map(|(name, value)| (Some(name.clone()), value.clone())).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(before - raw.0.len(), length);
        }
        prop_assert!(raw.0.is_empty());
    }
}

#[test]
fn control_records_are_not_printed() {
    let control = Record {
        control: true,
        ..record(Some(b"k"), None)
    };
    for name in ["jsonl", "csv", "value", "key-value", "hex", "raw", "%o\n"] {
        assert_eq!(printed(name, &control), "", "{name}");
    }
}

#[test]
fn only_what_a_template_prints_is_decoded() {
    let cases = [
        ("jsonl", Streams::All),
        ("csv", Streams::All),
        ("hex", Streams::All),
        ("raw", Streams::All),
        ("value", Streams::Values),
        ("key-value", Streams::KeysAndValues),
        ("%k %S\n", Streams::KeysAndValues),
        ("%h", Streams::Headers),
        ("%h %k", Streams::All),
        ("%R", Streams::Values),
        ("%o %K\n", Streams::Keys),
        ("%k", Streams::Keys),
        ("%t %p %o %T %%\n", Streams::Meta),
    ];
    for (text, streams) in cases {
        assert_eq!(format(text).streams(), streams, "{text}");
    }
}

proptest! {
    #[test]
    fn no_record_is_lost_in_csv_and_the_others_are_its_bytes(
        topic in "[a-z,\"\r\n]{0,5}",
        offset in 0..=i64::MAX,
        timestamp: i64,
        key: Option<Vec<u8>>,
        text: Option<String>,
        quotes in "[\",\r\n x]{0,12}",
        name: Vec<u8>,
    ) {
        let value = text.as_deref().map(str::as_bytes);
        let headers = [
            Header { name: &name, value: Some(quotes.as_bytes()) },
            Header { name: b"n", value: None },
        ];
        for value in [value, Some(quotes.as_bytes())] {
            let record = Record {
                offset, timestamp, control: false,
                key: key.as_deref(), value,
                headers: Headers::Slice(&headers),
            };
            let renderer = TextRenderer::new(&TextFormat::Csv, &topic, 7.into(), None);
            let mut line = Vec::new();
            renderer.render(&record, &mut line);
            let fields = csv_fields(&line);
            prop_assert_eq!(fields.len(), 10);
            prop_assert_eq!(&fields[0].0, topic.as_bytes());
            prop_assert_eq!(&fields[1].0, b"7");
            prop_assert_eq!(&fields[2].0, &offset.to_string().into_bytes());
            prop_assert_eq!(&fields[3].0, &timestamp.to_string().into_bytes());
            prop_assert_eq!(decoded(&fields[5], &fields[6]), record.key.map(<[u8]>::to_vec));
            prop_assert_eq!(decoded(&fields[7], &fields[8]), record.value.map(<[u8]>::to_vec));

            // Time and headers are those of the JSON line.
            let renderer = Renderer::new(&topic, 7.into());
            let mut json = Vec::new();
            renderer.render(View::Records, &record, &mut json);
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let found: serde_json::Value = serde_json::from_slice(&fields[9].0).unwrap();
            prop_assert_eq!(&found, &json["headers"]);
            let time = json["time"].as_str().unwrap_or_default();
            prop_assert_eq!(&fields[4].0, time.as_bytes());

            let bytes = value.unwrap_or_default();
            prop_assert_eq!(render(&format("value"), &record), [bytes, b"\n"].concat());
            let both = [record.key.unwrap_or_default(), b"\t", bytes, b"\n"].concat();
            prop_assert_eq!(render(&format("key-value"), &record), both);
            let mut view = Vec::new();
            Renderer::new("orders", 3.into()).render(View::Records, &record, &mut view);
            prop_assert_eq!(render(&TextFormat::JsonLines, &record), view);
        }
    }
}
