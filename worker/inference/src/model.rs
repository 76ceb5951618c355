//! A model on disk, opened: its weights on a device, its tokenizer and chat template, and what it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::chat_template::{ChatMessage, ChatTemplate};
use crate::detokenise::Detokeniser;
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::llama::{Config, Llama};
use crate::model_root::{ModelRoot, model_root};
use crate::tokenizer::Tokenizer;

/// The longest context that is prepared for unless asked otherwise; bounds what a file's own number can cost.
const DEFAULT_MAX_CONTEXT: usize = 131_072;

/// How to load a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Where to compute.
    pub device: Device,
    /// In which number format.
    pub dtype: DType,
    /// Tokens that prompt and answer may have together; the model's own limit where `None`, and never above it.
    pub context: Option<usize>,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name that the file gives itself; empty where it gives none.
    pub name: String,
    /// The architecture's family, such as `llama`.
    pub family: String,
    /// Number of parameters.
    pub parameters: u64,
    /// The format in which the file packs most of its weights, such as `Q4_1`.
    pub quantisation: String,
    /// Tokens that prompt and answer may have together, as loaded.
    pub context: usize,
    /// Number of different tokens.
    pub vocabulary: usize,
    /// Where it computes.
    pub device: Device,
    /// In which number format.
    pub dtype: DType,
    /// Bytes of the weight matrices as loaded; packed ones stay in the mapped file, which other processes can share.
    pub memory_bytes: u64,
    /// Bytes of cache that each token of a sequence takes.
    pub cache_bytes_per_token: u64,
    /// The files and their root (`docs/spec/model-root.md`).
    pub root: ModelRoot,
}

/// The part of a model that turns conversations into tokens and tokens into text. Cheap to share between threads.
#[derive(Debug)]
pub struct ModelText {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

/// A model, ready to compute.
pub struct Model {
    pub(crate) llama: Llama,
    text: Arc<ModelText>,
    info: ModelInfo,
}

impl Model {
    /// Loads the model at `path`: a GGUF file, or a folder with one in it.
    ///
    /// Every file of it is read and hashed first, so that [`ModelInfo::root`] says what was loaded.
    pub fn load(path: &Path, options: LoadOptions) -> Result<Self> {
        let begin = Instant::now();
        // Before anything else of libtorch, which looks for CUDA only once.
        let device = options.device.open()?;
        let file = gguf_file(path)?;
        let root = model_root(path)?;
        let gguf = Gguf::open(&file)?;
        let model = Self::from_gguf(&gguf, root, options, device)?;
        let (name, seconds) = (&model.info.name, begin.elapsed().as_secs_f64());
        tracing::info!(model = %name, device = %options.device, dtype = %options.dtype, seconds, "model loaded");
        Ok(model)
    }

    pub(crate) fn from_gguf<B: AsRef<[u8]> + Send + Sync + 'static>(
        gguf: &Gguf<B>,
        root: ModelRoot,
        options: LoadOptions,
        device: tch::Device,
    ) -> Result<Self> {
        let family = gguf.text("general.architecture").unwrap_or_default();
        if family != "llama" {
            return Err(Error::Unsupported(format!(
                "the model architecture \"{family}\""
            )));
        }
        if gguf.unsigned("split.count").is_some_and(|count| count > 1) {
            return Err(Error::Unsupported(
                "a model split over several GGUF files".into(),
            ));
        }
        let text = ModelText::from_gguf(gguf)?;
        let config = Config::from_gguf(gguf)?;
        let context = options
            .context
            .unwrap_or(DEFAULT_MAX_CONTEXT)
            .min(config.context)
            .max(1);
        let vocabulary = text.tokenizer.vocabulary();
        let cache_bytes_per_token = config.cache_elements() * options.dtype.bytes();
        let llama = Llama::load(
            gguf,
            config,
            vocabulary,
            context,
            device,
            options.dtype.on(options.device)?,
        )?;
        let parameters = gguf
            .tensors()
            .values()
            .map(|entry| entry.elements as u64)
            .sum::<u64>();
        let info = ModelInfo {
            name: gguf.text("general.name").unwrap_or_default().to_owned(),
            family: family.to_owned(),
            parameters,
            quantisation: quantisation(gguf),
            context,
            vocabulary,
            device: options.device,
            dtype: options.dtype,
            memory_bytes: llama.weight_bytes(),
            cache_bytes_per_token,
            root,
        };
        Ok(Self {
            llama,
            text: Arc::new(text),
            info,
        })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Tokenizer and template, for use from other threads than the one that computes.
    pub fn text(&self) -> Arc<ModelText> {
        self.text.clone()
    }

    /// The logits after a prompt, one per token of the vocabulary: what the first token is chosen from.
    pub fn logits(&self, prompt: &[u32]) -> Result<Vec<f32>> {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() > self.info.context {
            return Err(Error::PromptTooLong {
                prompt: prompt.len(),
                context: self.info.context,
            });
        }
        self.llama
            .forward(prompt, &mut self.llama.cache(prompt.len())?)
    }

    /// See [`ModelText::render_chat`].
    pub fn render_chat(&self, messages: &[ChatMessage]) -> Result<String> {
        self.text.render_chat(messages)
    }

    /// See [`ModelText::encode`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.text.encode(text)
    }

    /// See [`ModelText::decode`].
    pub fn decode(&self, ids: &[u32]) -> String {
        self.text.decode(ids)
    }
}

