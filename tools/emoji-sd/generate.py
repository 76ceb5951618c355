"""Pictures from the exported folder, by diffusers as it is.

    python tools/emoji-sd/generate.py "a red apple" --seed 1 --to apple.png
"""

import pathlib

import numpy
import PIL.Image
import torch
from diffusers import StableDiffusionPipeline

from data import parser
from export import OUT

STEPS = 30
GUIDANCE = 3.0


def pipeline(folder=OUT):
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(pipe, prompts, seeds, steps=STEPS, guidance=GUIDANCE):
    """Bytes: (count, 64, 64, 3)."""
    pictures = []
    for start in range(0, len(prompts), 32):
        some = slice(start, start + 32)
        chance = [torch.Generator().manual_seed(seed) for seed in seeds[some]]
        made = pipe(
            prompts[some], num_inference_steps=steps, guidance_scale=guidance, generator=chance, output_type="np"
        )
        pictures.append((made.images * 255).round().astype(numpy.uint8))
    return numpy.concatenate(pictures)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("prompt")
    options.add_argument("--model", type=pathlib.Path, default=OUT, help="folder of the exported model")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--guidance", type=float, default=GUIDANCE)
    options.add_argument("--to", type=pathlib.Path, required=True, help="PNG file to write")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    made = generate(pipeline(options.model), [options.prompt], [options.seed], options.steps, options.guidance)
    PIL.Image.fromarray(made[0]).save(options.to)
