"""What each emoji is called: the name that is measured, and the ways of saying it that training draws from."""


def article(words):
    return ("an " if words[0] in "aeio" else "a ") + words


def prompt(one):
    """The name as it is measured: "red apple", "waving hand sign: medium skin tone"."""
    return one.name


def draw(one, chance):
    """One way of asking for the emoji; the name itself half of the time."""
    names = [one.base, *one.aliases]
    name = one.base if chance.random() < 0.6 else chance.choice(names)
    if one.tones:
        name = chance.choice([f"{name}: {one.tone_words}"] * 2 + [f"{name} with {one.tone_words}"])
    kind = one.subcategory.replace("-", " ")
    return chance.choice(
        [name] * 10
        + [article(name)] * 4
        + [f"an emoji of {article(name)}"] * 2
        + [f"{name} emoji"] * 2
        + [f"{name}, {kind}"]
        + [f"a picture of {article(name)}"]
    )


def words_of(one):
    """Text with every word that `draw` may use for this emoji."""
    names = " ".join([one.base, *one.aliases])
    return f"{names} : , with and {one.tone_words} {one.subcategory.replace('-', ' ')} a an of emoji picture"
