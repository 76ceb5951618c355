//! Methods of Python's strings and lists that minijinja's own collection lacks or has otherwise.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind};

use super::python::{is_space, titled};

/// Calls a method; `None` where it is none of these.
pub(super) fn call(
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => of_text(text, method, arguments),
        (None, ValueKind::Seq) => of_list(value, method, arguments),
        _ => Ok(None),
    }
}

fn of_text(text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let missing = |what: &str| Error::new(ErrorKind::InvalidOperation, what.to_owned());
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (signs,): (Option<String>,) = from_args(arguments)?;
            let cut = |sign: char| match &signs {
                Some(signs) => signs.contains(sign),
                None => is_space(sign),
            };
            Value::from(match method {
                "strip" => text.trim_matches(cut),
                "lstrip" => text.trim_start_matches(cut),
                _ => text.trim_end_matches(cut),
            })
        }
        "title" => Value::from(titled(text, |sign| !sign.is_alphabetic())),
        "swapcase" => {
            let swapped = text.chars().map(|sign| match sign.is_uppercase() {
                true => sign.to_lowercase().to_string(),
                false => sign.to_uppercase().to_string(),
            });
            Value::from(swapped.collect::<String>())
        }
        "index" => {
            let (part,): (String,) = from_args(arguments)?;
            let at = text
                .find(&part)
                .ok_or_else(|| missing("substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "rsplit" => {
            let (by, most): (String, Option<usize>) = from_args(arguments)?;
            let mut parts: Vec<&str> = match most {
                Some(most) => text.rsplitn(most + 1, &by).collect(),
                None => text.rsplit(&by).collect(),
            };
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        "partition" => {
            let (by,): (String,) = from_args(arguments)?;
            let (before, after) = text.split_once(&by).unwrap_or((text, ""));
            let by = if before.len() == text.len() { "" } else { &by };
            [before, by, after].map(Value::from).into_iter().collect()
        }
        "removeprefix" => {
            let (prefix,): (String,) = from_args(arguments)?;
            Value::from(text.strip_prefix(&prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (String,) = from_args(arguments)?;
            Value::from(text.strip_suffix(&suffix).unwrap_or(text))
        }
        "zfill" | "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<char>) = from_args(arguments)?;
            let lacking = width.min(1 << 16).saturating_sub(text.chars().count());
            let fill = if method == "zfill" {
                '0'
            } else {
                fill.unwrap_or(' ')
            };
            // Where both sides cannot be equal, Python makes the left one longer in a width that is odd.
            let before = match method {
                "ljust" => 0,
                "center" => lacking / 2 + (lacking & width & 1),
                _ => lacking,
            };
            let filled = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
            Value::from(format!(
                "{}{text}{}",
                filled(before),
                filled(lacking - before)
            ))
        }
        _ => return Ok(None),
    }))
}

fn of_list(value: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "index" => {
            let (item,): (Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|one| one == item);
            let missing =
                || Error::new(ErrorKind::InvalidOperation, "the value is not in the list");
            Value::from(at.ok_or_else(missing)?)
        }
        "count" => {
            let (item,): (Value,) = from_args(arguments)?;
            Value::from(value.try_iter()?.filter(|one| *one == item).count())
        }
        _ => return Ok(None),
    }))
}
