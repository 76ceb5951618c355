//! The command as people use it, on tiny models with random weights.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn data(name: &str) -> String {
    let inference = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../inference/tests/data/text");
    inference.join(name).to_string_lossy().into_owned()
}

fn run_with(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_emc-infer"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it has an input");
    // A program that does not read may be gone.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn run(arguments: &[&str]) -> String {
    let output = run_with(arguments, "");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn refused(arguments: &[&str], input: &str) -> String {
    let output = run_with(arguments, input);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_answer_can_be_checked_by_another_stack_and_an_altered_one_is_found() {
    let model = data("models/llama3");
    let options = [
        "--temperature",
        "0.9",
        "--seed",
        "3",
        "--max-tokens",
        "20",
        "--json",
    ];
    let made = |more: &[&str]| {
        let arguments = [&["generate", &model, "the wind"], options.as_slice(), more].concat();
        run(&arguments)
    };
    let several = made(&["-n", "3", "--logprobs", "2"]);
    let lines: Vec<Value> = several
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert_ne!(lines[0]["ids"], lines[1]["ids"]);
    let first = &lines[0];
    let told = first["logprobs"].as_array().expect("a list").len();
    assert_eq!(told, first["ids"].as_array().expect("a list").len());
    let alone: Value = serde_json::from_str(&made(&[])).expect("JSON");
    assert_eq!(alone["ids"], first["ids"]);

    let verify = |record: &Value, more: &[&str]| {
        let arguments = [&["verify", &model, "-", "--json"], more].concat();
        let output = run_with(&arguments, &record.to_string());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let found = verify(&alone, &["--activations", "exact"]);
    assert_eq!(found["positions"], found["matches"]);
    assert!(
        found["ends_right"] == true && found["text_right"] == true && found["prompt_right"] == true
    );
    assert!(
        verify(&alone, &["--dtype", "bf16"])["largest_gap"]
            .as_f64()
            .expect("a number")
            < 1.0
    );

    let mut altered = alone.clone();
    altered["params"]["seed"] = 4.into();
    assert!(
        verify(&altered, &[])["largest_gap"]
            .as_f64()
            .expect("a number")
            > 0.5
    );
    let mut altered = alone.clone();
    altered["text"] = "other".into();
    assert_eq!(verify(&altered, &[])["text_right"], false);
    let other = refused(&["verify", &data("models/llama"), "-"], &alone.to_string());
    assert!(other.contains("was made with the model"), "{other}");
    assert!(refused(&["verify", &model, "-"], "nonsense").contains("generate --json"));
}

#[test]
fn folders_and_gguf_files_are_inspected() {
    let folder: Value =
        serde_json::from_str(&run(&["inspect", &data("models/gemma3"), "--json"])).expect("JSON");
    let file = data("models/gemma3/model.gguf");
    let file: Value = serde_json::from_str(&run(&["inspect", &file, "--json"])).expect("JSON");
    for key in [
        "family",
        "parameters",
        "vocabulary",
        "context",
        "chats",
        "stop_tokens",
    ] {
        assert_eq!(folder[key], file[key], "{key}");
    }
    assert_eq!(folder["family"], "gemma3");
    assert_ne!(folder["root"], file["root"]);
    let shown = run(&["inspect", &data("models/qwen3")]);
    assert!(
        shown.contains("qwen3") && shown.contains("chat template  yes"),
        "{shown}"
    );
}

#[test]
fn logits_are_written_as_numpy_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("logits.npy");
    let out = out.to_string_lossy();
    let said = run(&[
        "logits",
        &data("models/llama"),
        "--tokens",
        "1,2,3",
        "--out",
        &out,
        "--json",
    ]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["shape"], serde_json::json!([3, 320]));
    let bytes = std::fs::read(out.as_ref()).expect("reads");
    assert_eq!(bytes.len(), 128 + 3 * 320 * 4);
}

#[test]
fn a_conversation_goes_on_and_begins_anew() {
    let model = data("models/llama3");
    let arguments = [
        "chat",
        &model,
        "--system",
        "Answer in the book.",
        "--max-tokens",
        "5",
    ];
    let output = run_with(
        &arguments,
        "the wind\n\nthe sea\n/reset\nthe wind\n/exit\nnever\n",
    );
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.is_empty());
    // Anew, the same is said to the same.
    let begins = run_with(&arguments, "the wind\n");
    let begins = String::from_utf8_lossy(&begins.stdout).into_owned();
    assert!(
        text.starts_with(&begins) && text.ends_with(&begins),
        "{text:?} {begins:?}"
    );
    let long = "the wind ".repeat(3000);
    let output = run_with(&arguments, &format!("{long}\nthe wind\n"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && errors.contains("shorten the prompt"),
        "{errors}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), begins);
}

#[test]
fn texts_are_embedded() {
    let folder = data("bert");
    let lines = run(&["embed", &folder, "the lighthouse", "question", "--json"]);
    let widths = lines.lines().map(|line| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        value["embedding"].as_array().expect("a list").len()
    });
    assert_eq!(widths.collect::<Vec<_>>(), [32, 32]);
    assert!(run(&["embed", &folder, "the lighthouse"]).contains(" 1.000"));
}

#[test]
fn speed_is_measured_and_mistakes_are_explained() {
    let model = data("models/qwen2");
    let arguments = [
        "bench",
        &model,
        "--prompt",
        "20",
        "--answer",
        "4",
        "--repeats",
        "1",
        "--json",
    ];
    let speed: Value = serde_json::from_str(&run(&arguments)).expect("JSON");
    assert!(
        speed["decode_tokens_per_second"]
            .as_f64()
            .expect("a number")
            > 0.0
    );
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_string_lossy();
    assert!(refused(&["inspect", &empty], "").contains("config.json"));
    assert!(refused(&["generate", &model, "a", "--temperature", "-1"], "").contains("temperature"));
    assert!(refused(&["inspect", &model, "--dtype", "f16"], "").contains("f16"));
    assert!(refused(&["embed", &model, "a"], "").contains("qwen2"));
}
