//! Settings: what is read, and that what is wrong is named with its key and line.

use super::*;
use crate::config_template;
use emc_protocol::Tokens;

const HEAD: &str =
    "[network]\nfile = \"network.json\"\n[node]\nidentity = \"id.pem\"\ndata_dir = \"data\"\n";

fn with_model(lines: &str) -> String {
    format!("{HEAD}[[model]]\nid = \"m\"\nprice = {{ prompt = 1, output = 2 }}\n{lines}\n")
}

fn error(text: &str) -> String {
    Config::parse(text).expect_err("refused")
}

#[test]
fn a_short_file_is_enough() {
    let config = Config::parse(&with_model("path = \"m.gguf\"")).expect("reads");
    let model = &config.models[0];
    assert_eq!(
        (model.kind, model.version, model.concurrency),
        (Kind::Llm, None, CONCURRENCY)
    );
    assert_eq!(model.price.output, Tokens::emc(2));
    assert_eq!(config.work.poll_interval_ms, 250);
    assert!(config.node.computes() && !config.node.validates());
    assert_eq!(config.metrics.address.expect("a default").port(), 9464);
}

#[test]
fn activations_are_named_by_their_bits() {
    use crate::engine::llm::LlmOptions;
    for (line, expected) in [
        ("", Activations::Bits16),
        ("activations = 16", Activations::Bits16),
        ("activations = \"16\"", Activations::Bits16),
        ("activations = 8", Activations::Bits8),
        ("activations = \"exact\"", Activations::Exact),
    ] {
        let text = with_model(&format!("path = \"x\"\ndevice = \"cpu\"\n{line}"));
        let config = Config::parse(&text).expect(line);
        let options = LlmOptions::of(&config.models[0]).expect(line);
        assert_eq!(options.activations, expected, "{line}");
    }
}

#[test]
fn prices_are_exact_however_they_are_written() {
    for (written, e8s) in [
        ("\"0.25\"", 25_000_000),
        ("0.1", 10_000_000),
        ("3", 300_000_000),
        ("0.00000001", 1),
    ] {
        let text = with_model("path = \"x\"").replace("prompt = 1", &format!("prompt = {written}"));
        assert_eq!(
            Config::parse(&text).expect(written).models[0].price.prompt,
            Tokens(e8s)
        );
    }
}

