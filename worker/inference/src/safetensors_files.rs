//! Files of the safetensors format (huggingface/safetensors), mapped: where each tensor lies; and the other files of a
//! Hugging Face folder, which are JSON.
//!
//! A file is not trusted: offsets, types and shapes are checked before anything is read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The longest JSON file that is read: tokenizers of a quarter of a million tokens have 35 MB.
const MAX_JSON: u64 = 256 << 20;

/// Where a tensor lies.
pub(crate) struct Place {
    pub file: Arc<Mmap>,
    pub from: usize,
    pub to: usize,
    pub dtype: Dtype,
    /// Slowest dimension first.
    pub shape: Vec<i64>,
}

/// The tensors of a file, checked against its length.
pub(crate) fn places(path: &Path) -> Result<Vec<(String, Place)>> {
    let file = Arc::new(map(path)?);
    let damaged = |what: String| Error::Damaged(format!("{}: {what}", path.display()));
    let (header, metadata) =
        SafeTensors::read_metadata(&file).map_err(|error| damaged(error.to_string()))?;
    let data = header + 8;
    let mut found = Vec::new();
    for (name, info) in metadata.tensors() {
        let sizes = info.shape.iter().map(|&size| i64::try_from(size));
        let shape: Result<Vec<i64>, _> = sizes.collect();
        let shape = shape.map_err(|_| damaged(format!("{name} has a size beyond all memory")))?;
        let (from, to) = (data + info.data_offsets.0, data + info.data_offsets.1);
        if to > file.len() {
            return Err(damaged(format!("{name} ends behind the end of the file")));
        }
        let place = Place {
            file: file.clone(),
            from,
            to,
            dtype: info.dtype,
            shape,
        };
        found.push((name.clone(), place));
    }
    Ok(found)
}

/// The texts that a file's author put into its header.
pub(crate) fn metadata(path: &Path) -> Result<HashMap<String, String>> {
    let file = map(path)?;
    let read = SafeTensors::read_metadata(&file);
    let (_, metadata) =
        read.map_err(|error| Error::Damaged(format!("{}: {error}", path.display())))?;
    Ok(metadata.metadata().clone().unwrap_or_default())
}

fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io(path))?;
    // SAFETY: as with every model file, whoever changes it while it is mapped can crash this process; the folder is the
    // operator's own.
    unsafe { Mmap::map(&file) }.map_err(Error::io(path))
}

/// The files of the weights called `name` in a folder: one, or several and their index. Full precision is preferred to
/// half where both are there. None, where there is no such file.
pub(crate) fn weight_files(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    for variant in ["", ".fp16"] {
        let path = folder.join(format!("{name}{variant}.safetensors"));
        if path.is_file() {
            return Ok(vec![path]);
        }
        let index = folder.join(format!("{name}.safetensors.index{variant}.json"));
        if index.is_file() {
            return shards(folder, &index);
        }
    }
    Ok(Vec::new())
}

/// The files that an index names, each inside the folder.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = read_json(index)?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    names
        .into_iter()
        .map(|name| match Path::new(&name).file_name() {
            Some(only) if only == name.as_str() => Ok(folder.join(name)),
            _ => Err(Error::Damaged(format!("the index names the file {name:?}"))),
        })
        .collect()
}

/// A JSON file of a model.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let length = fs::metadata(path).map_err(Error::io(path))?.len();
    if length > MAX_JSON {
        let path = path.display();
        return Err(Error::Damaged(format!("{path} has {length} bytes")));
    }
    let bytes = fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Damaged(format!("{}: {error}", path.display())))
}

/// As [`read_json`], for a file that some models lack.
pub(crate) fn find_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match path.is_file() {
        true => read_json(path).map(Some),
        false => Ok(None),
    }
}

/// All tensors of a file of 64-bit integers and floats, by name.
#[cfg(test)]
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, tch::Tensor> {
    let all = places(path).unwrap_or_else(|error| panic!("{error}"));
    let values = all.into_iter().map(|(name, place)| {
        let kind = match place.dtype {
            Dtype::I64 => tch::Kind::Int64,
            Dtype::F32 => tch::Kind::Float,
            other => panic!("{name} is {other:?}"),
        };
        let data = &place.file[place.from..place.to];
        (name, tch::Tensor::from_data_size(data, &place.shape, kind))
    });
    values.collect()
}
