"""diffusers in its best configuration, asked line by line: the peer of `cargo xtask bench diffusion`.

    python tools/peers/diffusion/serve.py FOLDER f32|bf16 THREADS

Each line of its input is a JSON object, {"size": 256, "steps": 4, "seed": 1}, answered with one. Before that it says {"load": seconds, "about": text, "flops": {size: one UNet
call of two pictures, counted by torch}}.
"""

import json
import pathlib
import sys
import time

import diffusers
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "parity/diffusion"))
from noise import first_latent  # noqa: E402

PROMPT = "a red apple on a table"
KINDS = {"f32": torch.float32, "bf16": torch.bfloat16}


def flops(config, side):
    """Floating point operations of one UNet call under guidance, by shapes alone."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
        # Attention in single steps, each of which torch can count.
        unet.set_attn_processor(AttnProcessor())
        latents, text = torch.empty(2, 4, side // 8, side // 8), torch.empty(2, 77, config["cross_attention_dim"])
        with FlopCounterMode(display=False) as counter:
            unet(latents, torch.empty(2), text)
    return counter.get_total_flops()


def peak_memory():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def draw(pipe, size, steps, seed):
    latents = first_latent(seed, (1, 4, size // 8, size // 8))
    times, last = [], {}

    def done(_pipe, _step, _timestep, kwargs):
        times.append(time.perf_counter())
        last["latents"] = kwargs["latents"]
        return kwargs

    begin = time.perf_counter()
    pipe(
        PROMPT, width=size, height=size, num_inference_steps=steps, guidance_scale=7.5, latents=latents.to(pipe.dtype),
        callback_on_step_end=done,
    )  # fmt: skip
    end = time.perf_counter()
    return {
        "steps": [after - before for before, after in zip(times, times[1:], strict=False)],
        "decode": end - times[-1],
        "whole": end - begin,
        "latents": last["latents"].float().flatten().tolist(),
        "peak": peak_memory(),
    }


@torch.inference_mode()
def main(folder, kind, threads):
    torch.set_num_threads(threads)
    diffusers.utils.logging.disable_progress_bar()
    begin = time.perf_counter()
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=KINDS[kind], safety_checker=None)
    pipe.unet.to(memory_format=torch.channels_last)
    pipe.vae.to(memory_format=torch.channels_last)
    pipe.set_progress_bar_config(disable=True)
    load = time.perf_counter() - begin
    about = (
        f"diffusers {diffusers.__version__}, torch {torch.__version__}, {type(pipe.scheduler).__name__}, "
        f"{next(iter(pipe.unet.attn_processors.values())).__class__.__name__} (scaled_dot_product_attention), "
        f"channels_last, inference_mode, {kind}, {torch.get_num_threads()} threads"
    )
    counted = {size: flops(pipe.unet.config, size) for size in (256, 512)}
    print(json.dumps({"load": load, "about": about, "flops": counted}), flush=True)
    for line in sys.stdin:
        print(json.dumps(draw(pipe, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