#[test]
fn a_model_of_pictures_has_a_path_and_a_price_for_pixels_alone() {
    let tokens = with_model("kind = \"image\"\npath = \"x\"");
    let line = tokens
        .lines()
        .find(|line| line.starts_with("price"))
        .expect("a price");
    let pixels = tokens.replace(line, "price = { pixel_steps = 2 }");
    let model = &Config::parse(&pixels).expect("reads").models[0];
    assert_eq!(
        (model.kind, model.price.pixel_steps),
        (Kind::Image, Tokens(200_000_000))
    );
    let both = tokens.replace(line, "price = { prompt = 1, output = 1, pixel_steps = 2 }");
    let no_path = pixels.replace("path = \"x\"", "");
    let text = pixels.replace("image", "llm");
    for (settings, says) in [
        (tokens.clone(), "pixel_steps alone"),
        (both, "pixel_steps alone"),
        (no_path, "path"),
        (text, "prompt and output"),
    ] {
        let error = Config::parse(&settings).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_key_and_line() {
    let cases: [(String, &[&str]); 18] = [
        (with_model("pth = \"x\""), &["line 9", "pth"]),
        (
            with_model("path = \"x\"\nversion = \"newest\""),
            &["line 10", "version", "latest"],
        ),
        (
            with_model("path = \"x\"\nconcurrency = 0"),
            &["concurrency", "1 to 1024", "line 6"],
        ),
        (
            with_model("path = \"x\"\nactivations = 4"),
            &["line 10", "activations", "\"exact\", 16 or 8"],
        ),
        (
            with_model("path = \"x\"\nactivations = \"all\""),
            &["line 10", "all", "\"exact\", 16 or 8"],
        ),
        (
            with_model("kind = \"echo\"\nactivations = 16"),
            &["activations", "kind = \"llm\""],
        ),
        (with_model(""), &["path", "must be given"]),
        (
            with_model("kind = \"echo\"\npath = \"x\""),
            &["echo engine has no files"],
        ),
        (
            with_model("path = \"x\"").replace("prompt = 1", "prompt = -1"),
            &["line 8", "prompt", "amount of EMC"],
        ),
        (
            with_model("path = \"x\"").replace("\"m\"", "\"Big Model\""),
            &["Big Model", "lower-case"],
        ),
        (HEAD.replace("file", "fil"), &["line 2", "fil"]),
        (
            HEAD.replace("file = \"network.json\"", "url = \"local\""),
            &["line 1", "registry"],
        ),
        (format!("{HEAD}owner = \"me\"\n"), &["line 6", "owner"]),
        (
            format!("{HEAD}roles = [\"judge\"]\n"),
            &["line 6", "roles", "judge", "\"validator\""],
        ),
        (format!("{HEAD}roles = []\n"), &["line 6", "no role"]),
        (
            format!("{HEAD}roles = [\"compute\", \"compute\"]\n"),
            &["line 6", "twice"],
        ),
        (
            format!("{HEAD}[work]\npoll_interval_ms = 1\n"),
            &["line 7", "poll_interval_ms", "10 to 60000"],
        ),
        (
            format!("{HEAD}[metrics]\naddress = \"here\"\n"),
            &["line 7", "address", "127.0.0.1:9464"],
        ),
    ];
    for (text, named) in cases {
        let error = error(&text);
        for part in named {
            assert!(
                error.contains(part),
                "{part} is not in\n{error}\nof\n{text}"
            );
        }
    }
}

#[test]
fn a_model_that_is_there_twice_is_named_with_its_line() {
    let text = with_model("path = \"x\"");
    let twice = format!("{text}{}", text.strip_prefix(HEAD).expect("begins so"));
    let error = error(&twice);
    assert!(
        error.contains("line 10") && error.contains("twice"),
        "{error}"
    );
}

#[test]
fn paths_are_relative_to_the_file_and_the_network_file_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("worker.toml");
    let given = config_template::Given {
        network: config_template::GivenNetwork::File("network.json".into()),
        owner: None,
        roles: vec![Role::Compute],
        models: vec![],
    };
    std::fs::write(&file, config_template::render(&given)).expect("writes");
    let config = Config::read(&file).expect("reads");
    assert_eq!(config.identity(), folder.path().join("identity.pem"));
    let missing = config.endpoints().expect_err("not there").to_string();
    assert!(
        missing.contains("network.json") && missing.contains("deploying"),
        "{missing}"
    );
    let json = r#"{"url": "http://127.0.0.1:4943", "ledger": "aaaaa-aa", "registry": "rrkah-fqaaa-aaaaa-aaaaq-cai", "escrow": "ryjl3-tyaaa-aaaaa-aaaba-cai"}"#;
    std::fs::write(folder.path().join("network.json"), json).expect("writes");
    let endpoints = config.endpoints().expect("reads");
    assert_eq!(endpoints.escrow.to_text(), "ryjl3-tyaaa-aaaaa-aaaba-cai");
    std::fs::write(folder.path().join("network.json"), "{}").expect("writes");
    assert!(
        config
            .endpoints()
            .expect_err("wrong")
            .to_string()
            .contains("url")
    );
    let error = Config::read(&folder.path().join("other.toml")).expect_err("not there");
    assert!(error.to_string().contains("emc-worker init"));
}

#[test]
fn the_file_that_init_writes_is_read_with_what_was_given() {
    let owner = Principal::from_slice(&[4; 29]);
    let given = config_template::Given {
        network: config_template::GivenNetwork::Ids {
            url: "ic".into(),
            registry: Principal::from_slice(&[1; 10]),
            escrow: Principal::from_slice(&[2; 10]),
        },
        owner: Some(owner),
        roles: vec![Role::Validator, Role::Compute],
        models: vec![
            config_template::GivenModel::llm("smollm2-135m-instruct", "models/a \"b\".gguf"),
            config_template::GivenModel::echo(),
        ],
    };
    let config = Config::parse(&config_template::render(&given)).expect("reads");
    assert_eq!(config.node.owner, Some(owner));
    assert_eq!(config.node.roles, [Role::Validator, Role::Compute]);
    assert_eq!(config.work.audit_interval_ms, 2_000);
    assert_eq!(config.models.len(), 2);
    assert_eq!(config.models[0].path, Some("models/a \"b\".gguf".into()));
    assert_eq!(config.models[1].kind, Kind::Echo);
    assert!(
        matches!(&config.network, Network::Given(given) if given.escrow == Principal::from_slice(&[2; 10]))
    );
}
