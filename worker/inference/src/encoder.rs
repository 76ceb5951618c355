//! Text embeddings by encoders of the BERT family (Devlin et al., 2018, arXiv:1810.04805; Reimers and Gurevych, 2019,
//! arXiv:1908.10084), from folders as sentence-transformers publishes them.
//!
//! The references are transformers' `models/bert/modeling_bert.py` and sentence-transformers' `Pooling` and `Normalize`.

use std::path::Path;
use std::time::Instant;

use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::families::HfConfig;
use crate::linear::Linear;
use crate::model::LoadOptions;
use crate::model_root::{ModelRoot, model_root};
use crate::safetensors_files::{find_json, read_json, weight_files};
use crate::weights::Weights;

/// Tokens, padding included, that are computed together.
const BATCH_TOKENS: usize = 4096;

/// How the embeddings of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first, which stands for the whole text.
    Cls,
}

/// What a loaded encoder is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncoderInfo {
    /// Numbers of an embedding.
    pub width: usize,
    /// Tokens of a text that are looked at; what follows is cut off.
    pub max_tokens: usize,
    /// How the embeddings of a text's tokens become one.
    pub pooling: Pooling,
    /// True if embeddings are scaled to length 1.
    pub is_normalised: bool,
    /// Number of parameters.
    pub parameters: u64,
    /// Number of different tokens.
    pub vocabulary: usize,
    /// The files and their root (`docs/spec/model-root.md`).
    pub root: ModelRoot,
}

/// A text's embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The numbers.
    pub values: Vec<f32>,
    /// Tokens that were looked at, the added ones included.
    pub tokens: usize,
}

/// A model that turns texts into embeddings.
pub struct Encoder {
    tokenizer: tokenizers::Tokenizer,
    words: Linear,
    positions: Tensor,
    /// The type of a text that stands alone; added to every token.
    first_type: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    heads: i64,
    device: tch::Device,
    kind: Kind,
    info: EncoderInfo,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

struct Affine {
    matrix: Linear,
    bias: Tensor,
}

struct Layer {
    qkv: Affine,
    output: Affine,
    attention_norm: Norm,
    up: Affine,
    down: Affine,
    norm: Norm,
}

/// The folder's list of what follows the encoder.
#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PoolingFile {
    pooling_mode_mean_tokens: bool,
    pooling_mode_cls_token: bool,
    /// Newer files say it in one word.
    pooling_mode: Option<String>,
}

#[derive(Deserialize, Default)]
struct SentenceFile {
    max_seq_length: Option<usize>,
}

impl Encoder {
    /// Loads the encoder in this folder. Every file of it is read and hashed first.
    pub fn load(folder: &Path, options: LoadOptions) -> Result<Self> {
        let begin = Instant::now();
        let device = options.device.open()?;
        let kind = options.dtype.on(options.device)?;
        let config = HfConfig::open(folder)?;
        let family = config.text("model_type").unwrap_or_default();
        if family != "bert" {
            return Err(Error::Unsupported(format!(
                "embeddings by the model type \"{family}\""
            )));
        }
        let root = model_root(folder)?;
        let files = weight_files(folder, "model")?;
        if files.is_empty() {
            return Err(Error::Unsupported(format!(
                "a model folder without model.safetensors ({})",
                folder.display()
            )));
        }
        let rename = |name: &str| Some(name.strip_prefix("bert.").unwrap_or(name).to_owned());
        // What serves other purposes than embeddings.
        let superfluous = |name: &str| {
            let others = ["pooler.dense.", "embeddings.position_ids", "cls."];
            let name = name.strip_prefix("bert.").unwrap_or(name);
            others.iter().any(|other| name.starts_with(other))
        };
        let weights = Weights::of_files(&files, rename, superfluous, device, kind)?;
        let encoder = Self::of_weights(folder, &config, weights, root, options.context)?;
        let seconds = begin.elapsed().as_secs_f64();
        tracing::info!(folder = %folder.display(), device = %options.device, seconds, "encoder loaded");
        Ok(encoder)
    }

