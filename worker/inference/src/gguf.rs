//! A reader for GGUF, the single-file model format of llama.cpp (ggml's `docs/gguf.md`, versions 2 and 3).
//!
//! The file is memory-mapped and its header is read once. Every length, offset and product that the file states is
//! checked against the file's size before it is used: a hostile file gives an error, never a panic, and never makes the
//! reader hold more than a small multiple of the file's own size.
//!
//! Layout, little-endian:
//!
//! ```text
//! "GGUF" version:u32 tensor_count:u64 metadata_count:u64
//! metadata_count x ( key:string type:u32 value )            string = length:u64, bytes
//! tensor_count   x ( name:string n:u32 n x dim:u64 type:u32 offset:u64 )
//! padding to `general.alignment` (32 by default), then the tensors' data; offsets count from there
//! ```

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::quantised::BlockType;

/// GGML's own limit on a tensor's dimensions.
const MAX_DIMENSIONS: u32 = 4;
/// The specification's limit on a key's length, in bytes; used for tensor names too.
const MAX_NAME: usize = 65_535;
/// Far above what any model needs (some 40); bounds the work on a hostile file.
const MAX_METADATA: u64 = 65_536;
const DEFAULT_ALIGNMENT: u64 = 32;

/// One metadata value. Integers of every width are widened, so that callers need not care how a writer chose it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A float of either width.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string; bytes that are not UTF-8 make the file damaged.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array of integers or booleans.
    Integers(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f64>),
}

/// Where a tensor's data lies and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Sizes in the order of the file: the fastest-running dimension first (libtorch's order reversed).
    pub dimensions: Vec<u64>,
    /// How the elements are packed.
    pub block_type: BlockType,
    /// Product of the dimensions; checked not to overflow.
    pub elements: usize,
    start: usize,
    length: usize,
}

impl TensorEntry {
    /// The shape as libtorch wants it: the slowest-running dimension first.
    pub fn shape(&self) -> Vec<i64> {
        // The product of the dimensions fits usize and lies in a real file, so each fits i64.
        self.dimensions
            .iter()
            .rev()
            .map(|&size| size as i64)
            .collect()
    }
}

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf<B = Mmap> {
    bytes: Arc<B>,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorEntry>,
}

impl Gguf<Mmap> {
    /// Maps the file and reads its header.
    ///
    /// The file must not be shortened while the map is in use: the operating system then ends the process.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        // SAFETY: the map is read-only; the contract that nobody shortens the file is the caller's, stated above.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        Self::parse(map)
    }
}

impl<B: AsRef<[u8]>> Gguf<B> {
    /// Reads the header of a GGUF image that is already in memory.
    pub fn parse(bytes: B) -> Result<Self> {
        let (metadata, tensors) = read_header(bytes.as_ref())?;
        Ok(Self {
            bytes: Arc::new(bytes),
            metadata,
            tensors,
        })
    }

    /// A file that was never on disk: metadata, and for each tensor its name, the file's dimensions, and its packed
    /// data. `None` where a tensor's data has not the length that its sizes ask for.
    pub(crate) fn of_parts(
        metadata: BTreeMap<String, Value>,
        parts: Vec<(String, Vec<u64>, BlockType, Vec<u8>)>,
    ) -> Option<Gguf<Vec<u8>>> {
        let mut bytes = Vec::new();
        let mut tensors = BTreeMap::new();
        for (name, dimensions, block_type, data) in parts {
            let elements = usize::try_from(dimensions.iter().product::<u64>()).ok()?;
            let blocks = elements.div_ceil(block_type.elements_per_block());
            let (start, length) = (bytes.len(), data.len());
            if length != blocks * block_type.bytes_per_block() {
                return None;
            }
            bytes.extend(data);
            let entry = TensorEntry {
                dimensions,
                block_type,
                elements,
                start,
                length,
            };
            tensors.insert(name, entry);
        }
        Some(Gguf {
            bytes: Arc::new(bytes),
            metadata,
            tensors,
        })
    }