impl ModelText {
    fn from_gguf<B: AsRef<[u8]>>(gguf: &Gguf<B>) -> Result<Self> {
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        let (bos, eos) = (
            tokenizer.bos_text().unwrap_or_default(),
            tokenizer.eos_text().unwrap_or_default(),
        );
        let template = gguf.text("tokenizer.chat_template");
        let template = template
            .map(|source| ChatTemplate::new(source, bos, eos))
            .transpose()?;
        Ok(Self {
            tokenizer,
            template,
        })
    }

    /// Reads tokenizer and chat template alone, without the weights: to count a prompt's tokens, say.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_gguf(&Gguf::open(&gguf_file(path)?)?)
    }

    /// The prompt text for the next answer to a conversation, by the template in the model's file.
    pub fn render_chat(&self, messages: &[ChatMessage]) -> Result<String> {
        let missing = || {
            Error::ChatTemplate(
                "the model's file has none: it completes text, it does not chat".into(),
            )
        };
        self.template.as_ref().ok_or_else(missing)?.render(messages)
    }

    /// The ids of a text; special tokens written out in it count as such.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text)
    }

    /// The text of an output: one function of all its ids. The end token is among the ids and adds nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids)
    }

    /// For text that grows id by id; its pieces join to what [`decode`](Self::decode) gives for all.
    pub fn detokeniser(&self) -> Detokeniser {
        self.tokenizer.detokeniser()
    }

    /// The tokens that end an answer, ascending.
    pub fn stop_tokens(&self) -> &[u32] {
        self.tokenizer.stops()
    }
}

/// The file to load: `path` itself, or the only GGUF file in it.
pub(crate) fn gguf_file(path: &Path) -> Result<PathBuf> {
    if !std::fs::metadata(path).map_err(Error::io(path))?.is_dir() {
        return Ok(path.to_owned());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
        let entry = entry.map_err(Error::io(path))?.path();
        if entry
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
        {
            found.push(entry);
        }
    }
    match found.as_slice() {
        [file] => Ok(file.clone()),
        [] => Err(Error::Unsupported(format!(
            "a model folder without a GGUF file ({})",
            path.display()
        ))),
        _ => {
            let (count, path) = (found.len(), path.display());
            Err(Error::BadParameter(format!(
                "{path} holds {count} GGUF files: name one of them"
            )))
        }
    }
}

/// The format that holds most of the file's parameters.
fn quantisation<B: AsRef<[u8]>>(gguf: &Gguf<B>) -> String {
    let mut totals = std::collections::BTreeMap::new();
    for entry in gguf.tensors().values() {
        *totals.entry(entry.block_type).or_insert(0u64) += entry.elements as u64;
    }
    totals
        .into_iter()
        .max_by_key(|&(_, elements)| elements)
        .map(|(kind, _)| kind.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::test_model;

    pub(crate) fn load(file: Vec<u8>) -> Result<Model> {
        let root = ModelRoot {
            root: [0; 32],
            files: Vec::new(),
        };
        Model::from_gguf(
            &Gguf::parse(file)?,
            root,
            LoadOptions::default(),
            tch::Device::Cpu,
        )
    }

    #[test]
    fn a_model_says_what_it_is() {
        let model = load(test_model::gguf()).expect("loads");
        let info = model.info();
        assert_eq!(
            (
                info.family.as_str(),
                info.quantisation.as_str(),
                info.context
            ),
            ("llama", "F32", 64)
        );
        assert_eq!(info.cache_bytes_per_token, 2 * 2 * 8 * 4);
        assert_eq!(
            model
                .render_chat(&[ChatMessage::new("user", "hi")])
                .expect("renders"),
            "user: hi\n"
        );
    }

    #[test]
    fn a_missing_weight_is_named() {
        let mut tensors = test_model::tensors();
        tensors.retain(|(name, _)| name != "blk.1.ffn_up.weight");
        let error = load(test_model::gguf_with(&tensors))
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("blk.1.ffn_up.weight is missing"), "{error}");
    }

    #[test]
    fn a_weight_that_would_stay_unread_is_named() {
        let mut tensors = test_model::tensors();
        tensors.push(("blk.0.attn_q.bias".into(), vec![32]));
        let error = load(test_model::gguf_with(&tensors))
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("blk.0.attn_q.bias"), "{error}");
    }

    #[test]
    fn a_weight_of_the_wrong_shape_is_named_with_both_shapes() {
        let mut tensors = test_model::tensors();
        tensors
            .iter_mut()
            .filter(|(name, _)| name == "blk.0.attn_k.weight")
            .for_each(|(_, sizes)| sizes[1] = 16);
        let error = load(test_model::gguf_with(&tensors))
            .err()
            .expect("refused")
            .to_string();
        assert!(
            error.contains("[16, 32]") && error.contains("[8, 32]"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_without_a_single_model_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(gguf_file(folder.path()).is_err());
        std::fs::write(folder.path().join("a.gguf"), "").expect("write");
        assert_eq!(
            gguf_file(folder.path()).expect("one"),
            folder.path().join("a.gguf")
        );
        std::fs::write(folder.path().join("b.GGUF"), "").expect("write");
        assert!(
            gguf_file(folder.path())
                .expect_err("two")
                .to_string()
                .contains("2 GGUF files")
        );
        assert!(Model::load(&folder.path().join("a.gguf"), LoadOptions::default()).is_err());
    }
}