    fn of_weights(
        folder: &Path,
        config: &HfConfig,
        weights: Weights,
        root: ModelRoot,
        context: Option<usize>,
    ) -> Result<Self> {
        let activation = config.text("hidden_act").unwrap_or("gelu");
        let positions = config.text("position_embedding_type").unwrap_or("absolute");
        if activation != "gelu" || positions != "absolute" {
            return Err(Error::Unsupported(format!(
                "an encoder with {activation} and {positions} positions"
            )));
        }
        let width = config.needed("hidden_size")?;
        let inner = config.needed("intermediate_size")?;
        let heads = config.needed("num_attention_heads")?;
        let longest = config.needed("max_position_embeddings")?;
        let vocabulary = config.needed("vocab_size")?;
        let types = config.size("type_vocab_size")?.unwrap_or(2);
        if width % heads != 0 {
            return Err(Error::Checkpoint(format!(
                "{heads} heads in a width of {width}"
            )));
        }
        let epsilon = config.float("layer_norm_eps")?.unwrap_or(1e-12);
        let norm = |name: &str| -> Result<Norm> {
            Ok(Norm {
                weight: weights.get(&format!("{name}.weight"), &[width])?,
                bias: weights.get(&format!("{name}.bias"), &[width])?,
                epsilon,
            })
        };
        let affine = |names: &[String], rows: &[i64], columns: i64| -> Result<Affine> {
            let of = |what: &str| -> Vec<String> {
                names.iter().map(|name| format!("{name}.{what}")).collect()
            };
            let biases = of("bias");
            let biases = biases.iter().zip(rows);
            let biases = biases.map(|(name, &rows)| weights.get(name, &[rows]));
            Ok(Affine {
                matrix: weights.matrix(&of("weight"), rows, columns)?,
                bias: Tensor::f_cat(&biases.collect::<Result<Vec<_>>>()?, 0)?,
            })
        };
        let mut layers = Vec::new();
        for index in 0..config.needed("num_hidden_layers")? {
            let at = |name: &str| format!("encoder.layer.{index}.{name}");
            let qkv = ["query", "key", "value"].map(|name| at(&format!("attention.self.{name}")));
            layers.push(Layer {
                qkv: affine(&qkv, &[width; 3], width)?,
                output: affine(&[at("attention.output.dense")], &[width], width)?,
                attention_norm: norm(&at("attention.output.LayerNorm"))?,
                up: affine(&[at("intermediate.dense")], &[inner], width)?,
                down: affine(&[at("output.dense")], &[width], inner)?,
                norm: norm(&at("output.LayerNorm"))?,
            });
        }
        let words = ["embeddings.word_embeddings.weight".to_owned()];
        let words = weights.matrix(&words, &[vocabulary], width)?;
        let all_types = weights.get("embeddings.token_type_embeddings.weight", &[types, width])?;
        let positions = weights.get("embeddings.position_embeddings.weight", &[longest, width])?;
        let norm = norm("embeddings.LayerNorm")?;
        let parameters = weights.parameters();
        let (device, kind) = (weights.device(), weights.kind());
        weights.finish()?;

        let (pooling, is_normalised) = after(folder)?;
        let sentence: Option<SentenceFile> = find_json(&folder.join("sentence_bert_config.json"))?;
        let limits = [sentence.and_then(|file| file.max_seq_length), context];
        let max_tokens = limits
            .into_iter()
            .flatten()
            .fold(longest as usize, usize::min);
        let path = folder.join("tokenizer.json");
        let bad = |error: tokenizers::Error| Error::Tokenizer(format!("tokenizer.json: {error}"));
        let mut tokenizer = crate::tokenizer::read_file(&path)?;
        tokenizer.with_padding(None);
        let truncation = tokenizers::TruncationParams {
            max_length: max_tokens,
            ..tokenizers::TruncationParams::default()
        };
        let _ = tokenizer.with_truncation(Some(truncation)).map_err(bad)?;
        Ok(Self {
            tokenizer,
            words,
            positions,
            first_type: all_types.f_select(0, 0)?,
            norm,
            layers,
            heads,
            device,
            kind,
            info: EncoderInfo {
                width: width as usize,
                max_tokens,
                pooling,
                is_normalised,
                parameters,
                vocabulary: vocabulary as usize,
                root,
            },
        })
    }

    /// What the encoder is.
    pub fn info(&self) -> &EncoderInfo {
        &self.info
    }