    /// All metadata, by key.
    pub(crate) fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorEntry> {
        &self.tensors
    }

    /// The packed bytes of a tensor of this file.
    pub fn data(&self, entry: &TensorEntry) -> &[u8] {
        &(*self.bytes).as_ref()[entry.start..entry.start + entry.length]
    }

    /// As [`data`](Self::data), for whoever reads the bytes as long as he likes: the file stays mapped.
    pub(crate) fn region(&self, entry: &TensorEntry) -> Region
    where
        B: Send + Sync + 'static,
    {
        Region::new(self.bytes.clone(), entry.start, entry.length)
    }

    /// A metadata value, if the key is there.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A string, if the key is there and holds one.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A non-negative integer, if the key is there and holds one.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Unsigned(value) => Some(*value),
            Value::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A number, if the key is there and holds one.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A boolean, if the key is there and holds one.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A list of strings, if the key is there and holds one.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.metadata.get(key)? {
            Value::Texts(values) => Some(values),
            _ => None,
        }
    }

    /// A list of integers, if the key is there and holds one.
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.metadata.get(key)? {
            Value::Integers(values) => Some(values),
            _ => None,
        }
    }
}

/// A tensor's packed bytes, together with a share of the file that they lie in.
#[derive(Clone)]
pub(crate) struct Region {
    file: Arc<dyn AsRef<[u8]> + Send + Sync>,
    start: usize,
    length: usize,
    is_mapped: bool,
}

impl Region {
    /// So many bytes of a file; none where it ends before.
    pub(crate) fn new<B>(file: Arc<B>, start: usize, length: usize) -> Self
    where
        B: AsRef<[u8]> + Send + Sync + 'static,
    {
        let end = start.checked_add(length);
        let fits = end.is_some_and(|end| end <= (*file).as_ref().len());
        Self {
            file,
            start: if fits { start } else { 0 },
            length: if fits { length } else { 0 },
            is_mapped: TypeId::of::<B>() == TypeId::of::<Mmap>(),
        }
    }

    /// Tells the system that the pages of these bytes are not needed for now, where they are a file's.
    pub(crate) fn release(&self) {
        self.release_part(0..self.length);
    }

    /// The same of some of the bytes.
    pub(crate) fn release_part(&self, part: std::ops::Range<usize>) {
        #[cfg(unix)]
        {
            let bytes = &self.bytes()[part];
            // SAFETY: sysconf reads a constant of the system.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
            let first = (bytes.as_ptr() as usize).next_multiple_of(page);
            let end = (bytes.as_ptr() as usize + bytes.len()) / page * page;
            if self.is_mapped && end > first {
                // SAFETY: whole pages inside a read-only mapping of a file; they are read again when they are needed.
                let _ = unsafe {
                    libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_DONTNEED)
                };
            }
        }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &(*self.file).as_ref()[self.start..self.start + self.length]
    }
}

type Header = (BTreeMap<String, Value>, BTreeMap<String, TensorEntry>);

fn read_header(bytes: &[u8]) -> Result<Header> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.take(4)? != b"GGUF" {
        return Err(damaged("it does not begin with \"GGUF\""));
    }
    match cursor.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err(Error::Unsupported("a big-endian GGUF file".into()));
        }
        version => return Err(Error::Unsupported(format!("GGUF version {version}"))),
    }
    let tensor_count = cursor.u64()?;
    let metadata_count = cursor.u64()?;
    if metadata_count > MAX_METADATA {
        return Err(damaged(format!(
            "it states {metadata_count} metadata values"
        )));
    }
    let mut metadata = BTreeMap::new();
    for _ in 0..metadata_count {
        let key = cursor.name()?;
        let value_type = cursor.u32()?;
        let value = cursor.value(value_type)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(damaged(format!("the key {key} appears twice")));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Unsigned(value))
            if value.is_power_of_two() && (8..=1 << 20).contains(value) =>
        {
            *value
        }
        Some(_) => {
            return Err(damaged(
                "general.alignment is not a power of two from 8 to 1048576",
            ));
        }
    };
    // The data's start is known only after the last entry, so places are checked in a second pass.
    let mut entries = Vec::new();
    for _ in 0..tensor_count {
        entries.push(cursor.tensor_entry()?);
    }
    let start = (cursor.at as u64)
        .checked_next_multiple_of(alignment)
        .ok_or_else(|| damaged("the header's end overflows"))?;
    let mut tensors = BTreeMap::new();
    for (name, mut entry, offset) in entries {
        if offset % alignment != 0 {
            return Err(damaged(format!(
                "tensor {name} is not aligned to {alignment} bytes"
            )));
        }
        let place = start
            .checked_add(offset)
            .and_then(|place| usize::try_from(place).ok());
        entry.start = place
            .filter(|place| {
                place
                    .checked_add(entry.length)
                    .is_some_and(|end| end <= bytes.len())
            })
            .ok_or_else(|| damaged(format!("tensor {name} ends after the file does")))?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(damaged(format!("tensor {name} appears twice")));
        }
    }
    Ok((metadata, tensors))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::Damaged(what.into())
}

