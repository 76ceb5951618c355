//! Jinja as Python's library and transformers have it, made of minijinja: what its own functions, filters and methods do
//! otherwise, or lack.

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat;

use super::{filters, methods, python};

/// An environment without any template.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(|state, value, method, arguments| match methods::call(
        value, method, arguments,
    )? {
        Some(found) => Ok(found),
        None => pycompat::unknown_method_callback(state, value, method, arguments),
    });
    environment.set_formatter(|out, _, value| {
        let mut text = String::new();
        let written = python::text(value, &mut text).and_then(|()| out.write_str(&text));
        written.map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
    });
    environment.add_function(
        "raise_exception",
        |message: Value| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
        },
    );
    filters::add(&mut environment);
    environment
}

/// The template without `{% generation %}` and `{% endgeneration %}`, which only training looks at: what lies between them
/// stays, and so do the signs that cut white space.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let inside = tag[2..].split_once("%}");
        match inside.map(|(inside, _)| (inside, inside.trim_matches(['-', '+']).trim())) {
            Some((inside, "generation" | "endgeneration")) => {
                // A tag that does nothing, and cuts white space as this one does.
                let first = if inside.starts_with('-') { "-" } else { "" };
                let last = if inside.ends_with('-') { "-" } else { "" };
                out.push_str(&format!("{{%{first} if true %}}{{% endif {last}%}}"));
                rest = &tag[2 + inside.len() + 2..];
            }
            _ => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
}
