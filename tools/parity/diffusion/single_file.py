"""The fixture models as single files with the original key names, checked by diffusers' own conversion."""

import re

import diffusers.loaders.single_file_utils as theirs
import torch

import models
from common import fresh_folder, normal, write_cases, write_tensors
from original_names import open_clip_key, unet_module, vae_key


def unet_tensors(name):
    tensors = {}
    for key, value in models.unet(name).state_dict().items():
        module, kind = key.rsplit(".", 1)
        tensors[f"model.diffusion_model.{unet_module(module, models.UNETS[name])}.{kind}"] = value
    return tensors


def vae_tensors(name):
    """The attention of the original is made of 1x1 convolutions."""
    tensors = {}
    for key, value in models.vae(name).state_dict().items():
        linear = ".attentions." in key and value.dim() == 2
        tensors[f"first_stage_model.{vae_key(key, len(models.VAES[name]['block_out_channels']))}"] = (
            value[:, :, None, None] if linear else value
        )
    return tensors


def clip_tensors(path, prefix):
    tensors = {f"{prefix}transformer.{k}": v for k, v in models.published_text_keys(models.text_encoder(path)).items()}
    return tensors | {f"{prefix}transformer.text_model.embeddings.position_ids": torch.arange(77).unsqueeze(0)}


def open_clip_tensors(path, prefix, spare_layer=False):
    """OpenCLIP's names: query, key and value in one tensor, the projection transposed, and things nobody reads."""
    state = models.published_text_keys(models.text_encoder(path))
    projection = state.pop("text_projection.weight", None)
    tensors, joined = {}, {}
    for key, value in state.items():
        found = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", key)
        if found:
            layer, part, kind = found.groups()
            joined.setdefault(f"transformer.resblocks.{layer}.attn.in_proj_{kind}", {})[part] = value
        else:
            tensors[open_clip_key(key)] = value
    tensors |= {name: torch.cat([three[part] for part in "qkv"]) for name, three in joined.items()}
    if spare_layer:
        last = models.TEXT_ENCODERS[path]["num_hidden_layers"]
        first = {name: value for name, value in tensors.items() if name.startswith("transformer.resblocks.0.")}
        tensors |= {name.replace("resblocks.0.", f"resblocks.{last}."): 1 - value for name, value in first.items()}
    width = models.TEXT_ENCODERS[path]["hidden_size"]
    tensors["text_projection"] = normal("single/projection", width, width) if projection is None else projection.T
    tensors["logit_scale"] = torch.tensor(4.5)
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def check(name, tensors, encoders):
    """diffusers' conversion of the file must give the state dicts of the folder."""
    equal(theirs.convert_ldm_unet_checkpoint(dict(tensors), models.UNETS[name]), models.unet(name).state_dict())
    equal(theirs.convert_ldm_vae_checkpoint(dict(tensors), models.VAES[name]), models.vae(name).state_dict())
    for path, prefix in encoders.items():
        model = models.text_encoder(path)
        if prefix.endswith("model."):
            converted = theirs.convert_open_clip_checkpoint(model, dict(tensors), prefix=prefix)
            layers = models.TEXT_ENCODERS[path]["num_hidden_layers"]
            # diffusers knows the spare layer of the real 2.x by its number, 23, and so keeps that of the tiny one.
            spare = [f"text_model.encoder.layers.{layers}.", "text_projection." if "sd21" in path else "none"]
            converted = {k: v for k, v in converted.items() if not k.startswith(tuple(spare))}
        else:
            mine = {key: value for key, value in tensors.items() if key.startswith(prefix)}
            converted = theirs.convert_ldm_clip_checkpoint(mine)
            converted.pop("text_model.embeddings.position_ids")
        equal(converted, models.published_text_keys(model))


def equal(converted, expected):
    assert converted.keys() == expected.keys(), converted.keys() ^ expected.keys()
    for key, value in expected.items():
        assert torch.equal(converted[key], value.half()), key


NOTES = {
    "files": "f16; every weight is exact in f16, so a file's model is its folder's to the bit",
    "not_in_shapes": "head_dim and norm_num_groups stand for the real models' 64 and 32; see README.md",
}


def write(folder, name, tensors, encoders, **facts):
    tensors = {key: value if value.dtype == torch.int64 else value.half() for key, value in tensors.items()}
    check(name, tensors, encoders)
    write_tensors(folder / f"{name}.safetensors", tensors)
    config = models.UNETS[name]
    groups = {"unet": config["norm_num_groups"], "vae": models.VAES[name]["norm_num_groups"]}
    scaling = models.VAES[name].get("scaling_factor", 0.18215)
    return {"file": f"{name}.safetensors", "model": name} | facts | {"norm_num_groups": groups, "scaling_factor": scaling}


def single():
    folder, cases = fresh_folder("single"), []
    first = clip_tensors("sd15/text_encoder", "cond_stage_model.")
    ballast = {"alphas_cumprod": torch.linspace(1, 0, 1000), "model_ema.decay": torch.tensor(0.9999)}
    cases.append(
        write(
            folder,
            "sd15",
            unet_tensors("sd15") | vae_tensors("sd15") | first | ballast,
            {"sd15/text_encoder": "cond_stage_model.transformer."},
            unet_heads=8,
            text_head_dim=8,
            prediction_type="epsilon",
            note="alphas_cumprod and model_ema.* are to be passed over",
        )
    )
    second = open_clip_tensors("sd21/text_encoder", "cond_stage_model.model.", spare_layer=True)
    cases.append(
        write(
            folder,
            "sd21",
            unet_tensors("sd21") | vae_tensors("sd21") | second,
            {"sd21/text_encoder": "cond_stage_model.model."},
            unet_head_dim=8,
            text_head_dim=8,
            prediction_type="v_prediction",
            note="the last resblock, text_projection and logit_scale are not used: 2.x stops one layer before the end",
        )
    )
    both = clip_tensors("sdxl/text_encoder", "conditioner.embedders.0.")
    both |= open_clip_tensors("sdxl/text_encoder_2", "conditioner.embedders.1.model.")
    cases.append(
        write(
            folder,
            "sdxl",
            unet_tensors("sdxl") | vae_tensors("sdxl") | both,
            {
                "sdxl/text_encoder": "conditioner.embedders.0.transformer.",
                "sdxl/text_encoder_2": "conditioner.embedders.1.model.",
            },
            unet_head_dim=8,
            text_head_dim=8,
            prediction_type="epsilon",
            note="text_projection is transposed against the folder's",
        )
    )
    write_cases(folder / "cases.json", NOTES, cases)