/// Reads forward through the header; every read is bounds-checked.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self
            .at
            .checked_add(length)
            .filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| damaged("its header ends early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("take returns as many bytes as asked for"))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn string(&mut self, limit: usize) -> Result<String> {
        let length = usize::try_from(self.u64()?)
            .ok()
            .filter(|&length| length <= limit);
        let bytes =
            self.take(length.ok_or_else(|| damaged("a string is longer than it may be"))?)?;
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("a string is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn name(&mut self) -> Result<String> {
        self.string(MAX_NAME)
    }

    fn value(&mut self, value_type: u32) -> Result<Value> {
        Ok(match value_type {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.string(usize::MAX)?),
            9 => self.list()?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(damaged(format!("metadata type {other} does not exist"))),
        })
    }

    fn list(&mut self) -> Result<Value> {
        let element = self.u32()?;
        let count = self.u64()?;
        // An element takes at least this many bytes, which bounds the count by the file's size.
        let least = match element {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => {
                return Err(Error::Unsupported(
                    "an array of arrays in GGUF metadata".into(),
                ));
            }
            other => return Err(damaged(format!("metadata type {other} does not exist"))),
        };
        let left = (self.bytes.len() - self.at) as u64;
        if count > left / least {
            return Err(damaged("a list is longer than the file"));
        }
        let mut list = match element {
            8 => Value::Texts(Vec::new()),
            6 | 12 => Value::Floats(Vec::new()),
            _ => Value::Integers(Vec::new()),
        };
        for _ in 0..count {
            match (&mut list, self.value(element)?) {
                (Value::Texts(list), Value::Text(text)) => list.push(text),
                (Value::Floats(list), Value::Float(value)) => list.push(value),
                (Value::Integers(list), Value::Signed(value)) => list.push(value),
                (Value::Integers(list), Value::Bool(value)) => list.push(value.into()),
                (Value::Integers(list), Value::Unsigned(value)) => {
                    let value = i64::try_from(value)
                        .map_err(|_| damaged("a list holds an integer above 2^63"))?;
                    list.push(value);
                }
                _ => unreachable!("every element type is read into the list made for it"),
            }
        }
        Ok(list)
    }

    /// One tensor's description; its place is filled in once the header's end is known.
    fn tensor_entry(&mut self) -> Result<(String, TensorEntry, u64)> {
        let name = self.name()?;
        let count = self.u32()?;
        if count == 0 || count > MAX_DIMENSIONS {
            return Err(damaged(format!("tensor {name} has {count} dimensions")));
        }
        let dimensions = (0..count)
            .map(|_| self.u64())
            .collect::<Result<Vec<u64>>>()?;
        let type_id = self.u32()?;
        let offset = self.u64()?;
        let block_type = BlockType::from_ggml(type_id).ok_or_else(|| {
            Error::Unsupported(format!(
                "type {} of tensor {name}",
                BlockType::ggml_name(type_id)
            ))
        })?;
        let elements = dimensions
            .iter()
            .try_fold(1u64, |product, &size| product.checked_mul(size))
            .filter(|&elements| elements > 0 && elements <= i64::MAX as u64)
            .and_then(|elements| usize::try_from(elements).ok())
            .ok_or_else(|| damaged(format!("tensor {name} has an impossible size")))?;
        if dimensions[0] % block_type.elements_per_block() as u64 != 0 {
            return Err(damaged(format!(
                "a row of tensor {name} does not hold whole {block_type} blocks"
            )));
        }
        let length = (elements / block_type.elements_per_block())
            .checked_mul(block_type.bytes_per_block())
            .ok_or_else(|| damaged(format!("tensor {name} has an impossible size")))?;
        Ok((
            name,
            TensorEntry {
                dimensions,
                block_type,
                elements,
                start: 0,
                length,
            },
            offset,
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_model;

    #[test]
    fn a_written_file_is_read_back() {
        let gguf = Gguf::parse(test_model::gguf()).expect("the test model is sound");
        assert_eq!(gguf.text("general.architecture"), Some("llama"));
        assert_eq!(gguf.unsigned("llama.block_count"), Some(2));
        let entry = &gguf.tensors()["blk.0.attn_k.weight"];
        assert_eq!(entry.shape(), [8, 32]);
        assert_eq!(gguf.data(entry).len(), 8 * 32 * 4);
    }

    #[test]
    fn a_truncated_file_is_refused_at_every_length() {
        let whole = test_model::gguf();
        let header = whole.len() - 64;
        for length in (0..header).step_by(7) {
            assert!(
                Gguf::parse(&whole[..length]).is_err(),
                "accepted {length} of {} bytes",
                whole.len()
            );
        }
    }

    #[test]
    fn a_type_that_is_not_built_yet_is_named() {
        let mut file = test_model::header(0, 1);
        test_model::push_tensor(&mut file, "x", &[256], 16, 0);
        let error = Gguf::parse(file).expect_err("IQ2_XXS is not supported");
        assert_eq!(
            error.to_string(),
            "type IQ2_XXS of tensor x is not supported yet"
        );
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        for dimensions in [
            &[u64::MAX, 2][..],
            &[1 << 62, 1 << 62],
            &[0, 4],
            &[i64::MAX as u64, 1],
        ] {
            let mut file = test_model::header(0, 1);
            test_model::push_tensor(&mut file, "x", dimensions, 0, 0);
            file.resize(file.len() + 4096, 0);
            assert!(Gguf::parse(file).is_err(), "accepted {dimensions:?}");
        }
    }

    #[test]
    fn a_tensor_beyond_the_file_is_refused() {
        for offset in [4096, u64::MAX - 31, 1 << 63] {
            let mut file = test_model::header(0, 1);
            test_model::push_tensor(&mut file, "x", &[32], 0, offset);
            file.resize(file.len() + 512, 0);
            assert!(Gguf::parse(file).is_err(), "accepted offset {offset}");
        }
    }

    #[test]
    fn a_list_longer_than_the_file_is_refused_before_it_is_allocated() {
        for element in [0u32, 4, 8, 10] {
            let mut file = test_model::header(1, 0);
            test_model::push_text(&mut file, "k");
            file.extend(9u32.to_le_bytes());
            file.extend(element.to_le_bytes());
            file.extend((1u64 << 60).to_le_bytes());
            assert!(Gguf::parse(file).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn mutated_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
            let mut file = test_model::gguf();
            // Most of the file is weights, which anything may be; aim at the header.
            let header = 4096.min(file.len());
            for (place, byte) in changes {
                let place = place.index(header);
                file[place] = byte;
            }
            if let Ok(gguf) = Gguf::parse(file) {
                for entry in gguf.tensors().values() {
                    prop_assert_eq!(gguf.data(entry).len(), entry.length);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..256)) {
            let mut file = b"GGUF\x03\0\0\0".to_vec();
            file.extend(tail);
            let _ = Gguf::parse(file);
        }
    }
}
