//! The names that weights have in Stable Diffusion's original code ("latent diffusion models"), which single-file
//! checkpoints and kohya's LoRA files use, and the names of diffusers' folders, which this crate loads by.

/// Which blocks a UNet has: what its names depend on.
pub(crate) struct UnetShape {
    /// Residual blocks of each level on the way down; one more on the way up.
    pub(crate) layers: Vec<usize>,
    /// Which levels have transformers on the way down.
    pub(crate) down: Vec<bool>,
    /// And on the way up, the deepest level first.
    pub(crate) up: Vec<bool>,
}

/// Pairs of prefixes: the original one, diffusers'.
pub(crate) fn unet_prefixes(shape: &UnetShape) -> Vec<(String, String)> {
    let fixed = [
        ("time_embed.0", "time_embedding.linear_1"),
        ("time_embed.2", "time_embedding.linear_2"),
        ("label_emb.0.0", "add_embedding.linear_1"),
        ("label_emb.0.2", "add_embedding.linear_2"),
        ("input_blocks.0.0", "conv_in"),
        ("out.0", "conv_norm_out"),
        ("out.2", "conv_out"),
        ("middle_block.0", "mid_block.resnets.0"),
        ("middle_block.1", "mid_block.attentions.0"),
        ("middle_block.2", "mid_block.resnets.1"),
    ];
    let mut pairs: Vec<(String, String)> = fixed
        .map(|(original, name)| (original.to_owned(), name.to_owned()))
        .to_vec();
    let levels = shape.layers.len();
    let mut block = 1;
    for (level, &layers) in shape.layers.iter().enumerate() {
        let here = format!("down_blocks.{level}");
        for n in 0..layers {
            pairs.push((
                format!("input_blocks.{block}.0"),
                format!("{here}.resnets.{n}"),
            ));
            if shape.down[level] {
                pairs.push((
                    format!("input_blocks.{block}.1"),
                    format!("{here}.attentions.{n}"),
                ));
            }
            block += 1;
        }
        if level + 1 < levels {
            let original = format!("input_blocks.{block}.0.op");
            pairs.push((original, format!("{here}.downsamplers.0.conv")));
            block += 1;
        }
    }
    let mut block = 0;
    for place in 0..levels {
        let here = format!("up_blocks.{place}");
        let layers = shape.layers[levels - 1 - place];
        for n in 0..=layers {
            pairs.push((
                format!("output_blocks.{block}.0"),
                format!("{here}.resnets.{n}"),
            ));
            let mut next = 1;
            if shape.up[place] {
                pairs.push((
                    format!("output_blocks.{block}.1"),
                    format!("{here}.attentions.{n}"),
                ));
                next = 2;
            }
            if n == layers && place + 1 < levels {
                let original = format!("output_blocks.{block}.{next}.conv");
                pairs.push((original, format!("{here}.upsamplers.0.conv")));
            }
            block += 1;
        }
    }
    pairs
}

/// Inside a residual block: the original names, diffusers'.
const RESNET: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

/// diffusers' name for what a UNet's weight is called originally.
pub(crate) fn unet_name(original: &str, prefixes: &[(String, String)]) -> Option<String> {
    let (prefix, rest) = prefixes.iter().find_map(|(from, to)| {
        let rest = original.strip_prefix(from.as_str())?.strip_prefix('.')?;
        Some((to, rest))
    })?;
    if !prefix.contains(".resnets.") {
        return Some(format!("{prefix}.{rest}"));
    }
    RESNET.iter().find_map(|(from, to)| {
        let rest = rest.strip_prefix(from)?.strip_prefix('.')?;
        Some(format!("{prefix}.{to}.{rest}"))
    })
}

/// The original name of what diffusers calls so.
pub(crate) fn original_unet_name(name: &str, prefixes: &[(String, String)]) -> Option<String> {
    prefixes.iter().find_map(|(original, prefix)| {
        let rest = name.strip_prefix(prefix.as_str())?;
        if rest.is_empty() {
            return Some(original.clone());
        }
        let rest = rest.strip_prefix('.')?;
        if !prefix.contains(".resnets.") {
            return Some(format!("{original}.{rest}"));
        }
        let inner = |(from, to): &(&str, &str)| {
            let rest = rest.strip_prefix(to)?;
            (rest.is_empty() || rest.starts_with('.')).then(|| format!("{original}.{from}{rest}"))
        };
        RESNET.iter().find_map(inner)
    })
}

