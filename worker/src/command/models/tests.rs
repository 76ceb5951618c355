//! Downloading, offering and listing, with a hub on this machine and without a registry.

use clap::Parser;
use emc_inference::model_root;
use emc_protocol::model::ModelFile;
use emc_protocol::{JobInput, Parameters};
use sha2::{Digest, Sha256};

use super::download::has_room;
use super::*;
use crate::command::{Cli, Command};
use crate::config::{Config, Kind};
use crate::engine::llm::{Llm, LlmOptions, root_of};
use crate::engine::{Engine, Event, Start};
use crate::hub::fake::{FakeHub, Fault, REPO};

const SETTINGS: &str = "# mine\n[network]\nfile = \"network.json\"\n[node]\nidentity = \"id.pem\"\ndata_dir = \"data\"";

/// A folder with settings that offer nothing.
fn settings() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("worker.toml");
    std::fs::write(&config, SETTINGS).expect("writes");
    (folder, config)
}

async fn execute(config: &Path, args: &[&str]) -> anyhow::Result<ExitCode> {
    let config = config.to_str().expect("UTF-8");
    let args = [&["emc-worker", "--config", config, "models"], args].concat();
    Cli::try_parse_from(args)?.execute().await
}

/// What `list` prints.
async fn listed(config: &Path, args: &[&str]) -> String {
    let path = config.to_str().expect("UTF-8");
    let args = [&["emc-worker", "--config", path, "models", "list"], args].concat();
    let Command::Models(Models::List(list)) = Cli::try_parse_from(args).expect("reads").command
    else {
        panic!("another command");
    };
    let config_read = Config::read(config).expect("reads");
    list.lines(&config_read, config).await.join("\n")
}

async fn hub() -> FakeHub {
    FakeHub::serve(&[
        ("README.md", b"# A model"),
        ("config.json", b"{\"model_type\": \"llama\"}"),
        ("model.safetensors", &[7; 100_000]),
        ("pytorch_model.bin", b"a pickle"),
        ("tokenizer.json", b"{}"),
        ("packed/Model.Q4_1.gguf", b"GGUF, as it were"),
        ("packed/Model.Q8_0.gguf", b"GGUF, as it were, twice"),
    ])
    .await
}

#[tokio::test]
async fn a_model_is_downloaded_offered_and_listed() {
    let (hub, (folder, config)) = (hub().await, settings());
    let endpoint = hub.endpoint();
    let args = [
        "download",
        REPO,
        "--endpoint",
        &endpoint,
        "--offer",
        "--price-output",
        "2.5",
    ];
    execute(&config, &args).await.expect("downloads");
    let model = folder.path().join("models/model");
    let root = model_root(&model).expect("hashes");
    let names: Vec<&str> = root.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "tokenizer.json"]
    );

    let text = std::fs::read_to_string(&config).expect("reads");
    assert!(
        text.starts_with("# mine\n") && text.contains("path = \"models/model\""),
        "{text}"
    );
    let offered = Config::read(&config).expect("reads").models;
    assert_eq!(
        (offered[0].id.as_str(), offered[0].kind),
        ("model", Kind::Llm)
    );
    assert_eq!(offered[0].price.output, emc_protocol::Tokens(250_000_000));
    assert_eq!(offered[0].path.as_ref(), Some(&model));

    let shown = listed(&config, &[]).await;
    for line in [
        "model (llm)",
        "size       100.0 kB in 3 files",
        "family     llama (safetensors)",
        &hex::encode(root_of(&root)),
        "The catalogue could not be asked: network.file",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("not offered"), "{shown}");
    assert!(!listed(&config, &["--quick"]).await.contains("root"));

    // Once more: nothing but the listing is asked for, and the settings are not written twice.
    let before = hub.ranges().len();
    let error = execute(&config, &args)
        .await
        .expect_err("is offered")
        .to_string();
    assert!(error.contains("already"), "{error}");
    assert_eq!(hub.ranges().len(), before);
}

