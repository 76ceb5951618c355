//! Everything against diffusers: the fixtures of `tools/parity/diffusion` in `tests/data/diffusion`.

mod files;
mod hostile;
mod parts;
mod pipelines;
mod prompts;
mod schedulers;

use std::path::PathBuf;

use tch::{Kind, Tensor};

use super::checkpoint::Checkpoint;
use crate::safetensors_files::read_json;

/// A fixture's file.
fn path(name: &str) -> PathBuf {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/diffusion");
    PathBuf::from(data).join(name)
}

fn json(name: &str) -> serde_json::Value {
    read_json(&path(name)).unwrap()
}

/// The tensors of a fixture, by name.
struct Expected(Checkpoint);

impl Expected {
    fn of(fixture: &str) -> Self {
        let file = path(fixture).join("expected.safetensors");
        Self(Checkpoint::open(&[file]).unwrap())
    }

    /// A tensor in f32.
    fn get(&self, name: &str) -> Tensor {
        self.0.any(name).unwrap()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        let flat = self.get(name).flatten(0, -1).to_kind(Kind::Double);
        Vec::try_from(flat).unwrap()
    }

    /// Prompts' token ids.
    fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        let tensor = self.get(name);
        let rows = tensor.size()[0];
        let row = |n| -> Vec<f64> { Vec::try_from(tensor.get(n).to_kind(Kind::Double)).unwrap() };
        (0..rows)
            .map(|n| row(n).into_iter().map(|id| id as u32).collect())
            .collect()
    }
}

/// The largest difference, relative to the largest value (or 1).
fn difference(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let found = found.to_kind(Kind::Double);
    let wanted = wanted.to_kind(Kind::Double);
    let largest = wanted.abs().max().double_value(&[]).max(1.0);
    (found - wanted).abs().max().double_value(&[]) / largest
}

#[track_caller]
fn assert_close(what: &str, found: &Tensor, wanted: &Tensor, tolerance: f64) {
    let difference = difference(found, wanted);
    assert!(
        difference <= tolerance,
        "{what} differs by {difference:e}, more than {tolerance:e}"
    );
}
