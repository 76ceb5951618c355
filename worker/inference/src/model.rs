//! A model on disk, opened: its weights on a device, its tokenizer and chat template, and what it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tch::Tensor;

use crate::chat_template::{ChatInput, ChatMessage, ChatTemplate};
use crate::decoder::{Cache, Config, Decoder, Part, Pool};
use crate::detokenise::Detokeniser;
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::families::{self, HfConfig};
use crate::gguf::Gguf;
use crate::grammar::{Constraint, Grammar, Vocabulary};
use crate::linear::Activations;
use crate::model_root::{ModelRoot, model_root};
use crate::safetensors_files::weight_files;
use crate::sequence::SamplingParams;
use crate::tokenizer::{Tokenizer, TokenizerConfig};
use crate::weights::Weights;

/// The longest context that is prepared for unless asked otherwise; bounds what a file's own number can cost.
const DEFAULT_MAX_CONTEXT: usize = 131_072;

/// Said where a model without a chat template is asked to chat.
const NO_TEMPLATE: &str = "the model's files have none: it completes text, it does not chat";

/// Logits that are in memory at a time: 32 MiB.
pub(crate) const LOGITS: usize = 8 << 20;

/// How to load a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Where to compute.
    pub device: Device,
    /// In which number format.
    pub dtype: DType,
    /// How exactly activations are multiplied with packed weights on the CPU in f32.
    pub activations: Activations,
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
    /// Parameters of the layers alone: so many products a token of a prompt takes, attention aside.
    pub layer_parameters: u64,
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
    defaults: SamplingParams,
    vocabulary: Vocabulary,
}

/// A model, ready to compute.
pub struct Model {
    pub(crate) decoder: Decoder,
    text: Arc<ModelText>,
    info: ModelInfo,
}

/// A sequence that is read without an engine, with memory of its own.
pub(crate) struct Reading {
    pool: Pool,
    cache: Cache,
}

impl Reading {
    /// Tokens read so far.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.cache.used()
    }
}

/// What both kinds of files say of a model.
struct Opened {
    name: String,
    config: Config,
    weights: Weights,
    text: ModelText,
    root: ModelRoot,
}

impl Model {
    /// Loads the model at `path`: a GGUF file, a folder with one in it, or a Hugging Face folder with safetensors.
    ///
    /// Every file of it is read and hashed first, so that [`ModelInfo::root`] says what was loaded.
    ///
    /// # Errors
    /// What is missing or damaged, or not built yet, and what to do about it.
    pub fn load(path: &Path, options: LoadOptions) -> Result<Self> {
        let begin = Instant::now();
        // Before anything else of libtorch, which looks for CUDA only once.
        let device = options.device.open()?;
        let kind = options.dtype.on(options.device)?;
        let model = match Files::at(path)? {
            Files::Gguf(file) => {
                let root = model_root(path)?;
                Self::from_gguf(&Gguf::open(&file)?, root, options, device)?
            }
            Files::Folder(weights) => {
                let root = model_root(path)?;
                Self::of(from_folder(path, &weights, root, device, kind)?, options)?
            }
        };
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
        if gguf.unsigned("split.count").is_some_and(|count| count > 1) {
            return Err(Error::Unsupported(
                "a model split over several GGUF files".into(),
            ));
        }
        let weights = Weights::of_gguf(gguf, device, options.dtype.on(options.device)?);
        let opened = Opened {
            name: gguf.text("general.name").unwrap_or_default().to_owned(),
            config: families::of_gguf(gguf, &weights)?,
            text: ModelText::from_gguf(gguf)?,
            weights,
            root,
        };
        Self::of(opened, options)
    }

    fn of(opened: Opened, options: LoadOptions) -> Result<Self> {
        let Opened {
            name,
            config,
            weights,
            text,
            root,
        } = opened;
        let context = options
            .context
            .unwrap_or(DEFAULT_MAX_CONTEXT)
            .min(config.context)
            .max(1);
        // The matrix of embeddings may have more rows than there are tokens, so that its size is a round number.
        let vocabulary = weights.rows("token_embd.weight")?;
        if text.tokenizer.vocabulary() > vocabulary {
            return Err(Error::Checkpoint(format!(
                "{} tokens, but embeddings for {vocabulary}",
                text.tokenizer.vocabulary()
            )));
        }
        let cache_bytes_per_token = config.cache_elements() * options.dtype.bytes();
        let family = config.family.to_owned();
        let (parameters, quantisation) = (weights.parameters(), weights.quantisation());
        let weights = weights.with(options.activations);
        let decoder = Decoder::load(config, weights, vocabulary, context)?;
        let info = ModelInfo {
            name,
            family,
            parameters,
            quantisation,
            context,
            vocabulary,
            device: options.device,
            dtype: options.dtype,
            memory_bytes: decoder.weight_bytes(),
            layer_parameters: parameters.saturating_sub(decoder.end_parameters()),
            cache_bytes_per_token,
            root,
        };
        Ok(Self {
            decoder,
            text: Arc::new(text),
            info,
        })
    }