    /// The embeddings of texts, in their order. Texts of like length are computed together.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let _no_grad = tch::no_grad_guard();
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            let encoding = self.tokenizer.encode_fast(*text, true);
            let encoding = encoding.map_err(|error| Error::Tokenizer(error.to_string()))?;
            let text_ids: Vec<i64> = encoding.get_ids().iter().map(|&id| id.into()).collect();
            let unknown = |id: &i64| *id >= self.info.vocabulary as i64;
            if text_ids.is_empty() || text_ids.iter().any(unknown) {
                return Err(Error::Tokenizer(
                    "tokenizer.json does not fit the model's vocabulary".into(),
                ));
            }
            ids.push(text_ids);
        }
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&index| ids[index].len());
        let mut found = vec![None; ids.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            // The longest is the last, to whose length the others are padded.
            let fits = |count: &usize| ids[rest[count - 1]].len() * count <= BATCH_TOKENS;
            let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (batch, after) = rest.split_at(count);
            let texts: Vec<&[i64]> = batch.iter().map(|&index| ids[index].as_slice()).collect();
            let values: Vec<f32> = Vec::try_from(self.batch(&texts)?.f_reshape([-1])?)?;
            for (&index, values) in batch.iter().zip(values.chunks_exact(self.info.width)) {
                found[index] = Some(Embedding {
                    values: values.to_vec(),
                    tokens: ids[index].len(),
                });
            }
            rest = after;
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Embeddings of texts of which the last is the longest: [texts, width], in f32 on the CPU.
    fn batch(&self, texts: &[&[i64]]) -> Result<Tensor> {
        let x = self.tokens(texts)?;
        let longest = texts.last().map_or(0, |text| text.len());
        let pooled = match self.info.pooling {
            Pooling::Cls => x.f_select(1, 0)?.f_to_kind(Kind::Float)?,
            Pooling::Mean => {
                let real = self.real(texts, longest)?.f_to_kind(Kind::Float)?;
                let real = real.f_unsqueeze(2)?;
                let sums = x.f_to_kind(Kind::Float)?.f_mul(&real)?;
                let sums = sums.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
                let counts = real.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
                sums.f_div(&counts.f_clamp_min(1e-9)?)?
            }
        };
        let pooled = match self.info.is_normalised {
            true => {
                let length = pooled.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?;
                pooled.f_div(&length.f_clamp_min(1e-12)?)?
            }
            false => pooled,
        };
        Ok(pooled.f_to_device(tch::Device::Cpu)?)
    }

    /// Where texts have tokens and not padding: [texts, longest].
    fn real(&self, texts: &[&[i64]], longest: usize) -> Result<Tensor> {
        let is_real = texts
            .iter()
            .flat_map(|text| (0..longest).map(|at| at < text.len()));
        let is_real: Vec<bool> = is_real.collect();
        let shape = [texts.len() as i64, longest as i64];
        Ok(Tensor::f_from_slice(&is_real)?
            .f_reshape(shape)?
            .f_to_device(self.device)?)
    }

    /// The embeddings of all tokens: [texts, longest, width].
    fn tokens(&self, texts: &[&[i64]]) -> Result<Tensor> {
        let longest = texts.last().map_or(0, |text| text.len());
        let (count, length) = (texts.len() as i64, longest as i64);
        let width = self.info.width as i64;
        let padded = texts
            .iter()
            .flat_map(|text| (0..longest).map(|at| text.get(at).copied().unwrap_or(0) as u32));
        let padded: Vec<u32> = padded.collect();
        let x = self
            .words
            .select(&padded)?
            .f_reshape([count, length, width])?;
        let x = x.f_add(&self.positions.f_narrow(0, 0, length)?)?;
        let mut x = self.norm.forward(&x.f_add(&self.first_type)?)?;
        let mask = self
            .real(texts, longest)?
            .f_reshape([count, 1, 1, length])?;
        for layer in &self.layers {
            let qkv = layer.qkv.forward(&x)?;
            let qkv = qkv.f_reshape([count, length, 3, self.heads, width / self.heads])?;
            let qkv = qkv.f_permute([2, 0, 3, 1, 4])?;
            let [queries, keys, values] = [0, 1, 2].map(|index| qkv.f_select(0, index));
            let mixed = Tensor::f_scaled_dot_product_attention(
                &queries?,
                &keys?,
                &values?,
                Some(&mask),
                0.0,
                false,
                None::<f64>,
                false,
            )?;
            let mixed = mixed.f_transpose(1, 2)?.f_reshape([count, length, width])?;
            let mixed = layer.output.forward(&mixed)?;
            x = layer.attention_norm.forward(&x.f_add(&mixed)?)?;
            let fed = layer.up.forward(&x)?.f_gelu("none")?;
            x = layer.norm.forward(&x.f_add(&layer.down.forward(&fed)?)?)?;
        }
        Ok(x.f_to_kind(self.kind)?)
    }
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        Ok(x.f_layer_norm(self.weight.size(), weight, bias, self.epsilon, true)?)
    }
}

impl Affine {
    /// Over the last dimension, whatever is before it.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = x.size();
        let width = shape.pop().unwrap_or(1);
        let product = self.matrix.forward(&x.f_reshape([-1, width])?)?;
        shape.push(-1);
        Ok(product.f_add(&self.bias)?.f_reshape(shape)?)
    }
}

/// What the folder says is done with the tokens' embeddings; the mean, unnormalised, where it says nothing.
fn after(folder: &Path) -> Result<(Pooling, bool)> {
    let modules: Option<Vec<Module>> = find_json(&folder.join("modules.json"))?;
    let (mut pooling, mut is_normalised) = (Pooling::Mean, false);
    for module in modules.unwrap_or_default() {
        match module.r#type.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Normalize" => is_normalised = true,
            "Pooling" => {
                let inside = Path::new(&module.path);
                let plain = inside.components().count() == 1 && inside.is_relative();
                let path = folder.join(inside).join("config.json");
                if !plain || module.path == ".." {
                    return Err(Error::Damaged(format!(
                        "modules.json names {:?}",
                        module.path
                    )));
                }
                let file: PoolingFile = read_json(&path)?;
                pooling = match (
                    file.pooling_mode.as_deref(),
                    file.pooling_mode_mean_tokens,
                    file.pooling_mode_cls_token,
                ) {
                    (Some("mean"), ..) | (None, true, false) => Pooling::Mean,
                    (Some("cls"), ..) | (None, false, true) => Pooling::Cls,
                    _ => return Err(Error::Unsupported("this way of pooling embeddings".into())),
                };
            }
            other => return Err(Error::Unsupported(format!("the module {other}"))),
        }
    }
    Ok((pooling, is_normalised))
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