#[tokio::test]
async fn a_downloaded_model_answers() {
    let tiny = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/inference/tests/data/text/models/llama3"
    );
    let files = std::fs::read_dir(tiny).expect("reads").map(|file| {
        let path = file.expect("reads").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, std::fs::read(&path).expect("reads"))
    });
    let files: Vec<_> = files.collect();
    let served = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let hub = FakeHub::serve(&served.collect::<Vec<_>>()).await;
    hub.fail(&[Fault::Cut(100); 3]);
    let (_folder, config) = settings();
    let args = ["download", REPO, "--endpoint", &hub.endpoint(), "--offer"];
    execute(&config, &args).await.expect("downloads");
    let offered = Config::read(&config).expect("reads").models.remove(0);
    let options = LlmOptions::of(&offered).expect("is complete");
    let (mut engine, root, _) = Llm::load(&options).expect("loads");
    assert!(listed(&config, &[]).await.contains(&hex::encode(root)));
    let input = JobInput::Completion {
        prompt: "the wind".into(),
    };
    let prompt = engine.prompt(&input).expect("encodes");
    let parameters = Parameters::greedy(4);
    let start = Start {
        input,
        prompt,
        parameters,
        seed: 0,
    };
    engine.start(1, &start).expect("starts");
    let events = engine.step().expect("runs");
    assert!(matches!(events[0], (1, Event::Token { .. })), "{events:?}");
}

#[tokio::test]
async fn exactly_the_files_of_the_catalogue_are_taken() {
    let (hub, (folder, config)) = (hub().await, settings());
    let file = |path: &str, bytes: &[u8]| ModelFile {
        path: path.into(),
        length: bytes.len() as u64,
        sha256: Sha256::digest(bytes).to_vec(),
    };
    let files = vec![
        file("README.md", b"# A model"),
        file("config.json", b"{\"model_type\": \"llama\"}"),
        file("model.safetensors", &[7; 100_000]),
    ];
    let mut entry = echo_entry();
    entry.id = "some/model".into();
    entry.root = emc_protocol::model::model_root(&files).to_vec();
    entry.files = files;
    entry.sources = vec![
        "ask the author".into(),
        format!("{}/{REPO}", hub.endpoint()),
    ];
    let path = config.to_str().expect("UTF-8");
    let download = |more: &[&str]| {
        let args = [
            "emc-worker",
            "--config",
            path,
            "models",
            "download",
            "--model",
            "some/model",
        ];
        match Cli::try_parse_from([&args, more].concat())
            .expect("reads")
            .command
        {
            Command::Models(Models::Download(download)) => download,
            _ => panic!("another command"),
        }
    };
    let client = hub.client(None);
    let offered = download(&["--offer"])
        .from(&client, &config, Some(&entry))
        .await;
    let place = offered.expect("downloads");
    let root = model_root(&place).expect("hashes");
    assert_eq!(root_of(&root).to_vec(), entry.root);
    assert_eq!(root.files.len(), 3, "README.md is one of the catalogue's");
    assert_eq!(
        Config::read(&config).expect("reads").models[0].id,
        "some/model"
    );

    // Another file beside them would make another root.
    std::fs::write(place.join("notes.txt"), "mine").expect("writes");
    let error = download(&[])
        .from(&client, &config, Some(&entry))
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("have the root"), "{error}");
    // The author has changed a file since.
    hub.change("model.safetensors", &[8; 100_000]);
    let error = download(&[])
        .from(&client, &config, Some(&entry))
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("--revision"), "{error}");
    entry.sources.truncate(1);
    let error = download(&[])
        .from(&client, &config, Some(&entry))
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("ask the author"), "{error}");
    drop(folder);
}

/// An entry of a catalogue.
fn echo_entry() -> ModelEntry {
    let model = crate::engine::echo::publish_model();
    ModelEntry {
        id: model.id,
        version: 1,
        task: Some(model.task),
        name: model.name,
        description: model.description,
        root: vec![],
        files: vec![],
        licence: model.licence,
        sources: vec![],
        context: 0,
        memory: 0,
        author: candid::Principal::anonymous(),
        published: emc_protocol::Timestamp(0),
        listed: false,
        retired: false,
        terms: None,
        pending_terms: None,
    }
}

