"""Contact sheets to look at: 64 generated pictures with their prompts, and pictures beside their VAE reconstructions.

    python tools/emoji-sd/sheet.py

Rows 1 to 4 are trained names and rows 5 and 6 held out ones, both taken evenly from the measured lists; rows 7 and 8 are
free prompts, chosen before any result was seen. Nothing is picked by how it looks.
"""

import pathlib

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch

import captions
from data import REPOSITORY, load, parser
from export import OUT
from generate import generate, pipeline
from measure import reconstruct
from split import read_split

IMAGES = REPOSITORY / "docs/images"
FREE = (
    "a red apple",
    "a green apple",
    "a blue apple",
    "a cat",
    "a dog",
    "an orange cat",
    "a yellow car",
    "a red heart",
    "a house",
    "a tree",
    "a smiling face",
    "a crying cat face",
    "a pizza",
    "a flag of japan",
    "a rocket",
    "a purple square",
)
ACROSS = 8
SHOWN = 96
CELL = (SHOWN + 12, SHOWN + 36)


def sheet(pictures, labels, file):
    font = PIL.ImageFont.load_default(size=10)
    rows = (len(pictures) + ACROSS - 1) // ACROSS
    whole = PIL.Image.new("RGB", (CELL[0] * ACROSS, CELL[1] * rows), "white")
    draw = PIL.ImageDraw.Draw(whole)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = CELL[0] * (index % ACROSS), CELL[1] * (index // ACROSS)
        whole.paste(PIL.Image.fromarray(picture).resize((SHOWN, SHOWN), PIL.Image.Resampling.BICUBIC), (left + 6, top + 4))
        draw.multiline_text((left + 6, top + SHOWN + 6), wrap(draw, font, label), "black", font, spacing=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    whole.save(file, optimize=True)
    print(f"{file}: {len(pictures)} pictures")


def wrap(draw, font, label):
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font) > SHOWN + 4 and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines[:2]) + ("…" if len(lines) > 2 else "")


def evenly(items, count):
    return [items[len(items) * index // count] for index in range(count)]


def main():
    options = parser(__doc__)
    options.add_argument("--model", type=pathlib.Path, default=OUT, help="folder of the exported model")
    options.add_argument("--to", type=pathlib.Path, default=IMAGES, help="folder for the sheets")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    emoji, pictures = load(options.work)
    by_image = {one.image: one for one in emoji}
    place = {one.image: index for index, one in enumerate(emoji)}
    split, pipe = read_split(), pipeline(options.model)
    held = sorted(image for images in split["held_out"].values() for image in images)
    shown = evenly(split["trained"], 32) + evenly(held, 16)
    prompts = [captions.prompt(by_image[image]) for image in shown] + list(FREE)
    sheet(generate(pipe, prompts, list(range(64))), prompts, options.to / "emoji-sd-sheet.png")
    indices = [place[image] for image in shown[:16] + shown[32:]]
    pairs = numpy.stack([pictures[indices], reconstruct(pipe, pictures[indices])], axis=1).reshape(-1, 64, 64, 3)
    labels = [label for index in indices for label in (emoji[index].name, "reconstructed")]
    sheet(pairs, labels, options.to / "emoji-sd-vae.png")


if __name__ == "__main__":
    main()
