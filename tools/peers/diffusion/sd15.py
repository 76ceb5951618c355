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
SHAPES = REPOSITORY / "worker/inference/examples/shapes/sd15"


def shape(part):
    return json.loads((SHAPES / part / "config.json").read_text())


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


def save(folder, part, model, file):
    state = {key: value.contiguous() for key, value in model.state_dict().items() if not key.endswith("position_ids")}
    save_file(state, folder / part / file, {"format": "pt"})


@torch.no_grad()
def main(folder):
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(SHAPES, unfinished)
    shutil.copytree(TOKENIZER, unfinished / "tokenizer")
    unet = random_weights(UNet2DConditionModel.from_config(shape("unet")))
    save(unfinished, "unet", unet, "diffusion_pytorch_model.safetensors")
    vae = random_weights(AutoencoderKL.from_config(shape("vae")))
    save(unfinished, "vae", vae, "diffusion_pytorch_model.safetensors")
    text = random_weights(CLIPTextModel(CLIPTextConfig(**shape("text_encoder"))))
    save(unfinished, "text_encoder", text, "model.safetensors")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