    /// Continues sequences by their next tokens, for which the pool has room. Returns the logits after the last token of
    /// those that are ready, one after the other, in f32.
    pub(crate) fn logits_of(
        &self,
        parts: &mut [Part<'_>],
        ready: &[bool],
        pool: &mut Pool,
    ) -> Result<Vec<f32>> {
        let counts: Vec<usize> = parts.iter().map(|part| part.ids.len()).collect();
        let x = self.decoder.forward(parts, pool)?;
        let mut last = Vec::new();
        let mut end = 0;
        for (count, is_ready) in counts.into_iter().zip(ready) {
            end += count as i64;
            last.extend(is_ready.then_some(end - 1));
        }
        let rows = match last.as_slice() {
            [] => return Ok(Vec::new()),
            all if all.len() as i64 == end => x,
            [one] => x.f_narrow(0, *one, 1)?,
            some => x.f_index_select(0, &Tensor::f_from_slice(some)?.f_to_device(x.device())?)?,
        };
        Ok(Vec::try_from(self.decoder.head(&rows)?.f_reshape([-1])?)?)
    }

    /// A sequence of at most `length` tokens, of which there might be `capacity` in all.
    pub(crate) fn reading(&self, length: usize, capacity: usize) -> Result<Reading> {
        let mut pool = self.decoder.pool(length)?;
        let cache = pool.begin(&[], self.decoder.is_long(capacity));
        Ok(Reading { pool, cache })
    }

    /// Continues the sequence. Returns the logits after the last of its new tokens.
    pub(crate) fn read(&self, reading: &mut Reading, ids: &[u32]) -> Result<Vec<f32>> {
        let Reading { pool, cache } = reading;
        if !pool.reserve(cache, ids.len()) {
            return Err(Error::BadParameter("the sequence is too long".into()));
        }
        self.logits_of(&mut [Part { ids, cache }], &[true], pool)
    }

    /// As [`read`](Self::read), with the logits after each id from the index `from` on, told one by one together with the
    /// id's index. Only `rows` of them are in memory at a time.
    pub(crate) fn read_each(
        &self,
        reading: &mut Reading,
        ids: &[u32],
        from: usize,
        rows: usize,
        mut each: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let Reading { pool, cache } = reading;
        if !pool.reserve(cache, ids.len()) {
            return Err(Error::BadParameter("the sequence is too long".into()));
        }
        let x = self.decoder.forward(&mut [Part { ids, cache }], pool)?;
        let mut at = from;
        while at < ids.len() {
            let count = rows.clamp(1, ids.len() - at);
            let some = x.f_narrow(0, at as i64, count as i64)?;
            let logits: Vec<f32> = Vec::try_from(self.decoder.head(&some)?.f_reshape([-1])?)?;
            for (index, row) in logits.chunks_exact(self.info.vocabulary).enumerate() {
                each(at + index, row)?;
            }
            at += count;
        }
        Ok(())
    }

    /// How its authors would have it answer (`generation_config.json`); greedy where they do not say.
    pub fn defaults(&self) -> &SamplingParams {
        &self.text.defaults
    }

    /// The logits after every one of these ids, told one by one with the id's index: what the next token is chosen from.
    pub fn each_logits(
        &self,
        ids: &[u32],
        each: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.check_ids(ids)?;
        let rows = (LOGITS / self.info.vocabulary.max(1)).max(1);
        self.read_each(&mut self.reading(ids.len(), ids.len())?, ids, 0, rows, each)
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if ids.len() > self.info.context {
            return Err(Error::PromptTooLong {
                prompt: ids.len(),
                context: self.info.context,
            });
        }
        Ok(())
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
        self.check_ids(prompt)?;
        self.read(&mut self.reading(prompt.len(), prompt.len())?, prompt)
    }

    /// From now on nothing ends an answer but its limit.
    #[cfg(test)]
    pub(crate) fn forget_stops(&mut self) {
        let text = Arc::get_mut(&mut self.text).expect("not shared yet");
        text.tokenizer.forget_stops();
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
        let (bos, eos) = (tokenizer.bos_text(), tokenizer.eos_text());
        let template = gguf.text("tokenizer.chat_template");
        let template = template
            .map(|source| ChatTemplate::new(source, bos, eos))
            .transpose()?;
        Ok(Self {
            tokenizer,
            template,
            defaults: SamplingParams::default(),
            vocabulary: Vocabulary::default(),
        })
    }

    fn from_folder(folder: &Path, config: &HfConfig) -> Result<Self> {
        let beside = TokenizerConfig::read(folder)?;
        let tokenizer = Tokenizer::from_folder(folder, config, &beside)?;
        let (bos, eos) = (tokenizer.bos_text(), tokenizer.eos_text());
        let template = beside.chat_template(folder)?;
        let template = template.map(|source| ChatTemplate::new(&source, bos, eos));
        Ok(Self {
            template: template.transpose()?,
            tokenizer,
            defaults: defaults(folder)?,
            vocabulary: Vocabulary::default(),
        })
    }

    /// Reads tokenizer and chat template alone, without the weights: to count a prompt's tokens, say.
    pub fn load(path: &Path) -> Result<Self> {
        match Files::at(path)? {
            Files::Gguf(file) => Self::from_gguf(&Gguf::open(&file)?),
            Files::Folder(_) => Self::from_folder(path, &HfConfig::open(path)?),
        }
    }

    /// The prompt text for the next answer to a conversation, by the template in the model's file.
    pub fn render_chat(&self, messages: &[ChatMessage]) -> Result<String> {
        self.render_input(&messages.into())
    }

    /// As [`render_chat`](Self::render_chat), with everything that a template may look at.
    pub fn render_input(&self, input: &ChatInput) -> Result<String> {
        let missing = || Error::ChatTemplate(NO_TEMPLATE.into());
        let template = self.template.as_ref().ok_or_else(missing)?;
        template.render_input(input)
    }

    /// The ids of a text; special tokens written out in it count as such.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text)
    }

