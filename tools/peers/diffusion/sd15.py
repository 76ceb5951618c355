"""Writes a Stable Diffusion with the sizes of 1.5 and random weights, to time engines with: no registry has real ones.

    python tools/peers/diffusion/sd15.py FOLDER

How long a step takes does not depend on what the weights are. They are scaled so that activations stay finite in any
number format, and stored in f16, 2.1 GB in all. The tokenizer is the tiny one of the parity fixtures.
"""

import json
import pathlib
import shutil
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
TOKENIZER = REPOSITORY / "worker/inference/tests/data/diffusion/sd15/tokenizer"

UNET = {"sample_size": 64, "cross_attention_dim": 768}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
}
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}
PARTS = {
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "DDIMScheduler"],
}


def random_weights(model):
    """Matrices that keep the size of what passes through them; norms as they begin."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()
            parameter.normal_(0.0, 0.5 / fan_in**0.5, generator=generator)
        elif not name.endswith("weight"):
            parameter.normal_(0.0, 0.02, generator=generator)
    return model.half()


def save(folder, name, model, file, config):
    part = folder / name
    part.mkdir()
    state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.endswith("position_ids")}
    save_file(state, part / file, {"format": "pt"})
    (part / "config.json").write_text(config)


@torch.no_grad()
def main(folder):
    shutil.rmtree(folder, ignore_errors=True)
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    unet = random_weights(UNet2DConditionModel(**UNET))
    save(unfinished, "unet", unet, "diffusion_pytorch_model.safetensors", unet.to_json_string())
    vae = random_weights(AutoencoderKL(**VAE))
    save(unfinished, "vae", vae, "diffusion_pytorch_model.safetensors", vae.to_json_string())
    text = random_weights(CLIPTextModel(CLIPTextConfig(**TEXT)))
    save(unfinished, "text_encoder", text, "model.safetensors", text.config.to_json_string(use_diff=False))
    (unfinished / "scheduler").mkdir()
    (unfinished / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULER))
    shutil.copytree(TOKENIZER, unfinished / "tokenizer")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", **PARTS}
    index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    (unfinished / "model_index.json").write_text(json.dumps(index))
    unfinished.rename(folder)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
