//! A `config.json` of Hugging Face transformers, as its 4.x and 5.x releases write it, read with a clear error for what is
//! missing or absurd.

use std::path::Path;

use serde_json::{Map, Value};

use crate::decoder::{Config, Layout, Rotary, Scaling, Sizes};
use crate::error::{Error, Result};
use crate::safetensors_files::read_json;

/// Absent entries have transformers' defaults, which each family knows.
pub(crate) struct HfConfig {
    values: Map<String, Value>,
}

impl HfConfig {
    /// Reads `config.json` in this folder.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Self::read(&folder.join("config.json"))
    }

    /// Reads another file of the same kind.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Ok(Self {
            values: read_json(path)?,
        })
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn bad(key: &str, value: &Value) -> Error {
        let text: String = value.to_string().chars().take(80).collect();
        Error::Checkpoint(format!("config.json says {key} is {text}"))
    }

    /// A text, if there is one.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    /// True or false, if it is there.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        value
            .as_bool()
            .map(Some)
            .ok_or_else(|| Self::bad(key, value))
    }

    /// A number, if it is there.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        value
            .as_f64()
            .map(Some)
            .ok_or_else(|| Self::bad(key, value))
    }

    /// A size, if it is there.
    pub(crate) fn size(&self, key: &str) -> Result<Option<i64>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let whole = value.as_u64().ok_or_else(|| Self::bad(key, value))?;
        Sizes::checked(key, whole).map(Some)
    }

    /// A size that has to be there.
    pub(crate) fn needed(&self, key: &str) -> Result<i64> {
        let missing = || Error::Checkpoint(format!("config.json has no {key}"));
        self.size(key)?.ok_or_else(missing)
    }

    /// An object, if there is one.
    pub(crate) fn object(&self, key: &str) -> Option<Self> {
        let values = self.value(key)?.as_object()?.clone();
        Some(Self { values })
    }

    /// A window of positions: absent where the file says null, and `silent` where it says nothing.
    pub(super) fn window(&self, silent: Option<i64>) -> Result<Option<i64>> {
        match self.values.get("sliding_window") {
            Some(_) => self.size("sliding_window"),
            None => Ok(silent),
        }
    }

    /// A list of texts, if there is one.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let texts = value.as_array().into_iter().flatten().map(Value::as_str);
        match texts.collect::<Option<Vec<_>>>() {
            Some(texts) if value.is_array() => Ok(Some(texts)),
            _ => Err(Self::bad(key, value)),
        }
    }

    /// A list of numbers, if there is one.
    fn floats(&self, key: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let numbers = value.as_array().into_iter().flatten().map(Value::as_f64);
        match numbers.collect::<Option<Vec<_>>>() {
            Some(numbers) if value.is_array() => Ok(Some(numbers)),
            _ => Err(Self::bad(key, value)),
        }
    }

    /// The token ids under a key: one, or a list of them.
    pub(crate) fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let Some(value) = self.value(key) else {
            return Ok(Vec::new());
        };
        let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match value.as_array() {
            Some(list) => list.iter().map(one).collect(),
            None => one(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| Self::bad(key, value))
    }

    /// A decoder like LLaMA with the sizes that all families call alike.
    pub(super) fn plain(&self, family: &'static str, defaults: Defaults) -> Result<Config> {
        let activation = self.text("hidden_act").unwrap_or("silu");
        if activation != "silu" {
            return Err(Error::Unsupported(format!("the activation {activation}")));
        }
        let sizes = self.sizes(defaults)?;
        let rotary = self.rotary(sizes.head_width, 10_000.0)?;
        Ok(Config::plain(family, sizes, rotary))
    }

    /// The sizes that all families call alike.
    pub(super) fn sizes(&self, defaults: Defaults) -> Result<Sizes> {
        let (width, heads) = (
            self.needed("hidden_size")?,
            self.needed("num_attention_heads")?,
        );
        let head_width = self.size("head_dim")?;
        Ok(Sizes {
            layers: Sizes::checked_layers(self.needed("num_hidden_layers")?)?,
            width,
            feed_forward: self.needed("intermediate_size")?,
            heads,
            kv_heads: match self.size("num_key_value_heads")? {
                Some(kv_heads) => kv_heads,
                None => defaults.kv_heads.unwrap_or(heads),
            },
            head_width: head_width.or(defaults.head_width).unwrap_or(width / heads),
            context: self.needed("max_position_embeddings")? as usize,
            epsilon: self.float("rms_norm_eps")?.unwrap_or(defaults.epsilon),
        })
    }

    /// The model's one rotation, for heads of this width: `rope_parameters` where transformers 5 wrote it, else
    /// `rope_theta` and `rope_scaling`.
    pub(super) fn rotary(&self, head_width: i64, base: f64) -> Result<Rotary> {
        let (parameters, base) = match self.object("rope_parameters") {
            Some(parameters) => {
                let own = parameters.float("rope_theta")?;
                (Some(parameters), own.unwrap_or(base))
            }
            None => (
                self.object("rope_scaling"),
                self.float("rope_theta")?.unwrap_or(base),
            ),
        };
        self.rotary_of(parameters.as_ref(), head_width, base)
    }

    /// The rotation that these parameters describe.
    pub(super) fn rotary_of(
        &self,
        parameters: Option<&Self>,
        head_width: i64,
        base: f64,
    ) -> Result<Rotary> {
        let scaling = match parameters {
            Some(parameters) => self.scaling(parameters)?,
            None => Scaling::None,
        };
        let inside = parameters.map(|parameters| parameters.float("partial_rotary_factor"));
        let share = match inside.transpose()?.flatten() {
            Some(share) => share,
            None => self.float("partial_rotary_factor")?.unwrap_or(1.0),
        };
        Ok(Rotary {
            layout: Layout::Halves,
            width: (head_width as f64 * share) as i64,
            base,
            scaling,
        })
    }

    fn scaling(&self, parameters: &Self) -> Result<Scaling> {
        let name = parameters.text("rope_type").or(parameters.text("type"));
        let needed = |key: &str| -> Result<f64> {
            let missing = || Error::Checkpoint(format!("the rope scaling has no {key}"));
            parameters.float(key)?.ok_or_else(missing)
        };
        Ok(match name.unwrap_or("default") {
            "default" | "mrope" => Scaling::None,
            "linear" => Scaling::Linear(needed("factor")?),
            "llama3" => Scaling::Llama3 {
                factor: needed("factor")?,
                low: needed("low_freq_factor")?,
                high: needed("high_freq_factor")?,
                original: needed("original_max_position_embeddings")?,
            },
            "longrope" | "su" => self.long(parameters)?,
            other => return Err(Error::Unsupported(format!("rope scaling \"{other}\""))),
        })
    }

    fn long(&self, parameters: &Self) -> Result<Scaling> {
        let key = "original_max_position_embeddings";
        let original = match (self.size(key)?, parameters.size(key)?) {
            (Some(original), _) | (None, Some(original)) => original,
            (None, None) => self.needed(key)?,
        };
        let factors = |key: &str| -> Result<Vec<f64>> {
            let missing = || Error::Checkpoint(format!("the rope scaling has no {key}"));
            parameters.floats(key)?.ok_or_else(missing)
        };
        let stretch = self.needed("max_position_embeddings")? as f64 / original as f64;
        let magnitude = match parameters.float("attention_factor")? {
            Some(factor) => factor,
            None => long_magnitude(stretch, original),
        };
        Ok(Scaling::Long {
            short: factors("short_factor")?,
            long: factors("long_factor")?,
            original: original as usize,
            magnitude,
        })
    }
}

/// What a family takes where its file is silent.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    /// Added to the mean square in norms.
    pub epsilon: f64,
    /// As many as there are query heads where `None`.
    pub kv_heads: Option<i64>,
    /// The width of the model divided by its heads where `None`.
    pub head_width: Option<i64>,
}

impl Defaults {
    /// Those of Llama.
    pub(super) const LLAMA: Self = Self {
        epsilon: 1e-6,
        kv_heads: None,
        head_width: None,
    };
}

/// What a model whose context was stretched by a factor multiplies turned numbers with (Ding et al., 2024,
/// arXiv:2402.13753).
pub(super) fn long_magnitude(stretch: f64, original: i64) -> f64 {
    if stretch <= 1.0 {
        return 1.0;
    }
    libm::sqrt(1.0 + libm::log(stretch) / libm::log(original as f64))
}
