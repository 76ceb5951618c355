//! The weights of a part of a model: safetensors files, mapped, each tensor read once and with the shape that the
//! configuration asks for.
//!
//! A file is not trusted: offsets, types and shapes are checked before anything is read, and a weight that nobody asked
//! for is an error, since then the model would not be the one that is computed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use super::layers::{Conv2d, GroupNorm, LayerNorm, Linear};
use super::lora::Deltas;
use crate::error::{Error, Result};
use crate::safetensors_files::{places, weight_files};

/// Where a tensor lies.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(super) file: Arc<Mmap>,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: Kind,
    /// Slowest dimension first.
    pub(crate) shape: Vec<i64>,
    /// What has to be done with it before it is the weight of its name.
    pub(crate) view: View,
}

/// How a weight lies in the tensor of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// As it is.
    Whole,
    /// A third of the rows, counted from 0: query, key and value below one another.
    Third(i64),
    /// Rows and columns exchanged.
    Transposed,
}

impl Entry {
    /// The weight's shape.
    pub(crate) fn viewed(&self) -> Vec<i64> {
        match (self.view, self.shape.as_slice()) {
            (View::Third(_), [rows, rest @ ..]) => [&[rows / 3], rest].concat(),
            (View::Transposed, [rows, columns]) => vec![*columns, *rows],
            (_, shape) => shape.to_vec(),
        }
    }

    /// The weight in f32.
    pub(crate) fn read(&self) -> Result<Tensor> {
        let data = self.file.get(self.from..self.to).unwrap_or_default();
        let whole = Tensor::f_from_data_size(data, &self.shape, self.kind)?;
        let rows = self.shape.first().copied().unwrap_or(0);
        let viewed = match self.view {
            View::Whole => whole,
            View::Third(n) => whole.f_narrow(0, n * (rows / 3), rows / 3)?,
            View::Transposed => whole.f_transpose(0, 1)?,
        };
        let read = viewed.f_to_kind(Kind::Float)?.f_contiguous()?;
        // The pages of the file that this took need not stay beside the copy.
        #[cfg(unix)]
        if let Some(length) = self.to.checked_sub(self.from).filter(|length| *length > 0) {
            // SAFETY: the mapping is of a file and read only, so that pages that are given up are read again when needed.
            let _ = unsafe {
                self.file
                    .unchecked_advise_range(UncheckedAdvice::DontNeed, self.from, length)
            };
        }
        Ok(read)
    }
}

/// Named tensors of one or several files.
#[derive(Default)]
pub(crate) struct Checkpoint {
    tensors: BTreeMap<String, Entry>,
    unread: RefCell<BTreeSet<String>>,
    deltas: Deltas,
    /// Every weight that is asked for is drawn.
    random: bool,
}

impl Checkpoint {
    /// The safetensors files at these paths together.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for path in paths {
            for (name, entry) in entries(path)? {
                if tensors.insert(name.clone(), entry).is_some() {
                    let path = path.display();
                    return Err(Error::Damaged(format!(
                        "{name} is there twice, also in {path}"
                    )));
                }
            }
        }
        Ok(Self::of(tensors))
    }

    pub(crate) fn of(tensors: BTreeMap<String, Entry>) -> Self {
        Self {
            unread: RefCell::new(tensors.keys().cloned().collect()),
            tensors,
            deltas: Deltas::default(),
            random: false,
        }
    }

    /// Weights of any shape that is asked for, drawn so that what passes through them keeps its size.
    pub(crate) fn random() -> Self {
        Self {
            random: true,
            ..Self::default()
        }
    }

    /// The weights of a part in a folder of diffusers' layout: one file, or several and their index. Full precision is
    /// preferred to half where both are there.
    pub(crate) fn open_folder(folder: &Path, name: &str) -> Result<Self> {
        let files = weight_files(folder, name)?;
        if !files.is_empty() {
            return Self::open(&files);
        }
        Err(Error::Checkpoint(format!(
            "there is no {name}.safetensors in {}: models in pickle files (.bin, .ckpt) are not loaded, since they can run \
             code; convert it to safetensors",
            folder.display()
        )))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    pub(crate) fn take(self) -> BTreeMap<String, Entry> {
        self.tensors
    }

    /// What is to be added to the weights when they are read.
    pub(crate) fn add(&mut self, deltas: Deltas) {
        self.deltas = deltas;
    }

    /// A tensor of any shape.
    pub(crate) fn any(&self, name: &str) -> Result<Tensor> {
        let entry = self.tensors.get(name);
        let entry = entry.ok_or_else(|| Error::Checkpoint(format!("{name} is missing")))?;
        self.unread.borrow_mut().remove(name);
        entry.read()
    }

    /// Where the model's weights begin.
    pub(crate) fn root(&self, device: tch::Device, kind: Kind) -> Scope<'_> {
        Scope {
            checkpoint: self,
            prefix: String::new(),
            device,
            kind,
        }
    }

    /// Tensors that mean nothing for what is computed.
    pub(crate) fn ignore(&self, superfluous: impl Fn(&str) -> bool) {
        self.unread.borrow_mut().retain(|name| !superfluous(name));
    }

    /// Ends the loading: an error if a weight was not asked for, or something was to be added to one that is not there.
    pub(crate) fn finish(&self) -> Result<()> {
        let unread = self.unread.borrow();
        if let Some(first) = unread.first() {
            let some: Vec<&str> = unread.iter().map(String::as_str).take(5).collect();
            let (count, some) = (unread.len(), some.join(", "));
            tracing::debug!(%first, "weights are left over");
            return Err(Error::Checkpoint(format!(
                "{count} weights of the file have no place in the model, such as {some}"
            )));
        }
        self.deltas.finish()
    }
}

