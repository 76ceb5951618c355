//! Templates against transformers' rendering (`tools/parity/text/template_cases.py` says what it does around Jinja).

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::*;
use crate::safetensors_files::read_json;

/// 2026-01-02 15:04:05.
const NOW: i64 = 1_767_366_245;

#[derive(Deserialize)]
struct Conversations {
    cases: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    name: String,
    messages: Vec<Map<String, Json>>,
    tools: Option<Vec<Json>>,
    documents: Option<Vec<Json>>,
    #[serde(default)]
    variables: Map<String, Json>,
}

#[derive(Deserialize)]
struct Results {
    bos_token: Option<String>,
    eos_token: Option<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    conversation: Option<String>,
    template: Option<String>,
    #[serde(default)]
    add_generation_prompt: bool,
    text: Option<String>,
    error: Option<String>,
    #[serde(default)]
    by_template: bool,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/text/templates")
}

fn conversations() -> Vec<Conversation> {
    let read: Conversations = read_json(&folder().join("conversations.json")).expect("reads");
    read.cases
}

fn input(conversation: &Conversation, add_generation_prompt: bool) -> ChatInput {
    ChatInput {
        messages: conversation.messages.clone(),
        tools: conversation.tools.clone(),
        documents: conversation.documents.clone(),
        variables: conversation.variables.clone(),
        add_generation_prompt,
        now: Some(NOW),
    }
}

/// What is wrong with what a template gave, if anything.
fn wrong(case: &Case, found: Result<String>) -> Option<String> {
    match (&case.text, &case.error, found) {
        (Some(text), _, Ok(found)) if *text == found => None,
        (Some(text), _, found) => Some(format!("{found:?}\n    where {text:?} is expected")),
        (None, Some(error), Err(found))
            if !case.by_template || found.to_string().contains(error) =>
        {
            None
        }
        (None, error, found) => Some(format!(
            "{found:?}\n    where the error {error:?} is expected"
        )),
    }
}

/// What minijinja has otherwise, and no published chat template of ours uses: tuples and ranges are printed as lists; a
/// list joined by `~` is printed in minijinja's way; comparing and dividing what cannot be gives a value and not an error;
/// `%` does not fill in texts; `varargs`, `kwargs` and defaults that name earlier arguments in macros; marking texts as safe
/// for HTML.
const OTHERWISE: [&str; 26] = [
    "'k=v=w'.partition('=')",
    "'%s has %d of %.2f'",
    "'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'x']",
    "| escape",
    "| urlencode",
    "| truncate(",
    "| items | list",
    "{'items': 3}.items() | list",
    "dict.fromkeys",
    "{1: 'a', none: 'b', true: 'c', 1.5: 'd'} | tojson",
    "{{ +3 }}",
    "1 is true",
    "is callable",
    "nothing == none",
    "{{ nothing < 1 }}",
    "{{ nothing in 'abc' }}",
    "{{ 'a' < 1 }}",
    "{{ 1 / 0 }}",
    "{% for x in none %}",
    "(1, 2).index(2)",
    "{{ () }}",
    "{{ range(3) }}",
    "namespace(_x=1)",
    "c=a)",
    "lipsum is defined",
    "{% autoescape true %}",
];

#[test]
fn conversations_are_rendered_as_transformers_does() {
    let conversations = conversations();
    let (mut templates, mut compared, mut all_wrong) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(folder()).expect("reads") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jinja")
        {
            continue;
        }
        // It uses what macros have in Jinja only: see `OTHERWISE`.
        if path.ends_with("features-loops.jinja") {
            continue;
        }
        templates += 1;
        let results: Results = read_json(&path.with_extension("json")).expect("reads");
        let source = std::fs::read_to_string(&path).expect("reads");
        let (bos, eos) = (results.bos_token.as_deref(), results.eos_token.as_deref());
        let template = ChatTemplate::new(&source, bos, eos).expect("compiles");
        for case in &results.cases {
            compared += 1;
            let name = case.conversation.as_deref().expect("a conversation");
            let conversation = conversations.iter().find(|one| one.name == name);
            let input = input(
                conversation.expect("it is there"),
                case.add_generation_prompt,
            );
            if let Some(what) = wrong(case, template.render_input(&input)) {
                let file = path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                all_wrong.push(format!("{file} with {name}: {what}"));
            }
        }
    }
    assert!(templates >= 18 && compared > 900, "{templates} {compared}");
    assert!(
        all_wrong.is_empty(),
        "{} of {compared}:\n{}",
        all_wrong.len(),
        all_wrong.join("\n")
    );
}

#[test]
fn expressions_give_what_jinja_gives() {
    let conversations = conversations();
    let results: Results = read_json(&folder().join("expressions.json")).expect("reads");
    let conversation = conversations.iter().find(|one| one.name == "turns");
    let input = input(conversation.expect("it is there"), true);
    let (bos, eos) = (results.bos_token.as_deref(), results.eos_token.as_deref());
    let (mut known, mut all_wrong) = (0, Vec::new());
    for case in &results.cases {
        let source = case.template.as_deref().expect("a template");
        let template = ChatTemplate::new(source, bos, eos);
        let found = template.and_then(|template| template.render_input(&input));
        let what = wrong(case, found);
        let is_known = OTHERWISE.iter().any(|part| source.contains(part));
        match what {
            Some(what) if !is_known => all_wrong.push(format!("{source}\n    {what}")),
            Some(_) => known += 1,
            None => {}
        }
    }
    assert!(known <= OTHERWISE.len(), "{known}");
    assert!(results.cases.len() > 150);
    assert!(
        all_wrong.is_empty(),
        "{} of {}:\n{}",
        all_wrong.len(),
        results.cases.len(),
        all_wrong.join("\n")
    );
}
