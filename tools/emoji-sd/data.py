"""Fetches the emoji pictures and names that everything here learns from, and reads them.

    python tools/emoji-sd/data.py

The npm package comes straight from the registry, is checked against the pinned SHA-512 and stays in the working folder.
"""

import argparse
import base64
import dataclasses
import hashlib
import io
import json
import pathlib
import tarfile
import urllib.request

import numpy
import PIL.Image

PACKAGE = "https://registry.npmjs.org/emoji-datasource-twitter/-/emoji-datasource-twitter-16.0.0.tgz"
INTEGRITY = "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ=="
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
WORK = REPOSITORY / "target/emoji-sd"
SIDE = 64
TONES = {
    "1F3FB": "light skin tone",
    "1F3FC": "medium-light skin tone",
    "1F3FD": "medium skin tone",
    "1F3FE": "medium-dark skin tone",
    "1F3FF": "dark skin tone",
}


@dataclasses.dataclass(frozen=True)
class Emoji:
    image: str  # the file's name, which identifies the emoji
    base: str  # the name without skin tones
    tones: tuple[str, ...]  # skin tones in words; empty where there is none
    aliases: tuple[str, ...]  # other names of the base
    category: str
    subcategory: str

    @property
    def tone_words(self):
        return " and ".join(dict.fromkeys(self.tones))

    @property
    def name(self):
        return f"{self.base}: {self.tone_words}" if self.tones else self.base


def parser(description):
    """The options that every script here has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--work", type=pathlib.Path, default=WORK, help="folder for downloads, caches and checkpoints")
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    return options


def fetch(work):
    """The package's bytes, downloaded once and checked every time."""
    file = work / PACKAGE.rsplit("/", 1)[1]
    if not file.exists():
        work.mkdir(parents=True, exist_ok=True)
        print(f"fetching {PACKAGE}")
        with urllib.request.urlopen(PACKAGE) as response:
            file.write_bytes(response.read())
    content = file.read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != INTEGRITY:
        raise SystemExit(f"{file} is not the pinned package (its SHA-512 differs): delete it and try again")
    return content


def natural(name):
    return name.lower().replace("’", "'").replace("oclock", "o'clock")


def other_names(entry):
    """Short names in words, a flag's country first, and names without the words SIGN, SYMBOL and ORNAMENT."""
    name = natural(entry["name"])
    others = [short.replace("_", " ").replace("-", " ") for short in entry["short_names"]]
    others = [other for other in others if other.isascii() and other.replace(" ", "").isalpha() and len(other) > 2]
    if entry["subcategory"] == "country-flag":
        others = ["flag of " + name.removesuffix(" flag"), name.removesuffix(" flag")]
    words = [word for word in name.split() if word not in ("sign", "symbol", "ornament")]
    others.append(" ".join(words))
    return tuple(dict.fromkeys(other for other in others if other and other != name))


def read(entry):
    yield Emoji(entry["image"], natural(entry["name"]), (), other_names(entry), entry["category"], entry["subcategory"])
    for codes, variation in entry.get("skin_variations", {}).items():
        tones = tuple(TONES[code] for code in codes.split("-"))
        base = natural(entry["name"])
        yield Emoji(variation["image"], base, tones, other_names(entry), entry["category"], entry["subcategory"])


def on_white(png):
    picture = PIL.Image.open(io.BytesIO(png)).convert("RGBA")
    white = PIL.Image.new("RGBA", picture.size, "white")
    return numpy.asarray(PIL.Image.alpha_composite(white, picture).convert("RGB"))


def load(work):
    """All emoji, in the package's order, and their pictures on white: (count, 64, 64, 3) bytes."""
    with tarfile.open(fileobj=io.BytesIO(fetch(work))) as package:
        files = {member.name: member for member in package.getmembers()}
        entries = json.load(package.extractfile(files["package/emoji.json"]))
        emoji = [one for entry in entries for one in read(entry)]
        cache = work / "pictures.npy"
        if cache.exists():
            pictures = numpy.load(cache)
        else:
            pictures = numpy.stack(
                [on_white(package.extractfile(files[f"package/img/twitter/64/{one.image}"]).read()) for one in emoji]
            )
            numpy.save(cache, pictures)
    if pictures.shape != (len(emoji), SIDE, SIDE, 3):
        raise SystemExit(f"{cache} does not fit the package: delete it and try again")
    return emoji, pictures


if __name__ == "__main__":
    emoji, pictures = load(parser(__doc__).parse_args().work)
    print(f"{len(emoji)} emoji, {len({one.base for one in emoji})} without skin tones, pictures {pictures.shape}")
