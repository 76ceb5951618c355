//! The Llama family of language models: LLaMA (Touvron et al., 2023, arXiv:2302.13971), with grouped-query attention
//! (Ainslie et al., 2023, arXiv:2305.13245) and rotary positions (Su et al., 2021, arXiv:2104.09864).
//!
//! The reference is transformers' `models/llama/modeling_llama.py`. GGUF's converter permutes the rows of the query and
//! key weights, so that rotary pairs are neighbours here, not halves; multiplied as complex numbers, they are the same.
//!
//! Promises: a checkpoint that does not fit its description is an error, no weight stays unread, and nothing panics on
//! what a file says.

mod config;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::linear::Linear;
use crate::weights::Weights;

pub use config::Config;

/// Keys and values of one sequence.
#[derive(Debug)]
pub struct Cache {
    /// For each layer, keys and values: [kv_heads, capacity, head_width].
    layers: Vec<(Tensor, Tensor)>,
    used: i64,
    capacity: i64,
}

impl Cache {
    /// Positions that are filled.
    pub fn used(&self) -> usize {
        self.used as usize
    }
}

struct Layer {
    attention_norm: Tensor,
    /// Rows: queries, keys, values.
    qkv: Linear,
    output: Linear,
    feed_forward_norm: Tensor,
    /// Rows: gate, up.
    gate_up: Linear,
    down: Linear,
}

/// The model, ready to compute.
pub struct Llama {
    config: Config,
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Tensor,
    /// Without an output matrix the embedding serves as one ("tied").
    head: Option<Linear>,
    /// e^(i x position x frequency): [positions, 1, head_width / 2], complex.
    rotation: Tensor,
    device: tch::Device,
    kind: Kind,
}

