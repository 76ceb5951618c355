"""Trains the text encoder and the UNet together on the latents of all emoji that are not held out.

    python tools/emoji-sd/train.py

Run it again to resume. The UNet predicts v; a tenth of the captions are empty, for classifier-free guidance. The learning
rate stays level and falls to zero in the last fifth, so --steps may be changed, with the same result as if it had been so
from the start, until that fifth begins. An average of the weights is kept and is what export.py writes. Only the tokens
that occur in captions have rows here: export.py puts them into the full table.
"""

import random

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel

import captions
import state
import tokenizer
from data import load, parser
from latents import trained_vae
from split import held_out

STEPS = 36000
BATCH = 32
RATE = 8e-4
FALL = 0.2
EMPTY = 0.1
TONED_WEIGHT = 0.4  # there are many skin tones of few emoji, so each is drawn less often
AVERAGE_EVERY = 5
AVERAGE_KEEP = 0.9975
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": tokenizer.LENGTH,
    "hidden_act": "quick_gelu",
    "projection_dim": 128,
}
UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (64, 128, 192),
    "layers_per_block": 1,
    "cross_attention_dim": 128,
    "attention_head_dim": 4,  # diffusers reads this as the number of heads
    "norm_num_groups": 16,
}


def checkpoint(work):
    return work / "train.pt"


class Average:
    """A moving average of parameters: it begins as a plain mean and forgets slowly later."""

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.values = [parameter.detach().clone() for parameter in self.parameters]
        self.count = 0

    def update(self):
        self.count += 1
        keep = min(AVERAGE_KEEP, self.count / (self.count + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.values, self.parameters, 1 - keep)

    def state_dict(self):
        return {"values": self.values, "count": self.count}

    def load_state_dict(self, saved):
        self.count = saved["count"]
        for mine, value in zip(self.values, saved["values"], strict=True):
            mine.copy_(value)


def used_tokens(emoji, clip):
    """The ids of all tokens that captions can hold, sorted, and the full table of their places among them."""
    texts = clip([captions.words_of(one) for one in emoji] + [""]).input_ids
    used = sorted({token for text in texts for token in text})
    places = torch.zeros(tokenizer.ENTRIES, dtype=torch.long)
    places[used] = torch.arange(len(used))
    return used, places


def models(rows):
    """The text encoder with `rows` tokens and the UNet, as they are before training."""
    torch.manual_seed(state.SEED)
    config = CLIPTextConfig(vocab_size=rows, eos_token_id=rows - 1, bos_token_id=rows - 2, **TEXT)
    text, unet = CLIPTextModel(config), UNet2DConditionModel(**UNET)
    # Attention in single steps: for pictures this small, a fifth faster to train than torch's fused one on a CPU.
    text.set_attn_implementation("eager")
    unet.set_attn_processor(AttnProcessor())
    return text, unet


def rate(step, steps):
    fall = (steps - step) / (FALL * steps)
    return RATE * min(1.0, (step + 1) / 500, fall)


def main():
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=STEPS, help="steps of the whole training")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    emoji, _ = load(options.work)
    _, latents = trained_vae(options.work)
    clip = tokenizer.load(options.work)
    held = held_out()
    known = [one for one in emoji if one.image not in held]
    latents = latents[[index for index, one in enumerate(emoji) if one.image not in held]]
    weights = torch.tensor([TONED_WEIGHT if one.tones else 1.0 for one in known])
    used, places = used_tokens(known, clip)
    text, unet = models(len(used))
    noise_schedule = DDPMScheduler(**NOISE)
    parameters = [*text.parameters(), *unet.parameters()]
    average = Average(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99), weight_decay=0.005, fused=True)

    def step_once(step):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, options.steps)
        chance = random.Random(f"{state.SEED} {step}")
        chosen = torch.multinomial(weights, BATCH)
        asked = ["" if chance.random() < EMPTY else captions.draw(known[i], chance) for i in chosen.tolist()]
        tokens = clip(asked, padding="max_length", truncation=True, return_tensors="pt").input_ids
        # One time from each of BATCH equal stretches: evener than independent draws.
        times = ((torch.arange(BATCH) + torch.rand(BATCH)) / BATCH * 1000).long().clamp(max=999)
        clean = latents[chosen]
        noise = torch.randn_like(clean)
        noisy = noise_schedule.add_noise(clean, noise, times)
        wanted = noise_schedule.get_velocity(clean, noise, times)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = unet(noisy, times, text(places[tokens]).last_hidden_state).sample
        loss = torch.nn.functional.mse_loss(output.float(), wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % AVERAGE_EVERY == 0:
            average.update()
        return loss.item()

    parts = {"text": text, "unet": unet, "average": average, "optimizer": optimizer}
    state.run(checkpoint(options.work), parts, options.steps, step_once)


if __name__ == "__main__":
    main()
