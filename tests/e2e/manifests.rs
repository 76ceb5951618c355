//! dfx.json and icp.yaml fit their tools' schemas, name what exists, and their arguments fit the interfaces.

use anyhow::{Context, Result, ensure};
use candid_parser::utils::CandidSource;
use emc_protocol::mining::POOL_SUBACCOUNT;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))
}

fn check_schema(schema: &str, manifest: &Value) -> Result<()> {
    let schema: Value = serde_json::from_str(&read(schema)?)?;
    let validator = jsonschema::validator_for(&schema)?;
    let errors: Vec<String> = validator
        .iter_errors(manifest)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    ensure!(errors.is_empty(), "{errors:#?}");
    Ok(())
}

/// Checks that a Candid text is an argument that the canister's installation takes.
fn check_argument(canister: &str, argument: &str) -> Result<()> {
    check_argument_of(&root().join(format!("candid/{canister}.did")), argument)
}

fn check_argument_of(did: &Path, argument: &str) -> Result<()> {
    let shown = did.display();
    let (env, service) = CandidSource::File(did).load()?;
    let service = service.with_context(|| format!("{shown} has no service"))?;
    let candid::types::TypeInner::Class(types, _) = service.as_ref() else {
        anyhow::bail!("{shown} takes no installation argument");
    };
    let types = types.clone();
    let args =
        candid_parser::parse_idl_args(argument).with_context(|| format!("{shown}: {argument}"))?;
    args.to_bytes_with_types(&env, &types)
        .with_context(|| format!("{shown}: {argument}"))?;
    Ok(())
}

/// Checks that a ledger's installation mints the test phase's EMC into the mining pool.
fn check_pool(argument: &Value) -> Result<()> {
    let argument = argument.as_str().context("the ledger's argument")?;
    let pool = String::from_utf8(POOL_SUBACCOUNT.to_vec())?;
    for expected in [
        pool.replace('\0', "\\00"),
        "300_000_000_000_000 : nat".into(),
    ] {
        ensure!(argument.contains(&expected), "no {expected} in {argument}");
    }
    Ok(())
}

#[test]
fn dfx_json_fits_its_schema_and_the_interfaces() -> Result<()> {
    let manifest: Value = serde_json::from_str(&read("dfx.json")?)?;
    check_schema("tests/data/dfx-json-schema.json", &manifest)?;
    let canisters = manifest["canisters"].as_object().context("canisters")?;
    let names: BTreeSet<&str> = canisters.keys().map(String::as_str).collect();
    let expected = ["escrow", "ledger", "llm", "registry"];
    ensure!(names == BTreeSet::from(expected), "{names:?}");
    for (name, canister) in canisters {
        ensure!(
            root()
                .join(canister["candid"].as_str().context("candid")?)
                .exists()
        );
        check_argument(name, canister["init_arg"].as_str().context("init_arg")?)?;
    }
    check_pool(&canisters["ledger"]["init_arg"])?;
    // dfx deploys in the order of dependencies, and the arguments name the ids that are asked for.
    for dependency in ["ledger", "registry"] {
        let id = canisters[dependency]["specified_id"]
            .as_str()
            .context("specified_id")?;
        ensure!(
            canisters["escrow"]["init_arg"]
                .as_str()
                .is_some_and(|argument| argument.contains(id))
        );
        let listed = canisters["escrow"]["dependencies"]
            .as_array()
            .context("dependencies")?;
        ensure!(listed.contains(&Value::from(dependency)));
    }
    Ok(())
}

#[test]
fn icp_yaml_fits_its_schema_and_the_interfaces() -> Result<()> {
    let manifest: Value = serde_yaml_ng::from_str(&read("icp.yaml")?)?;
    check_schema("tests/data/icp-yaml-schema.json", &manifest)?;
    let canisters = manifest["canisters"].as_array().context("canisters")?;
    let names: Vec<_> = canisters
        .iter()
        .filter_map(|canister| canister["name"].as_str())
        .collect();
    ensure!(
        names == ["ledger", "registry", "escrow", "llm"],
        "{names:?}"
    );
    check_pool(&canisters[0]["init_args"])?;
    for canister in canisters {
        let name = canister["name"].as_str().context("name")?;
        check_argument(name, canister["init_args"].as_str().context("init_args")?)?;
    }
    Ok(())
}

#[test]
fn the_examples_manifests_fit_their_schema_and_interfaces() -> Result<()> {
    for name in ["callback-dapp", "chat-dapp"] {
        let folder = format!("examples/{name}");
        let manifest: Value = serde_yaml_ng::from_str(&read(&format!("{folder}/icp.yaml"))?)?;
        check_schema("tests/data/icp-yaml-schema.json", &manifest)?;
        let canister = &manifest["canisters"][0];
        ensure!(canister["name"] == name);
        let argument = canister["init_args"].as_str().context("init_args")?;
        check_argument_of(&root().join(format!("{folder}/{name}.did")), argument)?;
    }
    Ok(())
}
