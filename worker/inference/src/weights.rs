//! Hands a model's stored tensors to it: by name, with the expected shape, and every one of them exactly accounted for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::gguf::{Gguf, Region};
use crate::kernels::Arena;
use crate::linear::{Activations, Linear, Packed};
use crate::quantised::BlockType;
use crate::safetensors_files::places;

/// A tensor in a file.
pub(crate) struct Stored {
    /// Slowest dimension first.
    pub shape: Vec<i64>,
    /// How its elements are packed.
    pub block_type: BlockType,
    /// Its bytes: as many as the shape asks for.
    pub region: Region,
}

impl Stored {
    fn elements(&self) -> u64 {
        self.shape.iter().map(|&size| size.unsigned_abs()).product()
    }
}

/// The tensors of a model, and where it computes.
pub(crate) struct Weights {
    tensors: BTreeMap<String, Stored>,
    device: tch::Device,
    kind: Kind,
    activations: Activations,
    /// Where matrices are laid out anew.
    arena: Arena,
    unread: RefCell<BTreeSet<String>>,
}

impl Weights {
    /// Those of a GGUF file.
    pub(crate) fn of_gguf<B: AsRef<[u8]> + Send + Sync + 'static>(
        gguf: &Gguf<B>,
        device: tch::Device,
        kind: Kind,
    ) -> Self {
        let tensors = gguf.tensors().iter().map(|(name, entry)| {
            let stored = Stored {
                shape: entry.shape(),
                block_type: entry.block_type,
                region: gguf.region(entry),
            };
            (name.clone(), stored)
        });
        Self::new(tensors.collect(), device, kind)
    }

    /// Those of safetensors files, called by new names; an error where one has none. Of no use are `superfluous` ones.
    pub(crate) fn of_files(
        files: &[PathBuf],
        rename: impl Fn(&str) -> Option<String>,
        superfluous: impl Fn(&str) -> bool,
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for path in files {
            for (name, place) in places(path)? {
                if superfluous(&name) {
                    continue;
                }
                let Some(known) = rename(&name) else {
                    return Err(unknown(path, &name));
                };
                let block_type = match place.dtype {
                    Dtype::F32 => BlockType::F32,
                    Dtype::F16 => BlockType::F16,
                    Dtype::BF16 => BlockType::BF16,
                    other => return Err(Error::Unsupported(format!("{name} as {other:?}"))),
                };
                let region = Region::new(place.file, place.from, place.to - place.from);
                let stored = Stored {
                    shape: place.shape,
                    block_type,
                    region,
                };
                if tensors.insert(known, stored).is_some() {
                    let path = path.display();
                    return Err(Error::Damaged(format!(
                        "{name} is there twice, also in {path}"
                    )));
                }
            }
        }
        Ok(Self::new(tensors, device, kind))
    }

    fn new(tensors: BTreeMap<String, Stored>, device: tch::Device, kind: Kind) -> Self {
        Self {
            unread: RefCell::new(tensors.keys().cloned().collect()),
            tensors,
            device,
            kind,
            activations: Activations::default(),
            arena: Arena::default(),
        }
    }

    /// The same, multiplied with activations as exact as this.
    pub(crate) fn with(self, activations: Activations) -> Self {
        Self {
            activations,
            ..self
        }
    }

    /// Where the model computes.
    pub(crate) fn device(&self) -> tch::Device {
        self.device
    }

    /// In which number format.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of parameters.
    pub(crate) fn parameters(&self) -> u64 {
        let sizes = self.tensors.values().map(Stored::elements);
        sizes.sum()
    }

    /// The format that holds most of the parameters.
    pub(crate) fn quantisation(&self) -> String {
        let mut totals = BTreeMap::new();
        for stored in self.tensors.values() {
            *totals.entry(stored.block_type).or_insert(0) += stored.elements();
        }
        let most = totals.into_iter().max_by_key(|&(_, elements)| elements);
        most.map(|(kind, _)| kind.to_string()).unwrap_or_default()
    }

    /// The rows of a matrix.
    pub(crate) fn rows(&self, name: &str) -> Result<usize> {
        let stored = self.tensors.get(name).ok_or_else(|| missing(name))?;
        let rows = stored
            .shape
            .first()
            .and_then(|&rows| usize::try_from(rows).ok());
        Ok(rows.unwrap_or(0))
    }

    /// True if there is such a weight.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Leaves a weight out, whether it is there or not.
    pub(crate) fn ignore(&mut self, name: &str) {
        self.tensors.remove(name);
        self.unread.borrow_mut().remove(name);
    }

    /// The weight `name`, which must have this shape (slowest dimension first).
    pub(crate) fn get(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let values = self.values(name, shape)?.ok_or_else(|| missing(name))?;
        let tensor = Tensor::f_from_slice(&values)?.f_reshape(shape)?;
        Ok(tensor.f_to_device(self.device)?.f_to_kind(self.kind)?)
    }

    /// A matrix that activations are multiplied with; several weights below one another as one, so that one
    /// multiplication serves them all. Left packed, in the file, where the kernels read its packing.
    pub(crate) fn matrix(&self, names: &[String], rows: &[i64], columns: i64) -> Result<Linear> {
        let mut parts = Vec::new();
        for (name, &rows) in names.iter().zip(rows) {
            let stored = self.stored(name, &[rows, columns])?;
            let stored = stored.ok_or_else(|| missing(name))?;
            parts.push((stored.region.clone(), stored.block_type, rows as usize));
        }
        if self.device == tch::Device::Cpu
            && self.kind == Kind::Float
            && let Some(packed) = Packed::new(parts, columns as usize)
        {
            return Ok(packed.laid_out(self.activations, &self.arena));
        }
        let parts = names.iter().zip(rows);
        let parts = parts.map(|(name, &rows)| self.get(name, &[rows, columns]));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(Linear::Dense(match parts.as_slice() {
            [only] => only.shallow_clone(),
            several => Tensor::f_cat(several, 0)?,
        }))
    }

    /// A weight's numbers in f32, for what is computed once at loading. None, where there is no such weight.
    pub(crate) fn values(&self, name: &str, shape: &[i64]) -> Result<Option<Vec<f32>>> {
        let Some(stored) = self.stored(name, shape)? else {
            return Ok(None);
        };
        let values = stored.block_type.expand(stored.region.bytes());
        // The pages of the file that this took need not stay beside the copy.
        stored.region.release();
        Ok(Some(values))
    }

    /// A weight, if the file has it; an error if it has another shape.
    fn stored(&self, name: &str, shape: &[i64]) -> Result<Option<&Stored>> {
        let Some(stored) = self.tensors.get(name) else {
            return Ok(None);
        };
        if stored.shape != shape {
            let found = &stored.shape;
            return Err(Error::Checkpoint(format!(
                "{name} has the shape {found:?} where {shape:?} is expected"
            )));
        }
        self.unread.borrow_mut().remove(name);
        Ok(Some(stored))
    }

    /// Ends the loading: an error if a weight of the file was not asked for, for then it is not the model we compute.
    pub(crate) fn finish(self) -> Result<()> {
        let unread = self.unread.into_inner();
        if unread.is_empty() {
            return Ok(());
        }
        let some: Vec<&str> = unread.iter().map(String::as_str).take(5).collect();
        let (count, some) = (unread.len(), some.join(", "));
        Err(Error::Checkpoint(format!(
            "{count} weights of the file have no place in the model, such as {some}"
        )))
    }
}

fn missing(name: &str) -> Error {
    Error::Checkpoint(format!("{name} is missing"))
}

fn unknown(path: &Path, name: &str) -> Error {
    let path = path.display();
    Error::Checkpoint(format!(
        "{name} of {path} has no place in a model of this type"
    ))
}
