//! Reads the imports of a Rust file: a tokenizer that skips comments and strings, and the paths of `use` and of expressions.

use std::collections::BTreeMap;

/// A path in a file that leads out of the file's own module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The start of the path as the file has it: up to the first name after `crate` or `super`.
    pub(crate) text: String,
    /// The whole path, from the crate's root; never empty.
    pub(crate) path: Vec<String>,
}

impl Import {
    pub(crate) fn room(&self) -> &str {
        &self.path[0]
    }
}

/// The names that a module takes from its children with `use`, each with the child that it comes from.
pub(crate) fn exports(source: &str) -> BTreeMap<String, String> {
    let code = code_only(source);
    let tokens = tokens(&code);
    let mut exports = BTreeMap::new();
    for (at, _) in tokens
        .iter()
        .enumerate()
        .filter(|(_, (_, word))| *word == "use")
    {
        let start = match tokens.get(at + 1..) {
            Some([(_, "self"), (_, "::"), ..]) => at + 3,
            _ => at + 1,
        };
        for branch in branches(&tokens, start) {
            if let [child, .., _] = &branch.names[..] {
                exports.insert(branch.bound().to_owned(), (*child).to_owned());
            }
        }
    }
    exports
}

/// The paths in a file of the module `modules` that lead out of it: `crate::…`, and chains of `super`.
pub(crate) fn imports(source: &str, modules: &[String]) -> Vec<Import> {
    let code = code_only(source);
    let tokens = tokens(&code);
    let mut found = Vec::new();
    // Depths of the braces that inline modules opened.
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = tokens[at];
        match token {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2].1 == "mod" {
                    inline.push(depth);
                }
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth -= 1;
            }
            "crate" | "super" | "self" if !follows_path(&tokens, at) => {
                let end = climb(&tokens, at);
                let supers = tokens[at..end]
                    .iter()
                    .filter(|(_, token)| *token == "super")
                    .count();
                let start = tokens[at..end]
                    .iter()
                    .map(|(_, token)| *token)
                    .collect::<String>();
                // Inline modules are climbed first; what stays among them does not leave the file.
                let kept = match token {
                    "crate" => Some(0),
                    _ => supers
                        .checked_sub(inline.len())
                        .filter(|climbed| *climbed > 0)
                        .map(|climbed| modules.len().saturating_sub(climbed)),
                };
                if let (Some(kept), true) = (kept, tokens[end - 1].1 == "::") {
                    for branch in branches(&tokens, end) {
                        let names = branch.names.iter().map(|name| (*name).to_owned());
                        found.push(Import {
                            line,
                            text: format!("{start}{}", branch.names[0]),
                            path: modules[..kept].iter().cloned().chain(names).collect(),
                        });
                    }
                }
                // What follows in the same path cannot climb any further.
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether the token continues a path, where it cannot climb.
fn follows_path(tokens: &[(usize, &str)], at: usize) -> bool {
    at > 0 && tokens[at - 1].1 == "::"
}

/// The end of `crate::` or of a chain `self::super::super::`; `at` itself where no `::` follows.
fn climb(tokens: &[(usize, &str)], mut at: usize) -> usize {
    let start = at;
    while at + 1 < tokens.len()
        && matches!(tokens[at].1, "crate" | "super" | "self")
        && tokens[at + 1].1 == "::"
    {
        at += 2;
    }
    at.max(start + 1)
}

/// One branch of a path: `a::b` and `a::c` are those of `a::{b, c}`.
#[derive(Clone, Debug, Default)]
struct Branch<'a> {
    /// Never empty.
    names: Vec<&'a str>,
    alias: Option<&'a str>,
}

impl<'a> Branch<'a> {
    /// The name that the branch brings into scope.
    fn bound(&self) -> &'a str {
        let named = self.names.iter().rev().find(|name| **name != "self");
        self.alias.or(named.copied()).unwrap_or_default()
    }
}

/// The branches of the path or group that begins at `at`.
fn branches<'a>(tokens: &[(usize, &'a str)], at: usize) -> Vec<Branch<'a>> {
    let mut found = Vec::new();
    collect_branches(tokens, at, &[], &mut found);
    found
}

/// Collects the branches of the path or group that begins at `at`, after `before`, and returns where it ends.
fn collect_branches<'a>(
    tokens: &[(usize, &'a str)],
    mut at: usize,
    before: &[&'a str],
    found: &mut Vec<Branch<'a>>,
) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", |(_, token)| *token);
    if token(at) == "{" {
        at += 1;
        while !matches!(token(at), "}" | "") {
            let end = collect_branches(tokens, at, before, found);
            // A sign that no path begins with is skipped, commas among them.
            at = end.max(at + 1);
        }
        return at + 1;
    }
    let mut names = before.to_vec();
    while is_name(token(at)) {
        names.push(token(at));
        at += 1;
        if token(at) != "::" {
            break;
        }
        at += 1;
        if token(at) == "{" {
            return collect_branches(tokens, at, &names, found);
        }
    }
    if names.len() > before.len() {
        let alias = (token(at) == "as").then(|| token(at + 1));
        at += if alias.is_some() { 2 } else { 0 };
        found.push(Branch { names, alias });
    }
    at
}

fn is_name(token: &str) -> bool {
    token == "*" || token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(length);
            tokens.push((line, token));
            rest = after.trim_start();
        }
    }
    tokens
}

/// The source with comments, strings and character literals blanked, its lines kept.
fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let starts = |at: usize, text: &str| {
        text.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = if starts(at, "//") {
            (at..chars.len())
                .find(|i| chars[*i] == '\n')
                .unwrap_or(chars.len())
        } else if starts(at, "/*") {
            (at..chars.len())
                .find(|i| starts(*i, "*/"))
                .map_or(chars.len(), |i| i + 2)
        } else if let Some(hashes) = raw_string(&chars, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = at + hashes + 2;
            (body..chars.len())
                .find(|i| starts(*i, &close))
                .map_or(chars.len(), |i| i + close.len())
        } else if chars[at] == '"' {
            quoted(&chars, at, '"')
        } else if chars[at] == '\''
            && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\''))
        {
            quoted(&chars, at, '\'')
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        code.push(' ');
        code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
        at = end;
    }
    code
}

/// The number of `#` of a raw string that begins here.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|before| chars[before]);
    let continues_word = before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_');
    if chars[at] != 'r' || continues_word {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}
