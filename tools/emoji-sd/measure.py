"""Measures the exported model as README.md says, and writes the rates into its card.

    python tools/emoji-sd/measure.py            # the 100 trained and all held out names
    python tools/emoji-sd/measure.py --tune     # the tuning names at several guidances; writes nothing
"""

import json
import pathlib
import re

import numpy
import torch

import captions
import vae
from data import load, parser
from export import OUT
from features import Space
from generate import GUIDANCE, STEPS, generate, pipeline
from split import read_split

RATES = ("name", "name and tone", "category", "broad category")


class Judge:
    """Which gallery pictures count as right for a name: tables of gallery x gallery."""

    def __init__(self, emoji, pictures):
        self.space = Space(pictures)
        places = {}
        copies = [places.setdefault(picture.tobytes(), index) for index, picture in enumerate(pictures)]
        bases, tones = [one.base for one in emoji], [one.tone_words for one in emoji]
        same_base = equal(bases) | self.through_copies(equal(bases), copies)
        same_tone = equal(tones) | equal(copies)
        self.right = {
            "name": same_base,
            "name and tone": same_base & same_tone,
            "category": equal([one.subcategory for one in emoji]),
            "broad category": equal([one.category for one in emoji]),
        }

    @staticmethod
    def through_copies(same, copies):
        """[wanted, found]: found equals, to the pixel, a picture that has the wanted name."""
        copy = equal(copies).astype(numpy.float32)
        return same.astype(numpy.float32) @ copy > 0

    def rates(self, wanted, found):
        return {rate: float(self.right[rate][wanted, found].mean()) for rate in RATES}

    def random_rates(self, wanted):
        return {rate: float(self.right[rate][wanted].mean()) for rate in RATES}

    def shuffled_rates(self, wanted, found):
        """The expectation when each name gets the picture of another name of the list."""
        result = {}
        for rate in RATES:
            table = self.right[rate][numpy.ix_(wanted, found)].astype(float)
            numpy.fill_diagonal(table, 0)
            result[rate] = float(table.sum() / (len(wanted) * (len(wanted) - 1)))
        return result


def equal(values):
    codes = numpy.unique(numpy.asarray(values), return_inverse=True)[1]
    return codes[:, None] == codes[None, :]


def reconstruct(pipe, pictures):
    with torch.no_grad():
        output = pipe.vae.decode(pipe.vae.encode(vae.to_tensor(pictures)).latent_dist.mode()).sample
    return ((output.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def line(label, count, rates):
    return f"| {label} | {count} | " + " | ".join(f"{100 * rates[rate]:.1f} %" for rate in RATES) + " |"


def measure(pipe, judge, emoji, pictures, groups):
    """Rows of (label, count, rates); `groups` maps labels to file names."""
    place = {one.image: index for index, one in enumerate(emoji)}
    rows = []
    wanted_of, found_of = {}, {}
    for label, images in groups.items():
        wanted = wanted_of[label] = numpy.array([place[image] for image in images])
        made = generate(pipe, [captions.prompt(emoji[index]) for index in wanted], list(range(len(wanted))))
        found = found_of[label] = judge.space.nearest(made)
        rows.append((f"{label}: generated", len(wanted), judge.rates(wanted, found)))
        rows.append((f"{label}: random", len(wanted), judge.random_rates(wanted)))
        rows.append((f"{label}: shuffled", len(wanted), judge.shuffled_rates(wanted, found)))
        again = judge.space.nearest(reconstruct(pipe, pictures[wanted]))
        rows.append((f"{label}: VAE reconstruction", len(wanted), judge.rates(wanted, again)))
    return rows, wanted_of, found_of


def by_group(judge, emoji, split, wanted, found):
    group_of = {image: group for group, images in split["held_out"].items() for image in images}
    for group in split["held_out"]:
        chosen = [i for i, index in enumerate(wanted) if group_of[emoji[index].image] == group]
        yield f"held out, {group}: generated", len(chosen), judge.rates(wanted[chosen], found[chosen])
        yield f"held out, {group}: random", len(chosen), judge.random_rates(wanted[chosen])


def tune(pipe, judge, emoji, images):
    place = {one.image: index for index, one in enumerate(emoji)}
    wanted = numpy.array([place[image] for image in images])
    prompts = [captions.prompt(emoji[index]) for index in wanted]
    for guidance in (1.0, 1.5, 2.0, 3.0, 5.0, 7.5):
        made = generate(pipe, prompts, list(range(len(prompts))), guidance=guidance)
        distances = judge.space.distances(made)
        own = float(numpy.sqrt(distances[numpy.arange(len(wanted)), wanted].clip(0)).mean())
        rates = judge.rates(wanted, distances.argmin(1))
        print(line(f"guidance {guidance}, distance to the right picture {own:.3f}", len(wanted), rates), flush=True)


def main():
    options = parser(__doc__)
    options.add_argument("--model", type=pathlib.Path, default=OUT, help="folder of the exported model")
    options.add_argument("--tune", action="store_true", help="compare guidances on the tuning names")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    emoji, pictures = load(options.work)
    judge, split, pipe = Judge(emoji, pictures), read_split(), pipeline(options.model)
    if options.tune:
        tune(pipe, judge, emoji, split["tuning"])
        return
    held = sorted(image for images in split["held_out"].values() for image in images)
    rows, wanted, found = measure(pipe, judge, emoji, pictures, {"trained": split["trained"], "held out": held})
    rows += by_group(judge, emoji, split, wanted["held out"], found["held out"])
    rates = {label: measured for label, _, measured in rows}
    factor = rates["held out: generated"]["category"] / rates["held out: random"]["category"]
    training = json.loads((options.model / "training.json").read_text())
    hours = training["cpu_hours"]
    text = "\n".join(
        [
            f"After {training['steps']:,} of {training['of']:,} training steps; CPU hours on one core: "
            + ", ".join(f"{part} {spent}" for part, spent in hours.items())
            + f". DDIM, {STEPS} steps, guidance {GUIDANCE}.",
            "",
            "| pictures | names | " + " | ".join(RATES) + " |",
            "|---|---|" + "---|" * len(RATES),
            *(line(*row) for row in rows),
            "",
            f"Held out names' category rate: {factor:.1f} times the random pictures' (required: 5).",
        ]
    )
    print(text)
    card = options.model / "README.md"
    if card.exists():
        marked = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)
        card.write_text(marked.sub(lambda match: match[1] + text + "\n" + match[2], card.read_text()))


if __name__ == "__main__":
    main()
