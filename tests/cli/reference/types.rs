//! The types that are written as JSON, read from the sources: what serde's derive makes of them, and their doc comments.
//!
//! Only what the sources use is understood. Anything else fails with the name of the type, so that the page is never silently wrong.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use syn::{Fields, GenericArgument, Item, PathArguments, Type};

use super::attributes::{Attributes, doc};

/// What a member holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A value without parts, by the name that the page has for it.
    Plain(&'static str),
    /// One of these words, or with `true` also others.
    Words(Vec<String>, bool),
    Nullable(Box<Kind>),
    Array(Box<Kind>),
    /// An object with any names.
    Map(Box<Kind>),
    Object(Vec<Field>),
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub doc: String,
    /// When it is present, unless that is always.
    pub only: Option<String>,
}

/// A definition in a file.
struct Definition {
    file: String,
    item: Item,
}

/// All structs and enums of the sources, by name.
pub struct Types {
    definitions: HashMap<String, Vec<Definition>>,
}

/// Where a type is named: in which file, and what the generic parameters are there.
#[derive(Clone)]
struct Scope {
    file: String,
    generics: BTreeMap<String, (Type, Box<Scope>)>,
}

/// Types whose `Serialize` is written by hand, and the type that it writes.
const BY_HAND: [(&str, &str); 2] = [
    ("RestorePlan", "PlanJson"),
    ("RecordSelection", "SelectionJson"),
];

/// Types of other crates and strings in all but name.
const STRINGS: [&str; 8] = [
    "String", "str", "PathBuf", "Path", "Id", "Digest", "Hex", "RepoUrl",
];

impl Types {
    /// Reads the sources of the crates whose types are written.
    pub fn read() -> Types {
        let mut types = Types {
            definitions: HashMap::new(),
        };
        for folder in ["src", "tools/src", "format/src"] {
            types.read_folder(Path::new(env!("CARGO_MANIFEST_DIR")), folder);
        }
        types
    }

