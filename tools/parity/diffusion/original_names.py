"""The names that modules of the UNet have in original checkpoints (input_blocks and so on), from diffusers' names."""

import re

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}

OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}

IN_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
IN_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def unet_module(module, config):
    """The original path of a module. Each block of the original is one resnet, with what follows it beside it."""
    if module in OUTSIDE_BLOCKS:
        return OUTSIDE_BLOCKS[module]
    per_block = config["layers_per_block"] + 1
    if found := IN_MIDDLE.fullmatch(module):
        kind, layer, rest = found.groups()
        place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(layer)}"
    else:
        side, block, kind, layer, rest = IN_BLOCK.fullmatch(module).groups()
        block, layer = int(block), int(layer)
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * per_block}.0.op"
        if kind == "upsamplers":
            after_attention = "CrossAttn" in config["up_block_types"][block]
            return f"output_blocks.{(block + 1) * per_block - 1}.{2 if after_attention else 1}.{rest}"
        first = 1 + block * per_block if side == "down" else block * per_block
        name = "input_blocks" if side == "down" else "output_blocks"
        place = f"{name}.{first + layer}.{0 if kind == 'resnets' else 1}"
    return f"{place}.{RESNET[rest] if kind == 'resnets' else rest}"


VAE_RENAMED = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def vae_key(key, levels):
    """The original key of an entry of the VAE's state dict. The decoder's levels are counted from the other end."""
    for new, old in VAE_RENAMED.items():
        key = re.sub(rf"\b{re.escape(new)}\b", old, key)
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    up = re.compile(r"up_blocks\.(\d+)\.(resnets|upsamplers\.0)\.")
    inside = {"resnets": "block", "upsamplers.0": "upsample"}
    key = up.sub(lambda found: f"up.{levels - 1 - int(found[1])}.{inside[found[2]]}.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda found: f"mid.block_{int(found[1]) + 1}.", key)
    return key.replace("mid_block.attentions.0.", "mid.attn_1.")


OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}

OPEN_CLIP_OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}


def open_clip_key(key):
    """OpenCLIP's key of an entry of the text encoder, except for query, key and value, which it keeps in one tensor."""
    if key in OPEN_CLIP_OUTSIDE:
        return OPEN_CLIP_OUTSIDE[key]
    layer, rest = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)", key).groups()
    module, kind = rest.rsplit(".", 1)
    return f"transformer.resblocks.{layer}.{OPEN_CLIP_LAYER[module]}.{kind}"
