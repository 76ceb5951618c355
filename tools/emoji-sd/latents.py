"""The finished autoencoder with evened out latents, and all pictures as latents.

Diffusion works best on latents with mean 0 and equal spread, but the pipeline knows only one scaling factor. So each
channel's mean and relative spread are folded into the convolutions beside the latents, which changes nothing else.
"""

import torch
from diffusers import AutoencoderKL

import state
import vae
from data import load
from split import held_out


def encode(model, pictures):
    with torch.no_grad():
        parts = [model.encode(vae.to_tensor(some)).latent_dist.mode() for some in batches(pictures)]
    return torch.cat(parts)


def decode(model, latents):
    """Bytes of pictures from latents as the VAE has them (not scaled)."""
    with torch.no_grad():
        parts = [model.decode(some).sample for some in latents.split(64)]
    values = (torch.cat(parts).clamp(-1, 1) + 1) * 127.5
    return values.round().byte().permute(0, 2, 3, 1).numpy()


def batches(pictures):
    return [pictures[start : start + 64] for start in range(0, len(pictures), 64)]


def fold(model, centre, ratio):
    """Makes channel c of the latents (old - centre[c]) * ratio[c], and the decoder undo it."""
    count = len(centre)
    enter, leave = model.post_quant_conv, model.quant_conv
    with torch.no_grad():
        enter.bias += enter.weight[:, :, 0, 0] @ centre
        enter.weight /= ratio[None, :, None, None]
        leave.weight[:count] *= ratio[:, None, None, None]
        leave.bias[:count] = (leave.bias[:count] - centre) * ratio
        leave.bias[count:] += 2 * ratio.log()


def trained_vae(work):
    """The autoencoder at the end of its training, with its scaling factor, and the latents of all pictures (scaled)."""
    file = vae.checkpoint(work)
    if not file.exists() or (saved := torch.load(file, weights_only=True))["step"] < vae.STEPS:
        raise SystemExit(f"{file} is not finished: run vae.py first")
    model = AutoencoderKL(**vae.CONFIG)
    model.load_state_dict(saved["model"])
    model.eval()
    emoji, pictures = load(work)
    raw_file = work / "latents.pt"
    if raw_file.exists():
        raw = torch.load(raw_file, weights_only=True)
    else:
        raw = encode(model, pictures)
        torch.save(raw, raw_file)
    held = held_out()
    known = raw[[index for index, one in enumerate(emoji) if one.image not in held]]
    centre, spread = known.mean((0, 2, 3)), known.std((0, 2, 3))
    common = spread.square().mean().sqrt()
    fold(model, centre, common / spread)
    model.register_to_config(scaling_factor=round(1 / common.item(), 5))
    latents = (raw - centre[:, None, None]) * (common / spread)[:, None, None] * model.config.scaling_factor
    return model, latents


def hours(work):
    return state.cpu_hours(vae.checkpoint(work))
