//! Values as Python writes them, since templates are written for Jinja in Python: `str`, `repr` and `json.dumps`.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// `str(value)`, what a template prints.
pub(super) fn text(value: &Value, out: &mut dyn Write) -> std::fmt::Result {
    match value.as_str() {
        Some(text) => out.write_str(text),
        None if value.is_undefined() => Ok(()),
        None => repr(value, out),
    }
}

/// `repr(value)`, what is printed inside lists and mappings.
fn repr(value: &Value, out: &mut dyn Write) -> std::fmt::Result {
    match value.kind() {
        ValueKind::Undefined => out.write_str("Undefined"),
        ValueKind::None => out.write_str("None"),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => number(value, out),
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.write_char('[')?;
            for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
                out.write_str(if index == 0 { "" } else { ", " })?;
                repr(&item, out)?;
            }
            out.write_char(']')
        }
        ValueKind::Map => {
            out.write_char('{')?;
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.write_str(if index == 0 { "" } else { ", " })?;
                repr(&key, out)?;
                out.write_str(": ")?;
                repr(&value.get_item(&key).unwrap_or_default(), out)?;
            }
            out.write_char('}')
        }
        _ => write!(out, "{value}"),
    }
}

fn number(value: &Value, out: &mut dyn Write) -> std::fmt::Result {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => out.write_str(&float_text(float)),
        _ => write!(out, "{value}"),
    }
}

/// The shortest digits that give the number back, with an exponent below 1e-4 and from 1e16 on.
fn float_text(float: f64) -> String {
    if float.is_nan() {
        return "nan".into();
    }
    if float.is_infinite() {
        return if float > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if float != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{float}");
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}

/// A string in quotes: double ones where it holds single ones only.
fn quoted(text: &str, out: &mut dyn Write) -> std::fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.write_char(quote)?;
    for sign in text.chars() {
        match sign {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            sign if sign == quote => write!(out, "\\{sign}")?,
            sign if is_printable(sign) => out.write_char(sign)?,
            sign if u32::from(sign) < 0x100 => write!(out, "\\x{:02x}", u32::from(sign))?,
            sign if u32::from(sign) < 0x10000 => write!(out, "\\u{:04x}", u32::from(sign))?,
            sign => write!(out, "\\U{:08x}", u32::from(sign))?,
        }
    }
    out.write_char(quote)
}

/// What Python's `str.strip` takes away.
pub(super) fn is_space(sign: char) -> bool {
    sign.is_whitespace() || matches!(sign, '\u{1c}'..='\u{1f}')
}

/// The first letter of every word large, all others small; what ends a word is the caller's to say.
pub(super) fn titled(text: &str, ends_word: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for sign in text.chars() {
        if begins {
            // Of a letter that becomes several, such as \u{df}, only the first is large.
            let mut large = sign.to_uppercase();
            out.extend(large.next());
            large.for_each(|rest| out.extend(rest.to_lowercase()));
        } else {
            out.extend(sign.to_lowercase());
        }
        begins = ends_word(sign);
    }
    out
}

/// Roughly what Python shows as it is: no controls, no spaces but the plain one, no format signs, nothing private.
fn is_printable(sign: char) -> bool {
    let hidden = sign.is_control()
        || (sign.is_whitespace() && sign != ' ')
        || matches!(sign,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}');
    !hidden
}

/// How JSON is written.
struct Json {
    indent: Option<String>,
    between: String,
    colon: String,
    ascii: bool,
    sorted: bool,
}

/// The filter `tojson`: `json.dumps(value, ensure_ascii=False)`, with its further arguments by name.
pub(super) fn to_json(
    value: &Value,
    ascii: Option<Value>,
    arguments: Kwargs,
) -> Result<String, Error> {
    let bad = |what: &str| Error::new(ErrorKind::InvalidOperation, what.to_owned());
    let indent: Option<Value> = arguments.get("indent")?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match (indent.as_str(), indent.as_i64()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(count)) => " ".repeat(usize::try_from(count.clamp(0, 64)).unwrap_or(0)),
            (None, None) => return Err(bad("indent must be a number or a text")),
        }),
    };
    let separators: Option<(String, String)> = match arguments.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            let part = |index: usize| pair.get_item_by_index(index).map(|part| part.to_string());
            Some((part(0)?, part(1)?))
        }
        _ => None,
    };
    let by_name: Option<Value> = arguments.get("ensure_ascii")?;
    let sorted: Option<Value> = arguments.get("sort_keys")?;
    arguments.assert_all_used()?;
    let comma = if indent.is_some() { "," } else { ", " };
    let (between, colon) = separators.unwrap_or_else(|| (comma.into(), ": ".into()));
    let json = Json {
        indent,
        between,
        colon,
        ascii: ascii.or(by_name).is_some_and(|ascii| ascii.is_true()),
        sorted: sorted.is_some_and(|sorted| sorted.is_true()),
    };
    let mut out = String::new();
    json.write(value, 0, &mut out)?;
    Ok(out)
}

impl Json {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        let bad = |what: String| Error::new(ErrorKind::InvalidOperation, what);
        if depth > 64 {
            return Err(bad("too many values inside one another".into()));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let mut text = String::new();
                let _ = number(value, &mut text);
                out.push_str(match text.as_str() {
                    "nan" => "NaN",
                    "inf" => "Infinity",
                    "-inf" => "-Infinity",
                    other => other,
                });
            }
            ValueKind::String => self.quote(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.enclosed('[', ']', items.len(), depth, out, |index, out| {
                    self.write(&items[index], depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort_by_key(ToString::to_string);
                }
                self.enclosed('{', '}', keys.len(), depth, out, |index, out| {
                    let key = &keys[index];
                    match key.as_str() {
                        Some(text) => self.quote(text, out),
                        None => {
                            let mut text = String::new();
                            self.write(key, depth + 1, &mut text)?;
                            self.quote(&text, out);
                        }
                    }
                    out.push_str(&self.colon);
                    self.write(&value.get_item(key)?, depth + 1, out)
                })?;
            }
            other => return Err(bad(format!("{other} is not JSON serializable"))),
        }
        Ok(())
    }

    fn enclosed(
        &self,
        open: char,
        close: char,
        count: usize,
        depth: usize,
        out: &mut String,
        mut item: impl FnMut(usize, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = self.indent.as_ref().filter(|_| count > 0) {
                out.push('\n');
                (0..depth).for_each(|_| out.push_str(indent));
            }
        };
        for index in 0..count {
            if index > 0 {
                out.push_str(&self.between);
            }
            line(out, depth + 1);
            item(index, out)?;
        }
        line(out, depth);
        out.push(close);
        Ok(())
    }

    fn quote(&self, text: &str, out: &mut String) {
        out.push('"');
        for sign in text.chars() {
            match sign {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                sign if u32::from(sign) < 0x20 => {
                    let _ = write!(out, "\\u{:04x}", u32::from(sign));
                }
                sign if self.ascii && (!sign.is_ascii() || sign == '\u{7f}') => {
                    for unit in sign.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                sign => out.push(sign),
            }
        }
        out.push('"');
    }
}
