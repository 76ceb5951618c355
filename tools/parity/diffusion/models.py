"""The tiny models of the fixtures: configurations as the published models write them, weights from weights.py.

Each `save_*` writes a folder in the layout of diffusers and checks that diffusers reads the same model back.
"""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import vocabulary
from common import fresh_folder, write_json, write_tensors
from weights import fill

# What the configurations of Stable Diffusion 1.5's UNet name; all else takes diffusers' default.
UNET_COMMON = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "center_input_sample": False,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 8,
    "out_channels": 4,
}

UNETS = {
    "sd15": UNET_COMMON
    | {
        "attention_head_dim": 8,
        "block_out_channels": [16, 16, 24],
        "cross_attention_dim": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "layers_per_block": 2,
        "sample_size": 8,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    },
    "sd21": UNET_COMMON
    | {
        "attention_head_dim": [2, 3],
        "block_out_channels": [16, 24],
        "cross_attention_dim": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "dual_cross_attention": False,
        "layers_per_block": 2,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "sample_size": 12,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "upcast_attention": True,
        "use_linear_projection": True,
    },
    "sdxl": UNET_COMMON
    | {
        "addition_embed_type": "text_time",
        "addition_embed_type_num_heads": 64,
        "addition_time_embed_dim": 8,
        "attention_head_dim": [2, 2, 3],
        "block_out_channels": [16, 16, 24],
        "class_embed_type": None,
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "cross_attention_dim": 64,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "layers_per_block": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "projection_class_embeddings_input_dim": 80,
        "resnet_time_scale_shift": "default",
        "sample_size": 16,
        "time_cond_proj_dim": None,
        "time_embedding_type": "positional",
        "transformer_layers_per_block": [1, 1, 2],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "upcast_attention": None,
        "use_linear_projection": True,
    },
    "inpaint": UNET_COMMON
    | {
        "attention_head_dim": 4,
        "block_out_channels": [8, 8],
        "cross_attention_dim": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "in_channels": 9,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": 8,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "lcm": UNET_COMMON
    | {
        "attention_head_dim": 4,
        "block_out_channels": [8, 8],
        "cross_attention_dim": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": 8,
        "time_cond_proj_dim": 24,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
}

VAE_COMMON = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "out_channels": 3,
}


def vae_config(channels, **more):
    levels = len(channels)
    return VAE_COMMON | {
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "sample_size": 64,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        **more,
    }


# Stable Diffusion 1.5's VAE does not name its scaling factor (0.18215 is the default), 2.x and XL do.
VAES = {
    "sd15": vae_config([8, 8, 8, 8], layers_per_block=2),
    "sd21": vae_config([8, 16], scaling_factor=0.18215),
    "sdxl": vae_config([8, 8, 16], scaling_factor=0.13025, force_upcast=True),
}

TEXT_COMMON = {
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_size": 32,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "pad_token_id": 1,
    "projection_dim": 32,
    "torch_dtype": "float32",
    "vocab_size": vocabulary.SIZE,
}


def text_config(act, layers, heads, architecture="CLIPTextModel"):
    shape = {"hidden_act": act, "num_attention_heads": heads, "num_hidden_layers": layers}
    return TEXT_COMMON | {"architectures": [architecture]} | shape


TEXT_ENCODERS = {
    "sd15/text_encoder": text_config("quick_gelu", 4, 4),
    "sd21/text_encoder": text_config("gelu", 3, 4),
    "sdxl/text_encoder": text_config("quick_gelu", 3, 4),
    "sdxl/text_encoder_2": text_config("gelu", 4, 4, "CLIPTextModelWithProjection"),
}

BETAS = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "trained_betas": None,
}