#[test]
fn a_root_is_known_by_its_newest_entry_and_a_listed_one_first() {
    let entry = |version, listed| ModelEntry {
        root: vec![1; 32],
        version,
        listed,
        ..echo_entry()
    };
    let catalogue = [entry(1, true), entry(3, false), entry(2, true)];
    let found = with_root(&catalogue, &[1; 32]).expect("is known");
    assert_eq!(shown(found), "echo version 2, listed");
    assert!(with_root(&catalogue, &[2; 32]).is_none());
}

#[tokio::test]
async fn one_gguf_file_is_a_model_by_itself() {
    let (hub, (folder, config)) = (hub().await, settings());
    let endpoint = hub.endpoint();
    let to = folder.path().join("elsewhere");
    let to = to.to_str().expect("UTF-8");
    let address = format!("{endpoint}/{REPO}/blob/main/packed/Model.Q8_0.gguf");
    for args in [&[REPO, "--file", "q4_1"][..], &[&address]] {
        let args = [&["download", "--endpoint", &endpoint, "--to", to], args].concat();
        execute(&config, &args).await.expect("downloads");
    }
    let files = ["Model.Q4_1.gguf", "Model.Q8_0.gguf"].map(|name| Path::new(to).join(name));
    assert!(files.iter().all(|file| file.is_file()));
    let error = execute(&config, &["offer", "m", files[0].to_str().expect("UTF-8")]).await;
    assert!(
        error
            .expect_err("not a real one")
            .to_string()
            .contains("is no model")
    );
}

#[tokio::test]
async fn what_cannot_be_downloaded_is_said() {
    let (hub, (_folder, config)) = (hub().await, settings());
    let endpoint = hub.endpoint();
    for (args, says) in [
        (&["org/other"][..], "not there"),
        (&[REPO, "--revision", "v9"], "Invalid rev id"),
        (&[REPO, "--file", "pytorch_model.bin"], "can run code"),
        (&[REPO, "--file", "gguf"], "2 GGUF files"),
        (&["--model", "m"], "network"),
        (&["datasets/org/data"], "not a model"),
    ] {
        let args = [&["download", "--endpoint", &endpoint], args].concat();
        let error = execute(&config, &args).await.expect_err(says);
        let error = format!("{error:#}");
        assert!(error.contains(says), "{error}");
    }
    assert!(execute(&config, &["download"]).await.is_err());
}

#[tokio::test]
async fn other_files_in_the_folder_and_another_download_do_not_mix() {
    let (hub, (folder, config)) = (hub().await, settings());
    let endpoint = hub.endpoint();
    let args = ["download", REPO, "--endpoint", &endpoint];
    let model = folder.path().join("models/model");
    std::fs::create_dir_all(&model).expect("creates");
    let lock = std::fs::File::create(model.join(".download.lock")).expect("creates");
    lock.lock().expect("locks");
    let error = execute(&config, &args)
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("another download"), "{error}");
    drop(lock);
    execute(&config, &args).await.expect("downloads");
    // A later commit has other weights: the old ones are not overwritten.
    hub.change("model.safetensors", &[8; 100_000]);
    let error = execute(&config, &args)
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("--to"), "{error}");
}

#[tokio::test]
async fn what_is_offered_and_not_there_is_said_and_what_is_there_and_not_offered() {
    let (folder, config) = settings();
    let text = format!(
        "{SETTINGS}\n[[model]]\nid = \"gone\"\npath = \"gone.gguf\"\nprice = {{ prompt = 1, output = 2 }}\n\
         [[model]]\nid = \"echo\"\nkind = \"echo\"\nprice = {{ prompt = 1, output = 2 }}\n"
    );
    std::fs::write(&config, text).expect("writes");
    let other = folder.path().join("models/other");
    std::fs::create_dir_all(&other).expect("creates");
    std::fs::write(other.join("config.json"), "{\"model_type\": \"qwen3\"}").expect("writes");
    let shown = listed(&config, &[]).await;
    for line in [
        "gone (llm)",
        "MISSING",
        "models download",
        "echo (echo)",
        "other (not offered)",
        "qwen3 (safetensors)",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}

#[test]
fn a_full_disk_is_said_before_anything_comes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    has_room(folder.path(), 0).expect("nothing needs no room");
    has_room(folder.path(), 1).expect("there is room for a byte");
    let error = has_room(folder.path(), u64::MAX)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("needs") && error.contains("--to"), "{error}");
}
