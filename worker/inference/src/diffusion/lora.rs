//! Low-rank additions to weights (Hu et al. 2022), from diffusers', peft's and kohya's files, several at once.
//!
//! They are added when a weight is read, so that a model with LoRAs is as fast as one without: each weight grows by
//! strength * alpha / rank * up * down. Where a file names no alpha, it is the rank.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tch::Tensor;

use super::checkpoint::Checkpoint;
use super::ldm::{UnetShape, original_unet_name, unet_prefixes};
use crate::error::{Error, Result};

/// A LoRA file and how much of it is added.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// The safetensors file.
    pub path: PathBuf,
    /// 1 for all of it; may be more, or negative.
    pub strength: f64,
}

/// The LoRAs of a model.
#[derive(Default)]
pub(crate) struct Loras(Vec<File>);

struct File {
    path: PathBuf,
    strength: f64,
    /// By the module's name in the file.
    modules: BTreeMap<String, Module>,
    used: RefCell<BTreeSet<String>>,
}

#[derive(Default)]
struct Module {
    up: Option<Tensor>,
    down: Option<Tensor>,
    alpha: Option<f64>,
}

/// The ends of names, and what they are.
const LEAVES: [(&str, Leaf); 9] = [
    (".lora_up.weight", Leaf::Up),
    (".lora_down.weight", Leaf::Down),
    (".lora_B.weight", Leaf::Up),
    (".lora_A.weight", Leaf::Down),
    (".lora.up.weight", Leaf::Up),
    (".lora.down.weight", Leaf::Down),
    ("_lora.up.weight", Leaf::Up),
    ("_lora.down.weight", Leaf::Down),
    (".alpha", Leaf::Alpha),
];

#[derive(Clone, Copy)]
enum Leaf {
    Up,
    Down,
    Alpha,
}

/// Parts of a model, and what kohya's files call them.
const PARTS: [(&str, &[&str]); 3] = [
    ("unet", &["lora_unet_"]),
    ("text_encoder", &["lora_te_", "lora_te1_"]),
    ("text_encoder_2", &["lora_te2_"]),
];

impl Loras {
    pub(crate) fn open(loras: &[Lora]) -> Result<Self> {
        loras
            .iter()
            .map(File::open)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// What is to be added to the UNet's weights, which have these names.
    pub(crate) fn for_unet<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        shape: &UnetShape,
    ) -> Result<Deltas> {
        let prefixes = unet_prefixes(shape);
        self.for_part("unet", names, |name| original_unet_name(name, &prefixes))
    }

    /// What is to be added to a part's weights, which have these names; `original` is another name of a module.
    pub(crate) fn for_part<'n>(
        &self,
        part: &str,
        names: impl Iterator<Item = &'n str>,
        original: impl Fn(&str) -> Option<String>,
    ) -> Result<Deltas> {
        let mut deltas = Deltas::default();
        if self.0.is_empty() {
            return Ok(deltas);
        }
        let modules: Vec<&str> = names
            .filter_map(|name| name.strip_suffix(".weight"))
            .collect();
        // Every name that a file may have for a module.
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        for module in modules {
            let full = match part {
                "unet" => module.to_owned(),
                _ => format!("text_model.{}", module.trim_start_matches("text_model.")),
            };
            known.insert(format!("{part}.{full}"), module);
            for kohya in PARTS
                .iter()
                .filter(|(name, _)| *name == part)
                .flat_map(|(_, all)| *all)
            {
                known.insert(format!("{kohya}{}", full.replace('.', "_")), module);
                if let Some(original) = original(module) {
                    known.insert(format!("{kohya}{}", original.replace('.', "_")), module);
                }
            }
        }
        for file in &self.0 {
            for (name, found) in &file.modules {
                let Some(module) = known.get(&without_processor(name)) else {
                    continue;
                };
                file.used.borrow_mut().insert(name.clone());
                let weight = format!("{module}.weight");
                let delta = found.delta(name, file.strength)?;
                deltas.by_weight.entry(weight).or_default().push(delta);
            }
        }
        Ok(deltas)
    }

    /// After all parts: an error if a file changes something that the model does not have.
    pub(crate) fn finish(&self) -> Result<()> {
        for file in &self.0 {
            let used = file.used.borrow();
            if let Some(name) = file.modules.keys().find(|name| !used.contains(*name)) {
                return Err(Error::Checkpoint(format!(
                    "{} changes {name}, which this model does not have: is it made for another model?",
                    file.path.display()
                )));
            }
        }
        Ok(())
    }
}

/// The module that a name of diffusers' first format means.
fn without_processor(name: &str) -> String {
    let Some((module, which)) = name.rsplit_once('.') else {
        return name.to_owned();
    };
    if let Some(module) = module.strip_suffix(".processor") {
        let which = if which == "to_out" { "to_out.0" } else { which };
        return format!("{module}.{which}");
    }
    let which = match which {
        "to_q" if module.ends_with("self_attn") => "q_proj",
        "to_k" if module.ends_with("self_attn") => "k_proj",
        "to_v" if module.ends_with("self_attn") => "v_proj",
        "to_out" if module.ends_with("self_attn") => "out_proj",
        other => other,
    };
    format!("{module}.{which}")
}