    fn read_folder(&mut self, root: &Path, folder: &str) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                self.read_folder(root, &path);
            } else if path.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).unwrap();
                let parsed = syn::parse_file(&text).unwrap();
                for item in parsed.items {
                    let name = match &item {
                        Item::Struct(item) => item.ident.to_string(),
                        Item::Enum(item) => item.ident.to_string(),
                        _ => continue,
                    };
                    let file = path.clone();
                    let named = self.definitions.entry(name).or_default();
                    named.push(Definition { file, item });
                }
            }
        }
    }

    /// Returns the members of a type as it is named in a file, such as `WithAcls<ConfigPlan, AclsPlan>`.
    pub fn members(&self, file: &str, name: &str) -> Vec<Field> {
        let scope = Scope {
            file: file.to_owned(),
            generics: BTreeMap::new(),
        };
        match self.kind(&syn::parse_str(name).unwrap(), &scope) {
            Kind::Object(fields) => fields,
            other => panic!("{name} in {file} is not an object: {other:?}"),
        }
    }

    fn kind(&self, named: &Type, scope: &Scope) -> Kind {
        let path = match named {
            Type::Reference(reference) => return self.kind(&reference.elem, scope),
            Type::Slice(slice) => return Kind::Array(Box::new(self.kind(&slice.elem, scope))),
            Type::Array(array) => return Kind::Array(Box::new(self.kind(&array.elem, scope))),
            Type::Path(path) => path.path.segments.last().unwrap(),
            _ => panic!("a type in {} has no name", scope.file),
        };
        let name = path.ident.to_string();
        let arguments: Vec<&Type> = match &path.arguments {
            PathArguments::AngleBracketed(arguments) => {
                let arguments = arguments.args.iter();
                arguments
                    .filter_map(|argument| match argument {
                        GenericArgument::Type(argument) => Some(argument),
                        _ => None,
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        let inner = |index: usize| Box::new(self.kind(arguments[index], scope));
        match &*name {
            name if STRINGS.contains(&name) => Kind::Plain("string"),
            "bool" => Kind::Plain("boolean"),
            "f64" => Kind::Plain("number"),
            "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => {
                Kind::Plain("integer")
            }
            // An alias, which a definition cannot be found for.
            "ViewSizes" => Kind::Array(Box::new(Kind::Plain("integer"))),
            "Timestamp" => Kind::Plain("time"),
            "Option" => match *inner(0) {
                Kind::Nullable(kind) => Kind::Nullable(kind),
                kind => Kind::Nullable(Box::new(kind)),
            },
            "Box" | "Arc" | "Cow" => *inner(0),
            "Vec" | "BTreeSet" => Kind::Array(inner(0)),
            "BTreeMap" => Kind::Map(inner(1)),
            name => {
                if let Some((named, scope)) = scope.generics.get(name) {
                    return self.kind(named, scope);
                }
                self.defined(name, &arguments, scope)
            }
        }
    }

    /// Returns the definition of a name: that of the same file, or else the only one.
    fn find(&self, name: &str, file: &str) -> &Definition {
        let by_hand = BY_HAND.iter().find(|(by_hand, _)| *by_hand == name);
        let name = by_hand.map_or(name, |(_, written)| written);
        let found = self.definitions.get(name);
        let found = found.unwrap_or_else(|| panic!("{file} writes {name}, which is not known"));
        let same = found.iter().find(|definition| definition.file == file);
        let written = || {
            let is_written = |definition: &&Definition| match &definition.item {
                Item::Struct(item) => Attributes::derives(&item.attrs),
                Item::Enum(item) => Attributes::derives(&item.attrs),
                _ => false,
            };
            let mut written = found.iter().filter(is_written);
            let (first, second) = (written.next(), written.next());
            assert!(
                second.is_none(),
                "{file} writes {name}: which of several types is that?"
            );
            first.unwrap_or_else(|| panic!("{file} writes {name}, which does not derive Serialize"))
        };
        same.unwrap_or_else(written)
    }

    fn defined(&self, name: &str, arguments: &[&Type], scope: &Scope) -> Kind {
        let Definition { file, item } = self.find(name, &scope.file);
        let (generics, attributes) = match item {
            Item::Struct(item) => (&item.generics, &item.attrs),
            Item::Enum(item) => (&item.generics, &item.attrs),
            _ => unreachable!("only these are kept"),
        };
        let parameters = generics.type_params().map(|it| it.ident.to_string());
        let given = arguments
            .iter()
            .map(|it| ((*it).clone(), Box::new(scope.clone())));
        let scope = Scope {
            file: file.clone(),
            generics: parameters.zip(given).collect(),
        };
        let attributes = Attributes::of(attributes);
        if let Some(into) = &attributes.into {
            return self.kind(&syn::parse_str(into).unwrap(), &scope);
        }
        match item {
            Item::Struct(item) => self.of_fields(&item.fields, &attributes, &scope),
            Item::Enum(item) => self.of_enum(item, &attributes, &scope),
            _ => unreachable!("only these are kept"),
        }
    }

    /// Returns what a struct or a variant is written as.
    fn of_fields(&self, fields: &Fields, of: &Attributes, scope: &Scope) -> Kind {
        match fields {
            Fields::Unit => Kind::Object(Vec::new()),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                self.kind(&fields.unnamed[0].ty, scope)
            }
            Fields::Unnamed(_) => panic!("{}: name these fields", scope.file),
            Fields::Named(fields) => {
                let fields = fields.named.iter();
                Kind::Object(
                    fields
                        .flat_map(|field| self.of_field(field, of, scope))
                        .collect(),
                )
            }
        }
    }

    fn of_field(&self, field: &syn::Field, of: &Attributes, scope: &Scope) -> Vec<Field> {
        let attributes = Attributes::of(&field.attrs);
        if attributes.skip {
            return Vec::new();
        }
        if attributes.flatten {
            return match self.kind(&field.ty, scope) {
                Kind::Object(fields) => fields,
                // The contents of what may be damaged.
                Kind::Nullable(contents) => match *contents {
                    Kind::Object(fields) => sometimes(fields, "if it can be read"),
                    other => panic!("{}: cannot flatten {other:?}", scope.file),
                },
                other => panic!("{}: cannot flatten {other:?}", scope.file),
            };
        }
        let name = field.ident.as_ref().unwrap().to_string();
        let name = name.trim_start_matches("r#");
        let kind = match attributes.with.as_deref() {
            Some("whole_seconds") => Kind::Plain("integer"),
            Some(other) => panic!("{}: what does {other} write?", scope.file),
            None => self.kind(&field.ty, scope),
        };
        let own = doc(&field.attrs);
        vec![Field {
            name: attributes.rename.unwrap_or_else(|| of.case.of_field(name)),
            doc: if own.is_empty() {
                self.doc_of_type(&field.ty, scope)
            } else {
                own
            },
            kind: if is_time(name) { as_time(kind) } else { kind },
            only: attributes.skips_some.then(|| "if there is one".to_owned()),
        }]
    }

    /// Returns the doc comment of the type that is named: what a field without one is.
    fn doc_of_type(&self, named: &Type, scope: &Scope) -> String {
        let named = match named {
            Type::Reference(reference) => &*reference.elem,
            named => named,
        };
        let Type::Path(path) = named else {
            return String::new();
        };
        let segment = path.path.segments.last().unwrap();
        if let PathArguments::AngleBracketed(arguments) = &segment.arguments {
            let mut types = arguments.args.iter();
            return types
                .find_map(|argument| match argument {
                    GenericArgument::Type(inner) => Some(self.doc_of_type(inner, scope)),
                    _ => None,
                })
                .unwrap_or_default();
        }
        let name = segment.ident.to_string();
        if let Some((named, scope)) = scope.generics.get(&name) {
            return self.doc_of_type(named, scope);
        }
        if STRINGS.contains(&&*name) || !self.definitions.contains_key(&name) {
            return String::new();
        }
        match &self.find(&name, &scope.file).item {
            Item::Struct(item) => doc(&item.attrs),
            Item::Enum(item) => doc(&item.attrs),
            _ => String::new(),
        }
    }

    fn of_enum(&self, item: &syn::ItemEnum, of: &Attributes, scope: &Scope) -> Kind {
        let named = |variant: &syn::Variant| {
            let own = Attributes::of(&variant.attrs);
            own.rename
                .unwrap_or_else(|| of.case.of_variant(&variant.ident.to_string()))
        };
        let is_other = |variant: &&syn::Variant| Attributes::of(&variant.attrs).untagged;
        let all = item.variants.iter();
        let variants: Vec<_> = all.filter(|variant| !is_other(variant)).collect();
        let words: Vec<String> = variants.iter().map(|variant| named(variant)).collect();
        let units = variants
            .iter()
            .all(|variant| matches!(variant.fields, Fields::Unit));
        if let Some(tag) = &of.tag {
            let contents = |variant: &syn::Variant| match (&of.content, &variant.fields) {
                (_, Fields::Unit) => Vec::new(),
                (Some(name), fields) => vec![Field {
                    name: name.clone(),
                    kind: self.of_fields(fields, &Attributes::default(), scope),
                    doc: "Its name".to_owned(),
                    only: None,
                }],
                (None, fields) => match self.of_fields(fields, &Attributes::default(), scope) {
                    Kind::Object(fields) => fields,
                    other => panic!("{}: cannot tag {other:?}", scope.file),
                },
            };
            let contents: Vec<_> = variants.iter().map(|variant| contents(variant)).collect();
            let docs = variants.iter().map(|variant| doc(&variant.attrs));
            let docs: Vec<_> = words.iter().cloned().zip(docs).collect();
            let mut fields = vec![Field {
                name: tag.clone(),
                kind: Kind::Words(words.clone(), false),
                doc: explained(&doc(&item.attrs), &docs),
                only: None,
            }];
            fields.extend(merged(tag, &words, contents));
            return Kind::Object(fields);
        }
        if units {
            return Kind::Words(words, variants.len() < item.variants.len());
        }
        let field = |(variant, name): (&&syn::Variant, &String)| Field {
            name: name.clone(),
            kind: self.of_fields(&variant.fields, &Attributes::default(), scope),
            doc: doc(&variant.attrs),
            only: Some("if these are listed".to_owned()),
        };
        Kind::Object(variants.iter().zip(&words).map(field).collect())
    }
}

/// Says what each word stands for.
fn explained(doc: &str, words: &[(String, String)]) -> String {
    let words = words
        .iter()
        .map(|(word, doc)| format!("`{word}`: {}", doc.trim_end_matches('.')));
    format!("{doc} {}", words.collect::<Vec<_>>().join("; "))
}

/// Returns the members that variants have together, each with the variants that have it.
fn merged(tag: &str, words: &[String], contents: Vec<Vec<Field>>) -> Vec<Field> {
    let mut fields: Vec<(Field, Vec<(&String, String)>)> = Vec::new();
    for (word, field) in words
        .iter()
        .zip(contents)
        .flat_map(|(word, all)| all.into_iter().map(move |field| (word, field)))
    {
        let same = fields
            .iter_mut()
            .find(|(other, _)| other.name == field.name);
        let Some((other, of)) = same else {
            let doc = field.doc.clone();
            fields.push((field, vec![(word, doc)]));
            continue;
        };
        of.push((word, field.doc.clone()));
        other.kind = both(tag, other.kind.clone(), field.kind.clone());
        if other.only.is_none() {
            other.only = field.only;
        }
    }
    let all = words.len();
    let field = |(mut field, of): (Field, Vec<(&String, String)>)| {
        let mut docs: Vec<(String, Vec<String>)> = Vec::new();
        for (word, doc) in &of {
            match docs.iter_mut().find(|(other, _)| other == doc) {
                Some((_, words)) => words.push(format!("`{word}`")),
                None => docs.push((doc.clone(), vec![format!("`{word}`")])),
            }
        }
        if docs.len() > 1 {
            let docs = docs
                .iter()
                .map(|(doc, words)| format!("{}: {}", words.join(", "), doc.trim_end_matches('.')));
            field.doc = docs.collect::<Vec<_>>().join("; ");
        }
        if of.len() < all {
            let words: Vec<_> = of.iter().map(|(word, _)| format!("`{word}`")).collect();
            field.only = Some(format!("with `{tag}` {}", words.join(", ")));
        }
        field
    };
    fields.into_iter().map(field).collect()
}

/// Returns the kind that covers both. Only null may be where another value is: a member has one type, whatever it is beside.
fn both(name: &str, one: Kind, another: Kind) -> Kind {
    match (one, another) {
        (one, another) if one == another => one,
        (Kind::Nullable(one), Kind::Nullable(another)) => {
            Kind::Nullable(Box::new(both(name, *one, *another)))
        }
        (Kind::Nullable(one), another) | (another, Kind::Nullable(one)) => {
            Kind::Nullable(Box::new(both(name, *one, another)))
        }
        (Kind::Words(mut words, open), Kind::Words(more, also_open)) => {
            words.extend(more);
            words.dedup();
            Kind::Words(words, open || also_open)
        }
        (Kind::Object(one), Kind::Object(another)) => Kind::Object(union(one, another)),
        (Kind::Array(one), Kind::Array(another)) => {
            Kind::Array(Box::new(both(name, *one, *another)))
        }
        other => panic!("`{name}` is of two types: {other:?}"),
    }
}

/// Returns the members of objects that differ: those that only one has are not always present.
fn union(mut one: Vec<Field>, another: Vec<Field>) -> Vec<Field> {
    const SOME: &str = "of some";
    let lacks = |fields: &[Field], name: &str| !fields.iter().any(|other| other.name == name);
    for field in &mut one {
        if lacks(&another, &field.name) {
            field.only.get_or_insert(SOME.to_owned());
        }
    }
    for field in another {
        match one.iter_mut().find(|other| other.name == field.name) {
            Some(same) => same.kind = both(&field.name, same.kind.clone(), field.kind),
            None => one.extend(sometimes(vec![field], SOME)),
        }
    }
    one
}

/// Returns the fields as those that are present only then.
fn sometimes(mut fields: Vec<Field>, only: &str) -> Vec<Field> {
    for field in &mut fields {
        field.only.get_or_insert(only.to_owned());
    }
    fields
}

/// Returns whether a member of this name is a moment, also where its type is a string.
fn is_time(name: &str) -> bool {
    const TIMES: [&str; 4] = ["since", "until", "since_offset_of", "until_offset_of"];
    name.ends_with("_at") || name.ends_with("_time") || TIMES.contains(&name)
}

fn as_time(kind: Kind) -> Kind {
    match kind {
        Kind::Plain("string") => Kind::Plain("time"),
        Kind::Nullable(kind) => Kind::Nullable(Box::new(as_time(*kind))),
        kind => kind,
    }
}