/// diffusers' name for what a VAE's weight is called originally; `levels` is how many it has.
pub(crate) fn vae_name(original: &str, levels: usize) -> Option<String> {
    let (side, rest) = original.split_once('.')?;
    if side == "quant_conv" || side == "post_quant_conv" {
        return Some(original.to_owned());
    }
    let parts: Vec<&str> = rest.split('.').collect();
    let inner = match parts.as_slice() {
        ["norm_out", leaf] => format!("conv_norm_out.{leaf}"),
        ["conv_in" | "conv_out", _] => rest.to_owned(),
        ["mid", "attn_1", layer, leaf] => {
            let layer = match *layer {
                "norm" => "group_norm",
                "q" => "to_q",
                "k" => "to_k",
                "v" => "to_v",
                "proj_out" => "to_out.0",
                _ => return None,
            };
            format!("mid_block.attentions.0.{layer}.{leaf}")
        }
        ["mid", block, layer, leaf] => {
            let n = match *block {
                "block_1" => 0,
                "block_2" => 1,
                _ => return None,
            };
            format!("mid_block.resnets.{n}.{}.{leaf}", shortcut(layer))
        }
        ["down", level, "block", n, layer, leaf] => {
            format!("down_blocks.{level}.resnets.{n}.{}.{leaf}", shortcut(layer))
        }
        ["down", level, "downsample", "conv", leaf] => {
            format!("down_blocks.{level}.downsamplers.0.conv.{leaf}")
        }
        // On the way up, the original counts from the picture.
        ["up", level, "block", n, layer, leaf] => {
            let place = from_the_end(level, levels)?;
            format!("up_blocks.{place}.resnets.{n}.{}.{leaf}", shortcut(layer))
        }
        ["up", level, "upsample", "conv", leaf] => {
            let place = from_the_end(level, levels)?;
            format!("up_blocks.{place}.upsamplers.0.conv.{leaf}")
        }
        _ => return None,
    };
    Some(format!("{side}.{inner}"))
}

fn shortcut(layer: &str) -> &str {
    match layer {
        "nin_shortcut" => "conv_shortcut",
        other => other,
    }
}

fn from_the_end(level: &str, levels: usize) -> Option<usize> {
    (levels - 1).checked_sub(level.parse().ok()?)
}

/// The name in transformers' CLIP for what OpenCLIP's text encoder calls so, for weights that are the same in both;
/// those of `attn.in_proj` are three in one.
pub(crate) fn open_clip_name(original: &str) -> Option<String> {
    match original {
        "positional_embedding" => {
            return Some("text_model.embeddings.position_embedding.weight".into());
        }
        "token_embedding.weight" => {
            return Some("text_model.embeddings.token_embedding.weight".into());
        }
        "text_projection" => return Some("text_projection.weight".into()),
        _ => {}
    }
    if let Some(leaf) = original.strip_prefix("ln_final.") {
        return Some(format!("text_model.final_layer_norm.{leaf}"));
    }
    let (layer, rest) = original
        .strip_prefix("transformer.resblocks.")?
        .split_once('.')?;
    let (from, leaf) = rest.rsplit_once('.')?;
    let to = match from {
        "ln_1" => "layer_norm1",
        "ln_2" => "layer_norm2",
        "attn.out_proj" => "self_attn.out_proj",
        "mlp.c_fc" => "mlp.fc1",
        "mlp.c_proj" => "mlp.fc2",
        _ => return None,
    };
    Some(format!("text_model.encoder.layers.{layer}.{to}.{leaf}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_there_and_back() {
        let shape = UnetShape {
            layers: vec![2, 2, 2, 2],
            down: vec![true, true, true, false],
            up: vec![false, true, true, true],
        };
        let prefixes = unet_prefixes(&shape);
        for (original, name) in [
            (
                "input_blocks.1.0.in_layers.2.weight",
                "down_blocks.0.resnets.0.conv1.weight",
            ),
            (
                "input_blocks.8.1.proj_in.bias",
                "down_blocks.2.attentions.1.proj_in.bias",
            ),
            (
                "input_blocks.9.0.op.weight",
                "down_blocks.2.downsamplers.0.conv.weight",
            ),
            (
                "output_blocks.2.1.conv.weight",
                "up_blocks.0.upsamplers.0.conv.weight",
            ),
            (
                "output_blocks.5.2.conv.weight",
                "up_blocks.1.upsamplers.0.conv.weight",
            ),
            (
                "output_blocks.11.1.norm.weight",
                "up_blocks.3.attentions.2.norm.weight",
            ),
            (
                "middle_block.2.out_layers.3.bias",
                "mid_block.resnets.1.conv2.bias",
            ),
            ("out.2.weight", "conv_out.weight"),
        ] {
            assert_eq!(unet_name(original, &prefixes).as_deref(), Some(name));
            assert_eq!(
                original_unet_name(name, &prefixes).as_deref(),
                Some(original)
            );
        }
        let vae = vae_name("decoder.up.3.block.0.nin_shortcut.weight", 4);
        assert_eq!(
            vae.as_deref(),
            Some("decoder.up_blocks.0.resnets.0.conv_shortcut.weight")
        );
        assert_eq!(vae_name("decoder.up.9.block.0.conv1.weight", 4), None);
    }
}
