//! What a decoder computes: sizes, and the choices in which the families of models differ.

use super::rotary::Rotary;
use crate::error::{Error, Result};

/// Far above any real size, and small enough that no product of a few of them overflows an i64.
const MAX_SIZE: i64 = 1 << 24;
/// The deepest models have some hundred and thirty.
const MAX_LAYERS: i64 = 4096;

/// The function between the two halves of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x times the logistic function of x (Elfwing et al., 2017, arXiv:1702.03118).
    Silu,
    /// x times the normal distribution of x, by its approximation with tanh (Hendrycks and Gimpel, 2016,
    /// arXiv:1606.08415).
    GeluTanh,
}

/// In what one layer may differ from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerKind {
    /// How many positions a position sees, itself included; all earlier ones where `None`.
    pub window: Option<i64>,
    /// Which of the model's rotations turns it.
    pub rotary: usize,
}

/// The description of a decoder, whatever family and file it comes from. [`check`](Self::check) it before it is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// The family's name, such as `llama`.
    pub family: &'static str,
    /// The transformer blocks.
    pub layers: Vec<LayerKind>,
    /// Width of the residual stream.
    pub width: i64,
    /// Inner width of the feed-forward part.
    pub feed_forward: i64,
    /// Query heads.
    pub heads: i64,
    /// Key and value heads; divides `heads` (Ainslie et al., 2023, arXiv:2305.13245).
    pub kv_heads: i64,
    /// Width of one head.
    pub head_width: i64,
    /// Positions that the model was made for.
    pub context: usize,
    /// Added to the mean square in RMS normalisation.
    pub epsilon: f64,
    /// The rotations that layers choose from.
    pub rotaries: Vec<Rotary>,
    /// See there.
    pub activation: Activation,
    /// Queries, keys and values have something added.
    pub qkv_bias: bool,
    /// So has what attention gives.
    pub output_bias: bool,
    /// And the feed-forward part's three products.
    pub feed_forward_bias: bool,
    /// Each head of queries and keys is normalised before it is turned.
    pub head_norms: bool,
    /// What attention and the feed-forward part give is normalised before it is added.
    pub post_norms: bool,
    /// Added to the norms' weights as they are stored.
    pub norm_offset: f64,
    /// The embedding serves as output matrix too, unless the file says otherwise.
    pub ties_by_default: bool,
    /// What embeddings are multiplied with.
    pub embedding_scale: f64,
    /// What the products of queries and keys are multiplied with.
    pub attention_scale: f64,
    /// Bounds the scores s of attention: c x tanh(s / c).
    pub attention_cap: Option<f64>,
    /// Bounds the logits in the same way.
    pub logit_cap: Option<f64>,
}

impl Config {
    /// A model like LLaMA (Touvron et al., 2023, arXiv:2302.13971) of these sizes, from which the others differ.
    pub(crate) fn plain(family: &'static str, sizes: Sizes, rotary: Rotary) -> Self {
        let layer = LayerKind {
            window: None,
            rotary: 0,
        };
        Self {
            family,
            layers: vec![layer; sizes.layers as usize],
            width: sizes.width,
            feed_forward: sizes.feed_forward,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            head_width: sizes.head_width,
            context: sizes.context,
            epsilon: sizes.epsilon,
            rotaries: vec![rotary],
            activation: Activation::Silu,
            qkv_bias: false,
            output_bias: false,
            feed_forward_bias: false,
            head_norms: false,
            post_norms: false,
            norm_offset: 0.0,
            ties_by_default: false,
            embedding_scale: 1.0,
            attention_scale: (sizes.head_width as f64).powf(-0.5),
            attention_cap: None,
            logit_cap: None,
        }
    }

    /// Refuses what cannot be computed: nothing that a file says makes a later product overflow.
    pub(crate) fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::Checkpoint(what));
        let sizes = [
            ("layers", self.layers.len() as i64),
            ("width", self.width),
            ("feed-forward width", self.feed_forward),
            ("heads", self.heads),
            ("key heads", self.kv_heads),
            ("context", self.context as i64),
        ];
        for (name, size) in sizes {
            if !(1..=MAX_SIZE).contains(&size) {
                return bad(format!("its number of {name} is {size}"));
            }
        }
        let (heads, kv_heads, width) = (self.heads, self.kv_heads, self.head_width);
        if heads % kv_heads != 0 || !(2..=1024).contains(&width) || width % 2 != 0 {
            return bad(format!(
                "{heads} heads, {kv_heads} key heads of width {width}"
            ));
        }
        if !(self.epsilon > 0.0 && self.epsilon < 1.0) {
            return bad(format!("its norms' epsilon is {}", self.epsilon));
        }
        let windows = self.layers.iter().filter_map(|layer| layer.window);
        if let Some(window) = windows.into_iter().find(|&window| window < 1) {
            return bad(format!("a window of {window} positions"));
        }
        for rotary in &self.rotaries {
            rotary.check(width)?;
        }
        let positive = [
            ("embedding scale", Some(self.embedding_scale)),
            ("attention scale", Some(self.attention_scale)),
            ("attention's soft cap", self.attention_cap),
            ("logits' soft cap", self.logit_cap),
        ];
        for (name, value) in positive {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
                return bad(format!("its {name} is {value}"));
            }
        }
        Ok(())
    }

    /// Elements of keys and values together that one position needs, over all layers.
    pub(crate) fn cache_elements(&self) -> u64 {
        2 * (self.layers.len() as i64 * self.kv_heads * self.head_width) as u64
    }
}

/// The numbers that every decoder has; see [`Config`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub layers: i64,
    pub width: i64,
    pub feed_forward: i64,
    pub heads: i64,
    pub kv_heads: i64,
    pub head_width: i64,
    pub context: usize,
    pub epsilon: f64,
}

impl Sizes {
    /// A number of layers from a file.
    pub(crate) fn checked_layers(value: i64) -> Result<i64> {
        match value {
            1..=MAX_LAYERS => Ok(value),
            _ => Err(Error::Checkpoint(format!(
                "its number of layers is {value}"
            ))),
        }
    }

    /// A number of something from a file, before anything is computed with it.
    pub(crate) fn checked(name: &str, value: u64) -> Result<i64> {
        let fits = i64::try_from(value).ok();
        fits.filter(|value| (1..=MAX_SIZE).contains(value))
            .ok_or_else(|| Error::Checkpoint(format!("{name} is {value}")))
    }
}
