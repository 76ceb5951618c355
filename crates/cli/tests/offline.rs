//! The `emc` program itself, for everything that needs no network: keys, receipts, wrong input.

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `emc` with its own empty world: no environment of the person who runs the tests, no files of this repository.
fn emc(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emc"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    emc(home, arguments).output().expect("emc starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for this test")
}

/// A receipt file with everything in it, put together from the test vectors of the specification.
fn receipt_file() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/spec/receipt-vectors.json"
    );
    let text = std::fs::read_to_string(path).expect("the vectors are there");
    let vectors: Value = serde_json::from_str(&text).expect("they are JSON");
    let signed = &vectors["receipts"][0];
    json!({
        "format": "emc-receipt",
        "version": 1,
        "receipt": signed["receipt"],
        "node": signed["node"],
        "public_key": signed["public_key"],
        "signature": signed["signature"],
        "model": vectors["parameters"][0]["model"],
        "parameters": vectors["parameters"][0]["parameters"],
        "salt": vectors["inputs"][0]["salt"],
        "input": vectors["inputs"][0]["input"],
        "output": vectors["outputs"][0]["output"],
    })
}

#[test]
fn keys_are_made_listed_chosen_and_carried_elsewhere() {
    let home = home();
    let home = home.path();
    let alice = stdout(&run(home, &["identity", "new", "alice"]));
    let bob = stdout(&run(home, &["identity", "new", "bob"]));
    assert_ne!(alice, bob);
    assert_eq!(stdout(&run(home, &["identity", "show"])), alice);
    assert_eq!(stdout(&run(home, &["identity", "show", "-i", "bob"])), bob);
    assert!(run(home, &["identity", "use", "bob"]).status.success());
    assert_eq!(stdout(&run(home, &["identity", "show"])), bob);

    let pem = run(home, &["identity", "export", "alice"]).stdout;
    std::fs::write(home.join("key.pem"), pem).expect("the folder is writable");
    assert_eq!(
        stdout(&run(home, &["identity", "import", "copy", "key.pem"])),
        alice
    );
    let list = run(home, &["identity", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let names: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|i| &i["name"])
        .collect();
    assert_eq!(names, ["alice", "bob", "copy"]);
}

#[test]
fn a_receipt_is_verified_without_network_key_or_configuration() {
    let home = home();
    let home = home.path();
    let write = |name: &str, file: &Value| {
        std::fs::write(home.join(name), file.to_string()).expect("the folder is writable");
    };
    let file = receipt_file();
    write("good.json", &file);
    let good = run(home, &["verify", "good.json"]);
    assert!(good.status.success(), "{}", stderr(&good));
    assert_eq!(
        stdout(&good).matches("ok  ").count(),
        6,
        "{}",
        stdout(&good)
    );

    let mut wrong = file.clone();
    wrong["output"]["text"] = json!("Another answer.");
    write("wrong.json", &wrong);
    let wrong = run(home, &["verify", "wrong.json", "--json"]);
    assert!(!wrong.status.success());
    let report: Value = serde_json::from_slice(&wrong.stdout).expect("JSON");
    assert_eq!(report["holds"], json!(false));
    assert!(stderr(&wrong).contains("output"), "{}", stderr(&wrong));

    let mut bare = file;
    for secret in ["salt", "input", "output"] {
        bare.as_object_mut().expect("an object").remove(secret);
    }
    write("bare.json", &bare);
    let bare = run(home, &["verify", "bare.json"]);
    assert!(bare.status.success(), "{}", stderr(&bare));
    assert_eq!(stdout(&bare).matches("skipped").count(), 3);
}

#[test]
fn a_receipt_comes_through_standard_input_too() {
    let home = home();
    let mut child = emc(home.path(), &["verify", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("emc starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin
        .write_all(receipt_file().to_string().as_bytes())
        .expect("emc reads all of it");
    drop(stdin);
    let output = child.wait_with_output().expect("emc ends");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn wrong_input_is_an_error_that_says_what_to_do_and_never_a_panic() {
    let home = home();
    let home = home.path();
    std::fs::write(home.join("no.json"), "{}").expect("the folder is writable");
    let ids = [
        "--ledger=aaaaa-aa",
        "--registry=aaaaa-aa",
        "--escrow=aaaaa-aa",
    ];
    let dead = "--network=http://127.0.0.1:9";
    let cases: [(&[&str], &str); 9] = [
        (&["verify", "no.json"], "not a receipt file"),
        (&["verify", "nothing"], "neither a file nor a job's number"),
        (&["balance"], "--ledger"),
        (&["balance", "-n", "mainnet"], "write local, ic, or a URL"),
        (&["identity", "show"], "emc identity new"),
        (&["identity", "new", "../x"], "letters, digits"),
        (&["chat", "hello"], "emc identity new"),
        (&["chat"], "the prompt is empty"),
        (
            &["status", dead, ids[0], ids[1], ids[2]],
            "Is the network running?",
        ),
    ];
    for (arguments, advice) in cases {
        let output = run(home, arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(advice), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = home();
    let home = home.path();
    std::fs::write(home.join("r.json"), receipt_file().to_string()).expect("writable");
    let mut child = emc(home, &["verify", "r.json", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("emc starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("emc ends");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}
