//! Filters and tests that Jinja in Python has otherwise than minijinja.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::python::{self, is_space, titled};

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", |value: Value, ascii: Option<Value>, arguments| {
        python::to_json(&value, ascii, arguments)
    });
    environment.add_filter("string", |value: Value| shown(&value));
    environment.add_filter("trim", |value: Value, signs: Option<String>| {
        let cut = |sign: char| match &signs {
            Some(signs) => signs.contains(sign),
            None => is_space(sign),
        };
        shown(&value).trim_matches(cut).to_owned()
    });
    environment.add_filter("title", |value: Value| {
        titled(&shown(&value), |sign| {
            is_space(sign) || "-([{<".contains(sign)
        })
    });
    environment.add_filter("capitalize", |value: Value| {
        let text = shown(&value);
        let mut signs = text.chars();
        let first = signs
            .next()
            .map(|first| titled(&first.to_string(), |_| false));
        first.unwrap_or_default() + &signs.as_str().to_lowercase()
    });
    environment.add_filter(
        "replace",
        |value: Value, from: String, to: String, most: Option<usize>| match most {
            Some(most) => shown(&value).replacen(&from, &to, most),
            None => shown(&value).replace(&from, &to),
        },
    );
    environment.add_filter("wordcount", |value: String| {
        value.split_whitespace().count()
    });
    environment.add_filter("sum", sum);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_test("iterable", |value: Value| match value.kind() {
        ValueKind::None => false,
        ValueKind::Undefined => true,
        _ => value.try_iter().is_ok() || value.as_str().is_some(),
    });
    environment.add_test("sequence", |value: Value| {
        let kinds = [
            ValueKind::Seq,
            ValueKind::String,
            ValueKind::Map,
            ValueKind::Iterable,
            ValueKind::Undefined,
        ];
        kinds.contains(&value.kind())
    });
    environment.add_test("number", |value: Value| {
        [ValueKind::Number, ValueKind::Bool].contains(&value.kind())
    });
}

fn bad(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// A value as it would be printed.
fn shown(value: &Value) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = python::text(value, &mut text);
    text
}

fn length(value: Value) -> Result<usize, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(0),
        _ => value
            .len()
            .ok_or_else(|| bad(format!("{} has no length", value.kind()))),
    }
}

fn sum(values: Value, arguments: Kwargs) -> Result<Value, Error> {
    let attribute: Option<String> = arguments.get("attribute")?;
    let start: Option<Value> = arguments.get("start")?;
    arguments.assert_all_used()?;
    let (mut whole, mut float, mut is_float) = (0i128, 0f64, false);
    let mut add = |value: &Value| -> Result<(), Error> {
        if let Ok(number) = i128::try_from(value.clone()) {
            whole = whole
                .checked_add(number)
                .ok_or_else(|| bad("the sum is too large".into()))?;
        } else {
            is_float = true;
            float += f64::try_from(value.clone())?;
        }
        Ok(())
    };
    start.iter().try_for_each(&mut add)?;
    for value in values.try_iter()? {
        match &attribute {
            Some(name) => add(&value.get_attr(name)?)?,
            None => add(&value)?,
        }
    }
    Ok(match is_float {
        true => Value::from(whole as f64 + float),
        false => Value::from(whole),
    })
}

/// A whole number, towards zero; the default where the value is none.
fn int(value: Value, default: Option<Value>) -> Value {
    let default = || default.clone().unwrap_or_else(|| Value::from(0));
    match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value,
        ValueKind::Number => f64::try_from(value).map_or_else(|_| default(), whole),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim();
            let parsed = text.parse::<i128>().map(Value::from);
            parsed.unwrap_or_else(|_| text.parse::<f64>().map_or_else(|_| default(), whole))
        }
        _ => default(),
    }
}

fn whole(float: f64) -> Value {
    Value::from(float.trunc() as i128)
}

fn float(value: Value, default: Option<f64>) -> f64 {
    let number = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value).ok(),
    };
    number.or(default).unwrap_or(0.0)
}

fn round(
    value: Value,
    digits: Option<i32>,
    method: Option<String>,
    arguments: Kwargs,
) -> Result<Value, Error> {
    let digits = match digits {
        Some(digits) => digits,
        None => arguments.get::<Option<i32>>("precision")?.unwrap_or(0),
    };
    let method = match method {
        Some(method) => method,
        None => arguments
            .get::<Option<String>>("method")?
            .unwrap_or_else(|| "common".into()),
    };
    arguments.assert_all_used()?;
    if value.is_integer() && method == "common" {
        return Ok(value);
    }
    let float = f64::try_from(value)?;
    let factor = 10f64.powi(digits.clamp(-300, 300));
    Ok(Value::from(match method.as_str() {
        "ceil" => (float * factor).ceil() / factor,
        "floor" => (float * factor).floor() / factor,
        // To the nearest as decimal digits have it, halves to even ones.
        "common" if digits >= 0 => {
            let places = usize::try_from(digits.min(300)).unwrap_or(0);
            format!("{float:.places$}").parse().unwrap_or(float)
        }
        "common" => (float * factor).round_ties_even() / factor,
        other => return Err(bad(format!("{other} is no way of rounding"))),
    }))
}
