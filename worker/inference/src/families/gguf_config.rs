//! The metadata of a GGUF file that describe a model, under the names of its architecture.

use std::collections::BTreeMap;

use crate::decoder::{Config, Layout, Rotary, Scaling, Sizes};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};
use crate::weights::Weights;

/// A file's metadata, its own keys without the architecture's name before them.
pub(super) struct GgufConfig<'a> {
    architecture: &'a str,
    metadata: &'a BTreeMap<String, Value>,
    weights: &'a Weights,
}

impl<'a> GgufConfig<'a> {
    pub(super) fn new<B: AsRef<[u8]>>(
        gguf: &'a Gguf<B>,
        architecture: &'a str,
        weights: &'a Weights,
    ) -> Self {
        Self {
            architecture,
            metadata: gguf.metadata(),
            weights,
        }
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Unsigned(value) => Some(*value),
            Value::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A size, if it is there.
    pub(super) fn size(&self, key: &str) -> Result<Option<i64>> {
        let named = format!("{}.{key}", self.architecture);
        let value = self.number(key);
        value.map(|value| Sizes::checked(&named, value)).transpose()
    }

    /// A size that has to be there.
    pub(super) fn needed(&self, key: &str) -> Result<i64> {
        let missing = || Error::Checkpoint(format!("the file has no {}.{key}", self.architecture));
        self.size(key)?.ok_or_else(missing)
    }

    /// A number, if it is there.
    pub(super) fn float(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A window of positions; 0 stands for none.
    pub(super) fn window(&self) -> Result<Option<i64>> {
        match self.number("attention.sliding_window") {
            None | Some(0) => Ok(None),
            Some(_) => self.size("attention.sliding_window"),
        }
    }

    /// True if the file has this weight.
    pub(super) fn has(&self, weight: &str) -> bool {
        self.weights.has(weight)
    }

    /// The numbers of a weight that only describes.
    pub(super) fn factors(&self, name: &str, pairs: i64) -> Result<Option<Vec<f64>>> {
        let values = self.weights.values(name, &[pairs])?;
        Ok(values.map(|values| values.into_iter().map(f64::from).collect()))
    }

    /// A decoder like LLaMA with the sizes that all architectures call alike.
    pub(super) fn plain(&self, family: &'static str, layout: Layout) -> Result<Config> {
        let (width, heads) = (
            self.needed("embedding_length")?,
            self.needed("attention.head_count")?,
        );
        let head_width = self.size("attention.key_length")?.unwrap_or(width / heads);
        if self
            .size("attention.value_length")?
            .is_some_and(|value| value != head_width)
        {
            return Err(Error::Unsupported(
                "a value width unlike the key width".into(),
            ));
        }
        if self.number("expert_count").is_some_and(|count| count > 0) {
            return Err(Error::Unsupported("a mixture of experts".into()));
        }
        let epsilon = self.float("attention.layer_norm_rms_epsilon");
        let missing = || {
            let name = self.architecture;
            Error::Checkpoint(format!(
                "the file has no {name}.attention.layer_norm_rms_epsilon"
            ))
        };
        let sizes = Sizes {
            layers: Sizes::checked_layers(self.needed("block_count")?)?,
            width,
            feed_forward: self.needed("feed_forward_length")?,
            heads,
            kv_heads: self.size("attention.head_count_kv")?.unwrap_or(heads),
            head_width,
            context: self.needed("context_length")? as usize,
            epsilon: epsilon.ok_or_else(missing)?,
        };
        let rotary = self.rotary(head_width, layout)?;
        Ok(Config::plain(family, sizes, rotary))
    }

    /// The model's rotation.
    fn rotary(&self, head_width: i64, layout: Layout) -> Result<Rotary> {
        let width = self.size("rope.dimension_count")?.unwrap_or(head_width);
        let scaling = match self.text("rope.scaling.type").unwrap_or("none") {
            "linear" => {
                let missing =
                    || Error::Checkpoint("linear rope scaling without a factor".to_owned());
                Scaling::Linear(self.float("rope.scaling.factor").ok_or_else(missing)?)
            }
            // Older files of Llama 3.1 name nothing; the factors below say it all.
            "none" | "llama3" | "longrope" => Scaling::None,
            other => return Err(Error::Unsupported(format!("rope scaling \"{other}\""))),
        };
        let scaling = match self.factors("rope_freqs.weight", width / 2)? {
            Some(factors) => Scaling::Each(factors),
            None => scaling,
        };
        Ok(Rotary {
            layout,
            width,
            base: self.float("rope.freq_base").unwrap_or(10_000.0),
            scaling,
        })
    }
}
