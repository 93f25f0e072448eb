//! JSON, written only.

use std::fmt;

/// A JSON value (RFC 8259).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// A number with a fraction.
    Fraction(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, in the order given.
    Object(Vec<(String, Value)>),
    /// JSON as it is.
    Raw(&'static str),
}

impl Value {
    /// An array.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        Self::List(values.into_iter().collect())
    }

    /// An object.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        )
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Number(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Fraction(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Number(value) => write!(out, "{value}"),
            // JSON has no infinities.
            Self::Fraction(value) if value.is_finite() => write!(out, "{value:.4}"),
            Self::Fraction(_) => out.write_str("null"),
            Self::Text(text) => string(out, text),
            Self::Raw(text) => out.write_str(text),
            Self::List(values) => {
                out.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let separator = if index > 0 { "," } else { "" };
                    write!(out, "{separator}{value}")?;
                }
                out.write_str("]")
            }
            Self::Object(members) => {
                out.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    out.write_str(if index > 0 { "," } else { "" })?;
                    string(out, name)?;
                    write!(out, ":{value}")?;
                }
                out.write_str("}")
            }
        }
    }
}

fn string(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            character if character < ' ' => write!(out, "\\u{:04x}", u32::from(character))?,
            character => write!(out, "{character}")?,
        }
    }
    out.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_json_allows() {
        let value = Value::object([
            ("text", "a \"b\"\n\\".into()),
            (
                "list",
                Value::list([1_u64.into(), 0.5.into(), f64::NAN.into()]),
            ),
            ("none", None::<u64>.into()),
            ("yes", true.into()),
        ]);
        assert_eq!(
            value.to_string(),
            r#"{"text":"a \"b\"\u000a\\","list":[1,0.5000,null],"none":null,"yes":true}"#
        );
    }
}
