//! Files that are damaged, or made to harm: a clear error each, and never a panic.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::path;
use crate::diffusion::{ImageModel, ImageOptions};
use crate::error::Error;

/// A copy of a fixture's model folder.
fn copy(model: &str) -> TempDir {
    let target = TempDir::new().unwrap();
    fn copy_below(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy_below(&entry.path(), &to),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }
    copy_below(&path(model), target.path());
    target
}

fn load(path: &Path) -> Result<ImageModel, Error> {
    ImageModel::load(path, &ImageOptions::default())
}

fn weights(folder: &Path, part: &str) -> PathBuf {
    folder
        .join(part)
        .join("diffusion_pytorch_model.safetensors")
}

#[test]
fn the_copy_itself_loads() {
    assert!(load(copy("sd15").path()).is_ok());
}

#[test]
fn a_missing_part_is_named() {
    for part in [
        "unet/config.json",
        "vae/config.json",
        "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
    ] {
        let folder = copy("sd15");
        fs::remove_file(folder.path().join(part)).unwrap();
        let error = load(folder.path()).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    let folder = copy("sd15");
    fs::remove_file(weights(folder.path(), "unet")).unwrap();
    fs::write(
        folder.path().join("unet/diffusion_pytorch_model.bin"),
        b"pickle",
    )
    .unwrap();
    let error = load(folder.path()).err().unwrap().to_string();
    assert!(error.contains("convert it to safetensors"), "{error}");
}

#[test]
fn truncated_and_flipped_weights_are_refused_or_harmless() {
    let folder = copy("sd15");
    let file = weights(folder.path(), "unet");
    let whole = fs::read(&file).unwrap();
    for length in [0, 1, 7, 8, 9, 100, 5_000, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        let error = load(folder.path()).err().unwrap();
        assert!(
            matches!(error, Error::Damaged(_) | Error::Io { .. }),
            "{length}: {error}"
        );
    }
    // Every byte of the header's length, and some of the header.
    for at in (0..8).chain((8..2_000).step_by(61)) {
        let mut changed = whole.clone();
        changed[at] ^= 0x81;
        fs::write(&file, &changed).unwrap();
        let _ = load(folder.path());
    }
}

#[test]
fn a_header_that_promises_too_much_is_refused() {
    let folder = copy("sd15");
    let file = weights(folder.path(), "vae");
    for header in [
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,1600]}}"#,
        r#"{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}"#,
        r#"{"a":[]}"#,
        "[[[[[[",
    ] {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0; 24]);
        fs::write(&file, &bytes).unwrap();
        let error = load(folder.path()).err().unwrap();
        assert!(matches!(error, Error::Damaged(_)), "{header}: {error}");
    }
    let mut endless = u64::MAX.to_le_bytes().to_vec();
    endless.extend([b' '; 100]);
    fs::write(&file, endless).unwrap();
    assert!(load(folder.path()).is_err());
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let config = |part: &str, changes: &[(&str, serde_json::Value)]| {
        let folder = copy("sd15");
        let file = folder.path().join(part);
        let mut json: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for (name, value) in changes {
            json[*name] = value.clone();
        }
        fs::write(&file, json.to_string()).unwrap();
        load(folder.path())
            .err()
            .unwrap_or_else(|| panic!("{part} {changes:?}"))
    };
    use serde_json::json;
    for changes in [
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([16, 16])),
        ("block_out_channels", json!([0, 16, 24])),
        (
            "block_out_channels",
            json!([9_000_000_000_000_000_000i64, 16, 24]),
        ),
        ("block_out_channels", json!([-16, 16, 24])),
        ("block_out_channels", json!(vec![16; 100_000])),
        ("norm_num_groups", json!(0)),
        ("norm_num_groups", json!(7)),
        ("attention_head_dim", json!(0)),
        ("attention_head_dim", json!(5)),
        ("attention_head_dim", json!([8])),
        ("layers_per_block", json!(1_000_000_000)),
        ("transformer_layers_per_block", json!(2_000_000_000)),
        ("cross_attention_dim", json!(31)),
        ("in_channels", json!(5)),
        (
            "down_block_types",
            json!(["AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]),
        ),
        ("class_embed_type", json!("timestep")),
    ] {
        config("unet/config.json", &[changes]);
    }
    for changes in [
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([8, 8, 16, 16, 16])),
        ("latent_channels", json!(0)),
        ("layers_per_block", json!(100)),
        ("scaling_factor", json!(0.0)),
        ("norm_num_groups", json!(3)),
    ] {
        config("vae/config.json", &[changes]);
    }
    for changes in [
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(5)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("num_hidden_layers", json!(3)),
        ("hidden_size", json!(33)),
        ("vocab_size", json!(1i64 << 40)),
        ("hidden_act", json!("relu")),
    ] {
        config("text_encoder/config.json", &[changes]);
    }
    config(
        "model_index.json",
        &[("_class_name", json!("FluxPipeline"))],
    );
}

#[test]
fn weights_that_are_not_numbers_are_found_in_the_result() {
    let folder = copy("sd15");
    let file = weights(folder.path(), "unet");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 64..].fill(0xff);
    fs::write(&file, &bytes).unwrap();
    let model = load(folder.path()).unwrap();
    let mut request = crate::diffusion::ImageRequest::new("a fox", 64, 48);
    request.steps = 2;
    let error = model.generate(&request, |_| true).unwrap_err();
    assert!(matches!(error, Error::NotFinite), "{error}");
}
