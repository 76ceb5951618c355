//! Hands a checkpoint's tensors to a model: by name, with the expected shape, and every one of them exactly accounted for.

use std::cell::RefCell;
use std::collections::BTreeSet;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorEntry};
use crate::linear::{Linear, Packed};

/// The weights of one file, expanded and moved to where the model computes.
pub(crate) struct Weights<'a, B> {
    gguf: &'a Gguf<B>,
    device: tch::Device,
    kind: Kind,
    unread: RefCell<BTreeSet<&'a str>>,
}

impl<'a, B: AsRef<[u8]> + Send + Sync + 'static> Weights<'a, B> {
    pub(crate) fn new(gguf: &'a Gguf<B>, device: tch::Device, kind: Kind) -> Self {
        let unread = RefCell::new(gguf.tensors().keys().map(String::as_str).collect());
        Self {
            gguf,
            device,
            kind,
            unread,
        }
    }

    /// The weight `name`, which must have this shape (slowest dimension first).
    pub(crate) fn get(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        self.find(name, shape)?
            .ok_or_else(|| Error::Checkpoint(format!("{name} is missing")))
    }

    /// As [`get`](Self::get), for a weight that some checkpoints lack.
    pub(crate) fn find(&self, name: &str, shape: &[i64]) -> Result<Option<Tensor>> {
        let Some(values) = self.values(name, shape)? else {
            return Ok(None);
        };
        let tensor = Tensor::f_from_slice(&values)?.f_reshape(shape)?;
        Ok(Some(tensor.f_to_device(self.device)?.f_to_kind(self.kind)?))
    }

    /// A matrix that activations are multiplied with; several weights below one another as one, so that one
    /// multiplication serves them all. Left packed, in the file, where the kernels read its packing.
    pub(crate) fn matrix(&self, names: &[&str], rows: &[i64], columns: i64) -> Result<Linear> {
        self.find_matrix(names, rows, columns)?
            .ok_or_else(|| Error::Checkpoint(format!("{} is missing", names.join(" or "))))
    }

    /// As [`matrix`](Self::matrix), for one that some checkpoints lack.
    pub(crate) fn find_matrix(
        &self,
        names: &[&str],
        rows: &[i64],
        columns: i64,
    ) -> Result<Option<Linear>> {
        if names
            .iter()
            .any(|&name| !self.gguf.tensors().contains_key(name))
        {
            return Ok(None);
        }
        if self.device == tch::Device::Cpu && self.kind == Kind::Float {
            let mut parts = Vec::new();
            for (&name, &rows) in names.iter().zip(rows) {
                let entry = self.entry(name, &[rows, columns])?;
                let region = entry.map(|entry| (self.gguf.region(entry), entry.block_type));
                parts.extend(region.map(|(region, kind)| (region, kind, rows as usize)));
            }
            if let Some(packed) = Packed::new(parts, columns as usize) {
                return Ok(Some(Linear::Packed(packed)));
            }
        }
        let parts = names
            .iter()
            .zip(rows)
            .map(|(name, &rows)| self.get(name, &[rows, columns]));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(Some(Linear::Dense(Tensor::f_cat(&parts, 0)?)))
    }

    /// A weight's numbers in f32, for what is computed once at loading.
    pub(crate) fn values(&self, name: &str, shape: &[i64]) -> Result<Option<Vec<f32>>> {
        let entry = self.entry(name, shape)?;
        Ok(entry.map(|entry| entry.block_type.expand(self.gguf.data(entry))))
    }

    /// Where a weight lies, if the file has it; an error if it has another shape.
    fn entry(&self, name: &str, shape: &[i64]) -> Result<Option<&'a TensorEntry>> {
        let Some(entry) = self.gguf.tensors().get(name) else {
            return Ok(None);
        };
        if entry.shape() != shape {
            let found = entry.shape();
            return Err(Error::Checkpoint(format!(
                "{name} has the shape {found:?} where {shape:?} is expected"
            )));
        }
        self.unread.borrow_mut().remove(name);
        Ok(Some(entry))
    }

    /// Ends the loading: an error if a weight of the file was not asked for, for then it is not the model we compute.
    pub(crate) fn finish(self) -> Result<()> {
        let unread = self.unread.into_inner();
        if unread.is_empty() {
            return Ok(());
        }
        let some: Vec<&str> = unread.iter().copied().take(5).collect();
        let (count, some) = (unread.len(), some.join(", "));
        Err(Error::Checkpoint(format!(
            "{count} weights of the file have no place in the model, such as {some}"
        )))
    }
}
