//! What serde's attributes and the doc comments of a definition say.

use syn::{Attribute, Expr, Lit, LitStr, Meta, token};

/// The attributes of serde, as far as the sources use them.
#[derive(Default)]
pub struct Attributes {
    pub rename: Option<String>,
    pub case: Case,
    pub flatten: bool,
    pub skip: bool,
    /// Whether it is left out where it has no value.
    pub skips_some: bool,
    pub tag: Option<String>,
    pub content: Option<String>,
    pub untagged: bool,
    /// The function that writes it.
    pub with: Option<String>,
    /// The type that it is converted to before it is written.
    pub into: Option<String>,
}

/// How names of the source become names in JSON.
#[derive(Clone, Copy, Default)]
pub enum Case {
    #[default]
    AsIs,
    Snake,
    ScreamingSnake,
    Kebab,
    Lower,
}

impl Case {
    fn named(name: &str) -> Case {
        match name {
            "snake_case" => Case::Snake,
            "SCREAMING_SNAKE_CASE" => Case::ScreamingSnake,
            "kebab-case" => Case::Kebab,
            "lowercase" => Case::Lower,
            other => panic!("serde(rename_all = \"{other}\") is not known here"),
        }
    }

    pub fn of_variant(self, name: &str) -> String {
        let mut snake = String::new();
        for (index, letter) in name.char_indices() {
            if index > 0 && letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        match self {
            Case::AsIs => name.to_owned(),
            Case::Snake => snake,
            Case::ScreamingSnake => snake.to_ascii_uppercase(),
            Case::Kebab => snake.replace('_', "-"),
            Case::Lower => name.to_ascii_lowercase(),
        }
    }

    pub fn of_field(self, name: &str) -> String {
        match self {
            Case::AsIs | Case::Snake | Case::Lower => name.to_owned(),
            Case::ScreamingSnake => name.to_ascii_uppercase(),
            Case::Kebab => name.replace('_', "-"),
        }
    }
}

impl Attributes {
    pub fn of(attributes: &[Attribute]) -> Attributes {
        let mut found = Attributes::default();
        for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
            let parsed = attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().unwrap().to_string();
                let value = if meta.input.peek(syn::Token![=]) {
                    meta.value()?.parse::<LitStr>()?.value()
                } else {
                    assert!(!meta.input.peek(token::Paren), "serde({name}(...))");
                    String::new()
                };
                match &*name {
                    "rename" => found.rename = Some(value),
                    "rename_all" => found.case = Case::named(&value),
                    "flatten" => found.flatten = true,
                    "skip" | "skip_serializing" => found.skip = true,
                    "skip_serializing_if" => found.skips_some = true,
                    "tag" => found.tag = Some(value),
                    "content" => found.content = Some(value),
                    "untagged" => found.untagged = true,
                    "serialize_with" => found.with = Some(value),
                    "into" => found.into = Some(value),
                    // These are about reading, or change nothing for types of one field.
                    "deserialize_with"
                    | "default"
                    | "try_from"
                    | "transparent"
                    | "deny_unknown_fields"
                    | "expecting" => {}
                    other => panic!("serde({other}) is not known here"),
                }
                Ok(())
            });
            parsed.unwrap();
        }
        found
    }

    /// Returns whether these attributes derive `Serialize`.
    pub fn derives(attributes: &[Attribute]) -> bool {
        let derives = attributes.iter().filter(|it| it.path().is_ident("derive"));
        let mut lists = derives.filter_map(|it| it.meta.require_list().ok());
        lists.any(|list| {
            let mut words = list.tokens.clone().into_iter();
            words.any(|word| word.to_string() == "Serialize")
        })
    }
}

/// Returns the first paragraph of a doc comment, in the words of JSON.
pub fn doc(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        let Meta::NameValue(pair) = &attribute.meta else {
            continue;
        };
        let Expr::Lit(value) = &pair.value else {
            continue;
        };
        let (true, Lit::Str(line)) = (pair.path.is_ident("doc"), &value.lit) else {
            continue;
        };
        let line = line.value();
        if line.trim().is_empty() {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line.trim());
    }
    without_links(&text).replace("`None`", "null")
}

/// Replaces links of the documentation by their text.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        let Some((label, after)) = after.split_once(']') else {
            plain.push('[');
            rest = after;
            continue;
        };
        let target = after.strip_prefix('(').and_then(|it| it.split_once(')'));
        // Only links: `[]` of other kinds stay.
        if label.starts_with('`') || target.is_some() {
            plain.push_str(label);
            rest = target.map_or(after, |(_, rest)| rest);
        } else {
            plain.push('[');
            plain.push_str(label);
            plain.push(']');
            rest = after;
        }
    }
    plain + rest
}