    /// The text of an output: one function of all its ids. The end token is among the ids and adds nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids)
    }

    /// Begins an answer of this form.
    pub(crate) fn constrain(&self, grammar: &Grammar) -> Result<Constraint> {
        let no_end =
            || Error::BadParameter("a model without an end token cannot be held to a form".into());
        let end = *self.stop_tokens().first().ok_or_else(no_end)?;
        self.vocabulary.begin(grammar, self.tokenizer.bytes(), end)
    }

    /// True if there is a chat template: the model chats, and does not only complete texts.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.tokenizer.vocabulary()
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

/// How a folder's `generation_config.json` would have answers made.
fn defaults(folder: &Path) -> Result<SamplingParams> {
    let mut params = SamplingParams::default();
    let path = folder.join("generation_config.json");
    if !path.is_file() {
        return Ok(params);
    }
    let file = HfConfig::read(&path)?;
    if file.flag("do_sample")?.unwrap_or(false) {
        params.temperature = file.float("temperature")?.unwrap_or(1.0);
        params.top_k = u32::try_from(file.size("top_k")?.unwrap_or(50)).unwrap_or(0);
        params.top_p = file.float("top_p")?.unwrap_or(1.0);
        params.min_p = file.float("min_p")?.unwrap_or(0.0);
    }
    params.adjustments.repetition_penalty = file.float("repetition_penalty")?.unwrap_or(1.0);
    // What is out of range there is no reason to refuse the model.
    Ok(match params.validate() {
        Ok(()) => params,
        Err(_) => SamplingParams::default(),
    })
}

/// What a model consists of.
enum Files {
    /// One file that holds everything.
    Gguf(PathBuf),
    /// A folder with these files of weights.
    Folder(Vec<PathBuf>),
}

impl Files {
    fn at(path: &Path) -> Result<Self> {
        if path.is_dir() && path.join("config.json").is_file() {
            let weights = weight_files(path, "model")?;
            if !weights.is_empty() {
                return Ok(Self::Folder(weights));
            }
        }
        gguf_file(path).map(Self::Gguf)
    }
}

fn from_folder(
    folder: &Path,
    files: &[PathBuf],
    root: ModelRoot,
    device: tch::Device,
    kind: tch::Kind,
) -> Result<Opened> {
    let file = HfConfig::open(folder)?;
    let config = families::of_folder(&file)?;
    let post_norms = config.post_norms;
    let rename = |name: &str| families::weight_name(name, post_norms);
    // Old files hold the frequencies of the rotary positions, which follow from the description.
    let superfluous = |name: &str| name.ends_with(".rotary_emb.inv_freq");
    let mut weights = Weights::of_files(files, rename, superfluous, device, kind)?;
    // Some files hold the embedding once more as the output matrix.
    if file
        .flag("tie_word_embeddings")?
        .unwrap_or(config.ties_by_default)
    {
        weights.ignore("output.weight");
    } else if !weights.has("output.weight") {
        return Err(Error::Checkpoint("lm_head.weight is missing".into()));
    }
    let name = file.text("_name_or_path").filter(|name| !name.is_empty());
    let own = || {
        folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    Ok(Opened {
        name: name.map(str::to_owned).or_else(own).unwrap_or_default(),
        config,
        weights,
        text: ModelText::from_folder(folder, &file)?,
        root,
    })
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
            "a model folder with neither a GGUF file nor config.json and model.safetensors ({})",
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
        tensors.push(("blk.0.attn_sinks.weight".into(), vec![32]));
        let error = load(test_model::gguf_with(&tensors))
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("blk.0.attn_sinks.weight"), "{error}");
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