impl File {
    fn open(lora: &Lora) -> Result<Self> {
        let path = &lora.path;
        if !lora.strength.is_finite() {
            return Err(Error::BadParameter(format!(
                "the LoRA's strength {} is not a number",
                lora.strength
            )));
        }
        let checkpoint = Checkpoint::open(std::slice::from_ref(path))?;
        let mut modules: BTreeMap<String, Module> = BTreeMap::new();
        for name in checkpoint.names() {
            let leaf = LEAVES
                .iter()
                .find_map(|(end, leaf)| Some((name.strip_suffix(end)?, *leaf)));
            let Some((module, leaf)) = leaf else {
                return Err(Error::Unsupported(format!(
                    "{name} in {}: only LoRA and LoCon are (no DoRA, LoHa or LoKr)",
                    path.display()
                )));
            };
            let entry = modules.entry(module.to_owned()).or_default();
            let tensor = checkpoint.any(name)?;
            match leaf {
                Leaf::Up => entry.up = Some(tensor),
                Leaf::Down => entry.down = Some(tensor),
                Leaf::Alpha if tensor.numel() == 1 => {
                    entry.alpha = Some(tensor.f_reshape([1])?.double_value(&[0]));
                }
                Leaf::Alpha => {
                    return Err(Error::Damaged(format!("{name} is not one number")));
                }
            }
        }
        if modules.is_empty() {
            let path = path.display();
            return Err(Error::Damaged(format!("{path} holds no LoRA")));
        }
        let alphas = Alphas::of(path)?;
        for (name, module) in &mut modules {
            if module.alpha.is_none() {
                module.alpha = alphas.of_module(name);
            }
        }
        Ok(Self {
            path: path.clone(),
            strength: lora.strength,
            modules,
            used: RefCell::default(),
        })
    }
}

impl Module {
    fn delta(&self, name: &str, strength: f64) -> Result<Delta> {
        let (Some(up), Some(down)) = (&self.up, &self.down) else {
            return Err(Error::Damaged(format!("the LoRA's {name} lacks a half")));
        };
        let rank = down.size().first().copied().unwrap_or(0);
        if rank == 0 || up.size().get(1) != Some(&rank) {
            let (up, down) = (up.size(), down.size());
            return Err(Error::Damaged(format!(
                "the LoRA's {name} has halves of {up:?} and {down:?}"
            )));
        }
        let alpha = self.alpha.unwrap_or(rank as f64);
        Ok(Delta {
            up: up.shallow_clone(),
            down: down.shallow_clone(),
            factor: strength * alpha / rank as f64,
        })
    }
}

/// The alphas that newer files of peft keep in their header.
#[derive(Default)]
struct Alphas(serde_json::Map<String, serde_json::Value>);

impl Alphas {
    fn of(path: &Path) -> Result<Self> {
        let text = crate::safetensors_files::metadata(path)?.remove("lora_adapter_metadata");
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let damaged = |error| Error::Damaged(format!("{}: {error}", path.display()));
        serde_json::from_str(&text).map(Self).map_err(damaged)
    }

    fn of_module(&self, module: &str) -> Option<f64> {
        let (part, rest) = module.split_once('.')?;
        let patterns = self.0.get(&format!("{part}.alpha_pattern"));
        let own = patterns.and_then(|patterns| patterns.get(rest)?.as_f64());
        own.or_else(|| self.0.get(&format!("{part}.lora_alpha"))?.as_f64())
    }
}

/// What is to be added to weights, by their names.
#[derive(Default)]
pub(crate) struct Deltas {
    by_weight: BTreeMap<String, Vec<Delta>>,
    applied: RefCell<BTreeSet<String>>,
}

/// One addition: `up` times `down` times a factor.
struct Delta {
    up: Tensor,
    down: Tensor,
    factor: f64,
}

impl Deltas {
    /// A weight with what is added to it.
    pub(crate) fn apply(&self, name: &str, weight: Tensor) -> Result<Tensor> {
        let Some(deltas) = self.by_weight.get(name) else {
            return Ok(weight);
        };
        self.applied.borrow_mut().insert(name.to_owned());
        let mut sum = weight;
        for delta in deltas {
            let rank = delta.down.size().first().copied().unwrap_or(0);
            let (up, down) = (
                delta.up.f_reshape([-1, rank])?,
                delta.down.f_reshape([rank, -1])?,
            );
            let product = up.f_matmul(&down)?.f_mul_scalar(delta.factor)?;
            if product.numel() != sum.numel() {
                let (found, wanted) = (product.size(), sum.size());
                return Err(Error::Checkpoint(format!(
                    "the LoRA's {name} gives {found:?} for a weight of {wanted:?}: is it made for another model?"
                )));
            }
            sum = sum.f_add(&product.f_reshape(sum.size())?)?;
        }
        Ok(sum)
    }

    /// An error if something was to be added to a weight that was not read.
    pub(crate) fn finish(&self) -> Result<()> {
        let applied = self.applied.borrow();
        match self.by_weight.keys().find(|name| !applied.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::Checkpoint(format!(
                "the LoRA changes {name}, which this model does not compute with"
            ))),
        }
    }
}
