"""Chooses, with a fixed seed and before any training, what is held out and which trained names are measured.

    python tools/emoji-sd/split.py

It writes split.json beside itself. Only combinations are held out, 5 % of each group below and at least one: names whose
parts all appear in trained names. A picture that equals another one to the pixel is never held out.
"""

import collections
import json
import pathlib
import random
import re

from data import load, parser

SEED = 20240916
SHARE = 0.05
FILE = pathlib.Path(__file__).with_name("split.json")
COLOURS = "red|orange|yellow|green|blue|light blue|purple|brown|black|white|grey|pink"


def groups(bases):
    """The combinations of names without skin tones, each group as the list of those names."""
    roles = [name for name in bases if re.match("(man|woman) ", name)]
    partner = {"man": "woman", "woman": "man"}
    coloured = [re.fullmatch(rf"(large )?({COLOURS}) (circle|square|heart|book)", name) for name in bases]
    return {
        "gender x role": [n for n in roles if f"{partner[n.split()[0]]} {n.split(' ', 1)[1]}" in bases],
        "colour x shape": [match.group() for match in coloured if match],
        "animal x part": [n for n in bases if n + " face" in bases or n.removesuffix(" face") in bases - {n}],
        "hour x half": [n for n in bases if n.startswith("clock face ")],
        "cat x expression": [n for n in bases if "cat face" in n and n != "cat face"],
    }


def split(emoji, pictures):
    chance = random.Random(SEED)
    copies = collections.Counter(picture.tobytes() for picture in pictures)
    unique = {one.image for one, picture in zip(emoji, pictures) if copies[picture.tobytes()] == 1}
    held = {}
    bases = {one.base for one in emoji}
    for group, names in groups(bases).items():
        names = sorted(n for n in names if all(one.image in unique for one in emoji if one.base == n))
        chosen = chance.sample(names, max(1, round(SHARE * len(names))))
        held[group] = sorted(one.image for one in emoji if one.base in chosen)
    without = {image for images in held.values() for image in images}
    toned = sorted(one.image for one in emoji if one.tones and one.image in unique - without)
    held["base x skin tone"] = sorted(chance.sample(toned, round(SHARE * len(toned))))
    without.update(held["base x skin tone"])
    plain = sorted(one.image for one in emoji if not one.tones and one.image not in without)
    drawn = chance.sample(plain, 132)
    return {"seed": SEED, "held_out": held, "trained": sorted(drawn[:100]), "tuning": sorted(drawn[100:])}


def read_split():
    return json.loads(FILE.read_text())


def held_out():
    return {image for images in read_split()["held_out"].values() for image in images}


if __name__ == "__main__":
    emoji, pictures = load(parser(__doc__).parse_args().work)
    result = split(emoji, pictures)
    FILE.write_text(json.dumps(result, indent=1) + "\n")
    name = {one.image: one.name for one in emoji}
    for group, images in result["held_out"].items():
        print(f"{len(images):4} {group}: {', '.join(name[image] for image in images)}")