SCHEDULERS = {
    "sd15": {"_class_name": "PNDMScheduler", "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}
    | {"clip_sample": False}
    | BETAS,
    "sd21": {"_class_name": "DDIMScheduler", "set_alpha_to_one": False, "clip_sample": False, "steps_offset": 1}
    | {"prediction_type": "v_prediction"}
    | BETAS,
    "sdxl": {"_class_name": "EulerDiscreteScheduler", "interpolation_type": "linear", "prediction_type": "epsilon"}
    | {"set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "leading"}
    | {"sample_max_value": 1.0, "clip_sample": False, "use_karras_sigmas": False}
    | BETAS,
}

# The last convolution is softened so that predicted noise and images stay within a few units.
UNET_GAINS = [("conv_out.weight", 1.5)]
VAE_GAINS = [("decoder.conv_out.weight", 0.7)]
TEXT_GAINS = [("token_embedding.weight", 1.5)]
# Embeddings need a mean clearly off zero, as real ones have it: prompt weights are evened out by a quotient of means.
TEXT_SHIFTS = [("position_embedding.weight", 0.3), ("final_layer_norm.bias", -0.2)]


def unet(name):
    return fill(UNet2DConditionModel.from_config(UNETS[name]), f"{name}/unet", UNET_GAINS)


def vae(name):
    return fill(AutoencoderKL.from_config(VAES[name]), f"{name}/vae", VAE_GAINS)


def text_encoder(path):
    config = TEXT_ENCODERS[path]
    projects = config["architectures"] == ["CLIPTextModelWithProjection"]
    kind = CLIPTextModelWithProjection if projects else CLIPTextModel
    return fill(kind(CLIPTextConfig(**config)), path, TEXT_GAINS, TEXT_SHIFTS)


def published_text_keys(model):
    """The state dict under the names of published files, which all start with text_model. (transformers 5 dropped it)."""
    return {
        key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}": value
        for key, value in model.state_dict().items()
    }


def old_attention_keys(state):
    """The names under which Stable Diffusion 1.5's VAE was published; diffusers renames them as it loads."""
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in renamed.items():
        state = {key.replace(f".attentions.0.{new}.", f".attentions.0.{old}."): value for key, value in state.items()}
    return state


def same(model, again):
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def save_unet(folder, name):
    model = unet(name)
    write_json(folder / "unet/config.json", UNETS[name])
    write_tensors(folder / "unet/diffusion_pytorch_model.safetensors", model.state_dict())
    same(model, UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True))
    return model


def save_vae(folder, name, old_names=False):
    model = vae(name)
    state = old_attention_keys(model.state_dict()) if old_names else model.state_dict()
    assert not old_names or state.keys() != model.state_dict().keys()
    write_json(folder / "vae/config.json", VAES[name])
    write_tensors(folder / "vae/diffusion_pytorch_model.safetensors", state)
    same(model, AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True))
    return model


def save_text_encoder(folder, path, position_ids=False):
    model, part = text_encoder(path), path.split("/")[1]
    state = published_text_keys(model)
    if position_ids:
        state["text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    write_json(folder / part / "config.json", TEXT_ENCODERS[path])
    write_tensors(folder / part / "model.safetensors", state)
    same(model, type(model).from_pretrained(folder / part, local_files_only=True))
    return model


def save_index(folder, name, pipeline, parts):
    kinds = {
        "scheduler": ["diffusers", SCHEDULERS[name]["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    index = {"_class_name": pipeline, "_diffusers_version": "0.42.1"}
    if pipeline == "StableDiffusionXLPipeline":
        index["force_zeros_for_empty_prompt"] = True
    else:
        index |= {"feature_extractor": [None, None], "safety_checker": [None, None]}
    write_json(folder / "model_index.json", index | {part: kinds[part] for part in parts})
    write_json(folder / "scheduler/scheduler_config.json", SCHEDULERS[name])


ONE_ENCODER = ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]
TWO_ENCODERS = [*ONE_ENCODER, "text_encoder_2", "tokenizer_2"]


def save_sd15():
    folder = fresh_folder("sd15")
    save_index(folder, "sd15", "StableDiffusionPipeline", ONE_ENCODER)
    vocabulary.save(folder / "tokenizer")
    save_text_encoder(folder, "sd15/text_encoder", position_ids=True)
    save_unet(folder, "sd15")
    save_vae(folder, "sd15", old_names=True)
    return folder


def save_sd21():
    folder = fresh_folder("sd21")
    save_index(folder, "sd21", "StableDiffusionPipeline", ONE_ENCODER)
    vocabulary.save(folder / "tokenizer", pad="!")
    save_text_encoder(folder, "sd21/text_encoder")
    save_unet(folder, "sd21")
    save_vae(folder, "sd21")
    return folder


def save_sdxl():
    folder = fresh_folder("sdxl")
    save_index(folder, "sdxl", "StableDiffusionXLPipeline", TWO_ENCODERS)
    vocabulary.save(folder / "tokenizer")
    vocabulary.save(folder / "tokenizer_2", pad="!")
    save_text_encoder(folder, "sdxl/text_encoder")
    save_text_encoder(folder, "sdxl/text_encoder_2")
    save_unet(folder, "sdxl")
    save_vae(folder, "sdxl")
    return folder


def save_small_unet(name):
    """A folder with a UNet only; what else a pipeline needs is sd15's."""
    folder = fresh_folder(name)
    save_unet(folder, name)
    return folder
