//! How people name a model on a hub: `HuggingFaceTB/SmolLM2-135M-Instruct`, or its address copied from the browser,
//! with or without revision and file.

use std::fmt;

use super::HubError;

/// The names under which people know Hugging Face's hub; a mirror serves the same models.
const KNOWN_HOSTS: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];
/// The longest part of a name.
const LONGEST: usize = 96;

/// A repository: owner and name, or an old name without owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    owner: Option<String>,
    name: String,
}

impl Repo {
    /// Its parts, as they stand in an address.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.owner.iter().chain([&self.name]).map(String::as_str)
    }

    /// Its name without the owner.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{owner}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Which repository.
    pub repo: Repo,
    /// Which revision, where the address says one.
    pub revision: Option<String>,
    /// Which file, where the address is a file's.
    pub file: Option<String>,
}

/// Reads a name. `host` is the hub that will be asked.
///
/// # Errors
/// Where it is no name of a model on that hub.
pub fn parse(text: &str, host: &str) -> Result<Named, HubError> {
    let wrong = |why: &str| {
        HubError::Name(format!(
            "{text:?} {why}: give OWNER/NAME, such as HuggingFaceTB/SmolLM2-135M-Instruct, or the address of its page"
        ))
    };
    let plain = text.trim().split(['?', '#']).next().unwrap_or_default();
    let has_scheme = ["https://", "http://", "hf://"].iter();
    let without = has_scheme
        .into_iter()
        .find_map(|scheme| plain.strip_prefix(scheme));
    let is_address = without.is_some() && !plain.starts_with("hf://");
    let mut parts = without
        .unwrap_or(plain)
        .trim_matches('/')
        .split('/')
        .peekable();
    let first = parts.peek().copied().unwrap_or_default();
    if KNOWN_HOSTS.contains(&first) || (is_address && first == host) {
        parts.next();
    } else if is_address {
        return Err(wrong(&format!(
            "is at {first}, which is not the hub that is asked ({host}; HF_ENDPOINT names another)"
        )));
    }
    let mut parts = parts.collect::<Vec<_>>();
    match parts.first().copied() {
        Some(kind @ ("datasets" | "spaces" | "collections")) if parts.len() > 1 => {
            return Err(wrong(&format!("names one of the {kind}, not a model")));
        }
        Some("models") if parts.len() > 2 => drop(parts.remove(0)),
        _ => {}
    }
    let (repo, rest) = match parts.as_slice() {
        [name] => (repo(None, name), &[][..]),
        [owner, name, rest @ ..] => (repo(Some(owner), name), rest),
        [] => (None, &[][..]),
    };
    let repo = repo.ok_or_else(|| wrong("is not the name of a model"))?;
    let (revision, file) = match rest {
        [] => (None, None),
        ["tree" | "commit", revision] => (Some(*revision), None),
        ["blob" | "resolve" | "raw", revision, file @ ..] if !file.is_empty() => {
            (Some(*revision), Some(file.join("/")))
        }
        _ => return Err(wrong("has more parts than a model's name")),
    };
    // Pull requests have revisions such as refs/pr/1, whose slashes addresses escape.
    let unescaped = |text: &str| {
        text.replace("%2F", "/")
            .replace("%2f", "/")
            .replace("%20", " ")
    };
    Ok(Named {
        repo,
        revision: revision.map(unescaped),
        file: file.as_deref().map(unescaped),
    })
}

fn repo(owner: Option<&str>, name: &str) -> Option<Repo> {
    let is_name = |part: &str| {
        (1..=LONGEST).contains(&part.len())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
    };
    let name = name.strip_suffix(".git").unwrap_or(name);
    let all = owner.is_none_or(is_name) && is_name(name);
    all.then(|| Repo {
        owner: owner.map(str::to_owned),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Option<String>, Option<String>), String> {
        let named = parse(text, "hub.example:8080").map_err(|error| error.to_string())?;
        Ok((named.repo.to_string(), named.revision, named.file))
    }

    #[test]
    fn names_and_addresses_mean_the_same_model() {
        for text in [
            "org/model",
            " org/model/ ",
            "hf.co/org/model",
            "hf://org/model",
            "https://huggingface.co/org/model",
            "https://huggingface.co/org/model.git",
            "http://hub.example:8080/org/model?library=x#top",
            "https://huggingface.co/models/org/model",
        ] {
            assert_eq!(read(text), Ok(("org/model".into(), None, None)), "{text}");
        }
        assert_eq!(read("gpt2").expect("an old name").0, "gpt2");
    }

    #[test]
    fn an_address_may_name_revision_and_file() {
        let (_, revision, file) =
            read("https://huggingface.co/org/model/tree/refs%2Fpr%2F1").expect("reads");
        assert_eq!((revision.as_deref(), file), (Some("refs/pr/1"), None));
        let (_, revision, file) =
            read("https://huggingface.co/org/model/blob/main/sub/a.gguf").expect("reads");
        assert_eq!(
            (revision.as_deref(), file.as_deref()),
            (Some("main"), Some("sub/a.gguf"))
        );
    }

    #[test]
    fn what_is_no_model_s_name_is_refused() {
        for (text, says) in [
            ("", "not the name"),
            ("../model", "not the name"),
            ("org/..", "not the name"),
            ("org/mo del", "not the name"),
            ("datasets/org/data", "not a model"),
            ("https://elsewhere.example/org/model", "elsewhere.example"),
            ("org/model/what/else", "more parts"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
