"""Trains the autoencoder: 64x64 pictures to 16x16x4 latents and back.

    python tools/emoji-sd/vae.py

Run it again to resume. The loss is the mean absolute error of colours and of their differences to the next pixel (edges
are most of what an emoji shows), with a small KL term. After the first stage, which leaves hues wrong, errors of hue and
of colours averaged over 4x4 pixels are added. The held out pictures are not used.
"""

import math

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

import state
from data import load, parser
from split import held_out

STEPS = 2400
HUE_FROM = 1000
BATCH = 16
RATE = 1.5e-3
KL = 1e-4
TONED_WEIGHT = 0.3  # skin tones of one emoji look alike, so each is drawn less often
CONFIG = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (32, 48, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 64,
}


def checkpoint(work):
    return work / "vae.pt"


def to_tensor(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def rate(step):
    """Warms up, sinks along a wide cosine, and falls to zero in the last third."""
    if step < 100:
        return RATE * (step + 1) / 100
    cosine = 0.5 * (1 + math.cos(math.pi * (step - 100) / 3900))
    return RATE * cosine * min(1.0, 3 * (STEPS - step) / STEPS)


def error(output, wanted, step):
    edges = sum(functional.l1_loss(output.diff(dim=axis), wanted.diff(dim=axis)) for axis in (2, 3))
    sharp = functional.l1_loss(output, wanted) + edges
    if step < HUE_FROM:
        return sharp
    difference = output - wanted
    hue = (difference - difference.mean(1, keepdim=True)).abs().mean()
    return sharp + 2 * hue + 4 * functional.avg_pool2d(difference, 4).square().mean()


def main():
    options = parser(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    emoji, pictures = load(options.work)
    held = held_out()
    weights = torch.tensor([0 if e.image in held else TONED_WEIGHT if e.tones else 1.0 for e in emoji])
    torch.manual_seed(state.SEED)
    model = AutoencoderKL(**CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0)

    def step_once(step):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        chosen = torch.multinomial(weights, BATCH).numpy()
        wanted = to_tensor(pictures[chosen])
        flipped = torch.rand(BATCH, 1, 1, 1) < 0.5
        wanted = torch.where(flipped, wanted.flip(3), wanted)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            moments = model.encode(wanted).latent_dist
            output = model.decode(moments.sample()).sample
        error_now = error(output.float(), wanted, step)
        kl = 0.5 * (moments.mean.float() ** 2 + moments.var.float() - 1 - moments.logvar.float()).mean()
        optimizer.zero_grad()
        (error_now + KL * kl).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return error_now.item()

    state.run(checkpoint(options.work), {"model": model, "optimizer": optimizer}, STEPS, step_once)


if __name__ == "__main__":
    main()