impl Llama {
    /// Reads all weights, for at most `context` positions.
    pub(crate) fn load<B: AsRef<[u8]> + Send + Sync + 'static>(
        gguf: &Gguf<B>,
        config: Config,
        vocabulary: usize,
        context: usize,
        device: tch::Device,
        kind: Kind,
    ) -> Result<Self> {
        let weights = Weights::new(gguf, device, kind);
        let (width, inner) = (config.width, config.feed_forward);
        let (q, kv) = (
            config.heads * config.head_width,
            config.kv_heads * config.head_width,
        );
        let mut layers = Vec::new();
        for index in 0..config.layers {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: weights.get(&name("attn_norm"), &[width])?,
                qkv: weights.matrix(
                    &[&name("attn_q"), &name("attn_k"), &name("attn_v")],
                    &[q, kv, kv],
                    width,
                )?,
                output: weights.matrix(&[&name("attn_output")], &[width], q)?,
                feed_forward_norm: weights.get(&name("ffn_norm"), &[width])?,
                gate_up: weights.matrix(
                    &[&name("ffn_gate"), &name("ffn_up")],
                    &[inner, inner],
                    width,
                )?,
                down: weights.matrix(&[&name("ffn_down")], &[width], inner)?,
            });
        }
        let rows = [vocabulary as i64];
        let embedding = weights.matrix(&["token_embd.weight"], &rows, width)?;
        let head = weights.find_matrix(&["output.weight"], &rows, width)?;
        let norm = weights.get("output_norm.weight", &[width])?;
        // Llama 3.1 stretches the lower frequencies by factors that its files carry.
        let factors = weights.values("rope_freqs.weight", &[config.head_width / 2])?;
        let rotation = rotation(&config, context, factors.as_deref(), device)?;
        weights.finish()?;
        Ok(Self {
            config,
            embedding,
            layers,
            norm,
            head,
            rotation,
            device,
            kind,
        })
    }

    /// From now on rounds activations to 8 bits before every product with weights that libtorch holds.
    pub(crate) fn round_activations(&mut self) {
        for layer in &mut self.layers {
            for linear in [
                &mut layer.qkv,
                &mut layer.output,
                &mut layer.gate_up,
                &mut layer.down,
            ] {
                linear.round_activations();
            }
        }
        self.head.iter_mut().for_each(Linear::round_activations);
        if self.head.is_none() {
            self.embedding.round_activations();
        }
    }

    /// Bytes of the weights that activations are multiplied with, as they lie in memory.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let layers = self.layers.iter().flat_map(|layer| {
            [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].map(Linear::bytes)
        });
        let ends = [Some(&self.embedding), self.head.as_ref()];
        layers
            .chain(ends.into_iter().flatten().map(Linear::bytes))
            .sum()
    }

    /// An empty cache for `capacity` positions.
    pub fn cache(&self, capacity: usize) -> Result<Cache> {
        let capacity = capacity as i64;
        let part = || {
            let shape = [self.config.kv_heads, capacity, self.config.head_width];
            Tensor::f_zeros(shape, (self.kind, self.device))
        };
        let layers = self
            .layers
            .iter()
            .map(|_| Ok((part()?, part()?)))
            .collect::<Result<_>>()?;
        Ok(Cache {
            layers,
            used: 0,
            capacity,
        })
    }

    /// Continues a sequence by `ids` and returns the logits after the last of them, in f32.
    pub fn forward(&self, ids: &[u32], cache: &mut Cache) -> Result<Vec<f32>> {
        let _no_grad = tch::no_grad_guard();
        let x = self.blocks(ids, cache)?;
        let last = x.f_narrow(0, ids.len() as i64 - 1, 1)?;
        let logits = self.head(&last)?.f_reshape([-1])?;
        Ok(Vec::try_from(logits)?)
    }

    /// As [`forward`](Self::forward), with the logits after each id from the index `from` on, told one by one together
    /// with the id's index. Only `rows` of them are in memory at a time.
    pub(crate) fn forward_each(
        &self,
        ids: &[u32],
        cache: &mut Cache,
        from: usize,
        rows: usize,
        mut each: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let x = self.blocks(ids, cache)?;
        let mut at = from;
        while at < ids.len() {
            let count = rows.clamp(1, ids.len() - at);
            let some = x.f_narrow(0, at as i64, count as i64)?;
            let logits = self.head(&some)?.f_contiguous()?;
            let logits: Vec<f32> = Vec::try_from(logits.f_reshape([-1])?)?;
            let width = logits.len() / count;
            for (index, row) in logits.chunks_exact(width).enumerate() {
                each(at + index, row)?;
            }
            at += count;
        }
        Ok(())
    }

    /// The residual stream after all layers: [count, width].
    fn blocks(&self, ids: &[u32], cache: &mut Cache) -> Result<Tensor> {
        let count = ids.len() as i64;
        let fits = cache.used + count <= cache.capacity.min(self.rotation.size()[0]);
        let known = ids.iter().all(|&id| (id as usize) < self.embedding.rows());
        if ids.is_empty() || !fits || !known {
            return Err(Error::BadParameter(format!(
                "{count} ids do not fit the model or its cache"
            )));
        }
        let rotation = self.rotation.f_narrow(0, cache.used, count)?;
        let mask = self.mask(count, cache.used)?;

        let mut x = self.embedding.select(ids)?;
        for (layer, kv) in self.layers.iter().zip(&mut cache.layers) {
            let mixed = self.attention(
                layer,
                &self.rms(&x, &layer.attention_norm)?,
                kv,
                cache.used,
                &rotation,
                mask.as_ref(),
            );
            x = x.f_add(&layer.output.forward(&mixed?)?)?;
            let normed = self.rms(&x, &layer.feed_forward_norm)?;
            x = x.f_add(&self.feed_forward(layer, &normed)?)?;
        }
        cache.used += count;
        Ok(x)
    }

    /// Logits of rows of the residual stream, in f32 on the CPU: [count, vocabulary].
    fn head(&self, x: &Tensor) -> Result<Tensor> {
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let logits = head.forward(&self.rms(x, &self.norm)?)?;
        Ok(logits
            .f_to_kind(Kind::Float)?
            .f_to_device(tch::Device::Cpu)?)
    }

    /// Which earlier positions a block of several may see; none is needed for a single one, nor at the very beginning.
    fn mask(&self, count: i64, past: i64) -> Result<Option<Tensor>> {
        if count == 1 || past == 0 {
            return Ok(None);
        }
        let all = Tensor::f_ones([count, past + count], (Kind::Bool, self.device))?;
        Ok(Some(all.f_tril(past)?))
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        (keys, values): &mut (Tensor, Tensor),
        past: i64,
        rotation: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Config {
            heads,
            kv_heads,
            head_width,
            ..
        } = self.config;
        let count = x.size()[0];
        let qkv = layer.qkv.forward(x)?;

        // 1. Turn queries and keys by their position, in f32 whatever the weights are in.
        let turned = (heads + kv_heads) * head_width;
        let pairs = qkv.f_narrow(1, 0, turned)?.f_to_kind(Kind::Float)?;
        let pairs = pairs
            .f_reshape([count, heads + kv_heads, head_width / 2, 2])?
            .f_view_as_complex()?;
        let turned_qk = pairs.f_mul(rotation)?.f_view_as_real()?;
        let turned_qk = turned_qk
            .f_reshape([count, heads + kv_heads, head_width])?
            .f_to_kind(self.kind)?;

        // 2. Append keys and values to the cache.
        let new_values = qkv
            .f_narrow(1, turned, kv_heads * head_width)?
            .f_reshape([count, kv_heads, head_width])?;
        keys.f_narrow(1, past, count)?
            .f_copy_(&turned_qk.f_narrow(1, heads, kv_heads)?.f_transpose(0, 1)?)?;
        values
            .f_narrow(1, past, count)?
            .f_copy_(&new_values.f_transpose(0, 1)?)?;
        let (keys, values) = (
            keys.f_narrow(1, 0, past + count)?,
            values.f_narrow(1, 0, past + count)?,
        );

        // 3. Mix the values by the match of queries and keys.
        let queries = turned_qk.f_narrow(1, 0, heads)?;
        if count == 1 {
            // The query heads that share a key head are the rows of one small matrix: nothing is repeated.
            let queries = queries.f_reshape([kv_heads, heads / kv_heads, head_width])?;
            let scores = queries
                .f_bmm(&keys.f_transpose(1, 2)?)?
                .f_mul_scalar((head_width as f64).powf(-0.5))?;
            let shares = scores.f_softmax(-1, Kind::Float)?.f_to_kind(self.kind)?;
            return Ok(shares.f_bmm(&values)?.f_reshape([1, heads * head_width])?);
        }
        let (queries, keys, values) = (
            queries.f_transpose(0, 1)?.f_unsqueeze(0)?,
            keys.f_unsqueeze(0)?,
            values.f_unsqueeze(0)?,
        );
        let causal = mask.is_none();
        let mixed = Tensor::f_scaled_dot_product_attention(
            &queries,
            &keys,
            &values,
            mask,
            0.0,
            causal,
            None::<f64>,
            true,
        )?;
        Ok(mixed
            .f_squeeze_dim(0)?
            .f_transpose(0, 1)?
            .f_reshape([count, heads * head_width])?)
    }

    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let inner = self.config.feed_forward;
        let gate_up = layer.gate_up.forward(x)?;
        let gated = gate_up
            .f_narrow(1, 0, inner)?
            .f_silu()?
            .f_mul(&gate_up.f_narrow(1, inner, inner)?)?;
        layer.down.forward(&gated)
    }

    fn rms(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        Ok(x.f_rms_norm([self.config.width], Some(weight), Some(self.config.epsilon))?)
    }
}

/// The rotation of every pair at every position. Computed in f64, so that late positions stay exact, and with a pinned
/// libm, so that every machine has the same table.
fn rotation(
    config: &Config,
    context: usize,
    factors: Option<&[f32]>,
    device: tch::Device,
) -> Result<Tensor> {
    let half = config.head_width as usize / 2;
    let frequency = |pair: usize| {
        let stretch = factors.map_or(1.0, |factors| f64::from(factors[pair]));
        libm::pow(config.rope_base, -(pair as f64) / half as f64) / stretch
    };
    let frequencies: Vec<f64> = (0..half).map(frequency).collect();
    let mut values = Vec::with_capacity(context * half * 2);
    for position in 0..context {
        for frequency in &frequencies {
            let angle = position as f64 * frequency;
            values.extend([libm::cos(angle) as f32, libm::sin(angle) as f32]);
        }
    }
    let shape = [context as i64, 1, half as i64, 2];
    Ok(Tensor::f_from_slice(&values)?
        .f_reshape(shape)?
        .f_to_device(device)?
        .f_view_as_complex()?)
}
