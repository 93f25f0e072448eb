//! JSON into values, for what the tests evaluate by themselves. The texts are the
//! tests' own: what is no JSON panics.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// A text.
    Text(String),
    /// Values.
    List(Vec<Value>),
    /// Values with names.
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// The value of `text`.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut rest = text.trim_start();
        let value = value(&mut rest);
        assert!(rest.is_empty(), "behind the value: {rest}");
        value
    }

    /// The value with this name; [`Value::Null`] if there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &Self {
        match self {
            Self::Object(values) => values.get(name).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    /// The values of a list; none of anything else.
    #[must_use]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(values) => values,
            _ => &[],
        }
    }

    /// The texts of a list.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        self.list().iter().filter_map(Self::text).collect()
    }

    /// A text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

fn take(rest: &mut &str, word: &str) -> bool {
    match rest.strip_prefix(word) {
        Some(after) => {
            *rest = after.trim_start();
            true
        }
        None => false,
    }
}

fn value(rest: &mut &str) -> Value {
    for (word, value) in [
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("false", Value::Bool(false)),
    ] {
        if take(rest, word) {
            return value;
        }
    }
    match rest.chars().next() {
        Some('{') => object(rest),
        Some('[') => list(rest),
        Some('"') => Value::Text(text(rest)),
        _ => {
            let end = rest.find(|c: char| !c.is_ascii_digit());
            let (digits, after) = rest.split_at(end.unwrap_or(rest.len()));
            *rest = after.trim_start();
            Value::Number(digits.parse().expect("a number"))
        }
    }
}

fn text(rest: &mut &str) -> String {
    let inner = rest.strip_prefix('"').expect("a text");
    let (text, after) = inner.split_once('"').expect("an end");
    assert!(!text.contains('\\'), "an escape: {text}");
    *rest = after.trim_start();
    text.to_owned()
}

fn list(rest: &mut &str) -> Value {
    let mut values = Vec::new();
    take(rest, "[");
    while !take(rest, "]") {
        values.push(value(rest));
        take(rest, ",");
    }
    Value::List(values)
}

fn object(rest: &mut &str) -> Value {
    let mut values = BTreeMap::new();
    take(rest, "{");
    while !take(rest, "}") {
        let name = text(rest);
        assert!(take(rest, ":"), "no value: {rest}");
        values.insert(name, value(rest));
        take(rest, ",");
    }
    Value::Object(values)
}