/// A place in the tree of names, from which layers are read.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    device: tch::Device,
    kind: Kind,
}

impl Scope<'_> {
    /// The place `name` below this one.
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self {
            prefix: self.full(&name.to_string()),
            ..self.clone()
        }
    }

    fn full(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        }
    }

    /// True if there is such a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        let full = self.full(name);
        match self.checkpoint.random {
            true => is_published(&full),
            false => self.checkpoint.tensors.contains_key(&full),
        }
    }

    /// The tensor `name`, which must have this shape, where the model computes. A matrix that is stored as a convolution
    /// of one pixel, or the other way, is taken as well: the formats differ in it.
    pub(crate) fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let full = self.full(name);
        if self.checkpoint.random {
            return random(name, shape, self.device, self.kind);
        }
        let entry = self.checkpoint.entry(&full);
        let entry = entry.ok_or_else(|| Error::Checkpoint(format!("{full} is missing")))?;
        let found = entry.viewed();
        if without_ones(&found) != without_ones(shape) {
            return Err(Error::Checkpoint(format!(
                "{full} has the shape {found:?} where {shape:?} is expected"
            )));
        }
        self.checkpoint.unread.borrow_mut().remove(&full);
        let values = entry.read()?.f_reshape(shape)?;
        let values = self.checkpoint.deltas.apply(&full, values)?;
        Ok(values.f_to_device(self.device)?.f_to_kind(self.kind)?)
    }

    /// The first of these names that is there.
    pub(crate) fn one_of<'n>(&self, names: &[&'n str]) -> Result<&'n str> {
        let there = |name: &&&str| self.has(&format!("{name}.weight"));
        names.iter().find(there).copied().ok_or_else(|| {
            let full = self.full(&names.join(" or "));
            Error::Checkpoint(format!("{full} is missing"))
        })
    }

    /// A matrix with or without a bias, as the file has it.
    pub(crate) fn linear(&self, name: &str, from: i64, to: i64) -> Result<Linear> {
        let here = self.at(name);
        let bias = match here.has("bias") {
            true => Some(here.tensor("bias", &[to])?),
            false => None,
        };
        Ok(Linear::new(here.tensor("weight", &[to, from])?, bias))
    }

    /// A convolution of `kernel` by `kernel` pixels.
    pub(crate) fn conv(
        &self,
        name: &str,
        from: i64,
        to: i64,
        kernel: i64,
        stride: i64,
        padding: i64,
    ) -> Result<Conv2d> {
        let here = self.at(name);
        let bias = match here.has("bias") {
            true => Some(here.tensor("bias", &[to])?),
            false => None,
        };
        let weight = here.tensor("weight", &[to, from, kernel, kernel])?;
        Conv2d::new(weight, bias, stride, padding)
    }

    /// A normalisation over groups of channels.
    pub(crate) fn group_norm(
        &self,
        name: &str,
        channels: i64,
        groups: i64,
        epsilon: f64,
    ) -> Result<GroupNorm> {
        if groups < 1 || channels % groups != 0 {
            let full = self.full(name);
            return Err(Error::Checkpoint(format!(
                "{full}: {channels} channels cannot be split into {groups} groups"
            )));
        }
        let here = self.at(name);
        Ok(GroupNorm {
            weight: here.tensor("weight", &[channels])?,
            bias: here.tensor("bias", &[channels])?,
            groups,
            epsilon,
        })
    }

    /// A normalisation over the last dimension.
    pub(crate) fn layer_norm(&self, name: &str, size: i64, epsilon: f64) -> Result<LayerNorm> {
        let here = self.at(name);
        Ok(LayerNorm {
            weight: here.tensor("weight", &[size])?,
            bias: here.tensor("bias", &[size])?,
            epsilon,
        })
    }
}

/// Whether the published Stable Diffusions have this optional tensor; what is not optional is not asked about.
fn is_published(full: &str) -> bool {
    let unbiased = ["to_q.bias", "to_k.bias", "to_v.bias"];
    let in_unet = full.contains(".attn1.") || full.contains(".attn2.");
    let bare = in_unet && unbiased.iter().any(|name| full.ends_with(name));
    // Where it is needed, it is asked for without this question.
    !(bare || full.ends_with("conv_shortcut.weight") || full == "text_projection.bias")
}

/// A weight: scales of norms are one, biases zero, matrices drawn.
fn random(name: &str, shape: &[i64], device: tch::Device, kind: Kind) -> Result<Tensor> {
    Ok(match (shape, name) {
        ([_], "weight") => Tensor::f_ones(shape, (kind, device))?,
        ([_], _) => Tensor::f_zeros(shape, (kind, device))?,
        ([_, inputs @ ..], _) => {
            let inputs = inputs.iter().product::<i64>().max(1) as f64;
            Tensor::f_randn(shape, (kind, device))?.f_mul_scalar_(0.5 / inputs.sqrt())?
        }
        ([], _) => Tensor::f_zeros(shape, (kind, device))?,
    })
}

fn without_ones(shape: &[i64]) -> Vec<i64> {
    shape.iter().copied().filter(|&size| size != 1).collect()
}

/// The tensors of a file that can be weights.
fn entries(path: &Path) -> Result<Vec<(String, Entry)>> {
    let places = places(path)?.into_iter().map(|(name, place)| {
        let kind = match place.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            Dtype::I32 => Kind::Int,
            other => return Err(Error::Unsupported(format!("{name} as {other:?}"))),
        };
        let entry = Entry {
            file: place.file,
            from: place.from,
            to: place.to,
            kind,
            shape: place.shape,
            view: View::Whole,
        };
        Ok((name, entry))
    });
    places.collect()
}
