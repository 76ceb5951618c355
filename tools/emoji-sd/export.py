"""Writes what has been trained so far as a diffusers StableDiffusionPipeline folder, in f16 safetensors.

    python tools/emoji-sd/export.py

May be run while train.py runs: it takes the averaged weights of the last checkpoint.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

import state
import tokenizer
import train
from data import REPOSITORY, load, parser
from latents import trained_vae
from split import held_out
from vae import checkpoint as vae_checkpoint

OUT = REPOSITORY / "models/emoji-sd"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
TEXT_CONFIG = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_text_model",
    "torch_dtype": "float16",
    "vocab_size": tokenizer.ENTRIES,
    **train.TEXT,
}


def averaged(work, rows):
    """The text encoder and the UNet with their averaged weights, and the steps done and planned."""
    file = train.checkpoint(work)
    if not file.exists():
        raise SystemExit(f"{file} does not exist: run train.py first")
    saved = torch.load(file, weights_only=True)
    text, unet = train.models(rows)
    average = train.Average([*text.parameters(), *unet.parameters()])
    average.load_state_dict(saved["average"])
    with torch.no_grad():
        for parameter, value in zip(average.parameters, average.values, strict=True):
            parameter.copy_(value)
    return text, unet, saved["step"], saved["steps"]


def full_text_encoder(text, used):
    """The text encoder with all 49,408 tokens: those that no caption holds keep random rows."""
    torch.manual_seed(state.SEED)
    full = CLIPTextModel(CLIPTextConfig(**TEXT_CONFIG))
    weights = text.state_dict()
    rows = full.state_dict()["embeddings.token_embedding.weight"]
    rows[used] = weights["embeddings.token_embedding.weight"]
    return {**weights, "embeddings.token_embedding.weight": rows}


def write(folder, name, weights, config):
    folder.mkdir(parents=True, exist_ok=True)
    half = {key: value.half().contiguous() for key, value in weights.items() if value.is_floating_point()}
    if not all(value.isfinite().all() for value in half.values()):
        raise SystemExit(f"{folder}: a weight is too large for f16")
    save_file(half, folder / name, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def config_of(model):
    chosen = {key: value for key, value in model.config.items() if key != "_use_default_values"}
    return {"_class_name": type(model).__name__, "_diffusers_version": "0.42.1", **chosen}


def main():
    options = parser(__doc__)
    options.add_argument("--out", type=pathlib.Path, default=OUT, help="folder to write")
    options = options.parse_args()
    emoji, _ = load(options.work)
    held = held_out()
    used, _ = train.used_tokens([one for one in emoji if one.image not in held], tokenizer.load(options.work))
    text, unet, step, steps = averaged(options.work, len(used))
    vae, _ = trained_vae(options.work)

    out = options.out
    # Stable Diffusion's files have this prefix, and transformers reads them with it.
    prefixed = {f"text_model.{key}": value for key, value in full_text_encoder(text, used).items()}
    write(out / "text_encoder", "model.safetensors", prefixed, TEXT_CONFIG)
    write(out / "unet", "diffusion_pytorch_model.safetensors", unet.state_dict(), config_of(unet))
    write(out / "vae", "diffusion_pytorch_model.safetensors", vae.state_dict(), config_of(vae))
    tokenizer.write(out / "tokenizer", options.work)
    noise = {**train.NOISE, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "skip_prk_steps": True}
    scheduler = {"_class_name": "DDIMScheduler", "_diffusers_version": "0.42.1", **noise, "trained_betas": None}
    (out / "scheduler").mkdir(exist_ok=True)
    (out / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler, indent=2) + "\n")
    (out / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    total = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: step {step}, {total / 1e6:.1f} MB")
    files = {"vae": vae_checkpoint(options.work), "text encoder and unet": train.checkpoint(options.work)}
    hours = {part: state.cpu_hours(file) for part, file in files.items()}
    made = {"steps": step, "of": steps, "cpu_hours": {part: round(spent, 2) for part, spent in hours.items()}}
    (out / "training.json").write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
