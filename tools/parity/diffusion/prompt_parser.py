"""The prompt syntax of AUTOMATIC1111's wiki, "Attention/emphasis", written from what that page says.

(text) weighs 1.1, (text:1.3) what is said, [text] 1/1.1; inside one another they multiply; a backslash makes the next
bracket or backslash a plain character; BREAK in capitals ends a chunk. Where the page is silent:

- ":number)" counts only where a round bracket is open; else it is text. The number is like 1, 1.25, .5, +2 or -0.3.
- A closing bracket without an opening one is text. An opening one that is never closed holds until the end.
- Each kind of bracket closes the last open one of its own kind: "([a)b]" has both weights on "a" and 1/1.1 on "b".
- A backslash before any other character vanishes.
- Neighbouring texts of the same weight are one; a prompt without text is one empty text of weight 1.
"""

import re

PIECE = re.compile(
    r"\\(?P<escaped>[()\[\]\\])"
    r"|(?P<backslash>\\)"
    r"|(?P<open>[(\[])"
    r"|:\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))\s*(?P<numbered>\))"
    r"|(?P<close>[)\]])"
    r"|(?P<text>[^\\()\[\]:]+|:)"
)
FACTOR = {"(": 1.1, "[": 1 / 1.1}
OPENING = {")": "(", "]": "["}
BREAK = None


def parse(prompt):
    """A list of (text, weight); BREAK stands as (None, -1.0)."""
    texts, spans = collect(prompt)
    weights = [1.0] * len(texts)
    for start, end, factor in spans:
        for i in range(start, end):
            weights[i] *= factor
    result = []
    for text, weight in zip(texts, weights):
        for i, part in enumerate(re.split(r"\s*\bBREAK\b\s*", text)):
            if i > 0:
                result.append((BREAK, -1.0))
            if result and result[-1][0] is not BREAK and result[-1][1] == weight:
                result[-1] = (result[-1][0] + part, weight)
            elif part:
                result.append((part, weight))
    return result or [("", 1.0)]


def collect(prompt):
    """The texts between brackets, and the spans of them that a bracket weighs, inner ones first."""
    texts, spans, waiting = [], [], {"(": [], "[": []}
    for found in PIECE.finditer(prompt):
        kind = found.lastgroup if found.lastgroup != "numbered" else "number"
        value = found[kind]
        if kind == "open":
            waiting[value].append(len(texts))
        elif kind == "number" and waiting["("]:
            spans.append((waiting["("].pop(), len(texts), float(value)))
        elif kind == "close" and waiting[OPENING[value]]:
            opening = OPENING[value]
            spans.append((waiting[opening].pop(), len(texts), FACTOR[opening]))
        elif kind == "backslash":
            continue
        else:
            texts.append(value if kind == "escaped" else found[0])
    for opening in ("(", "["):
        spans += [(start, len(texts), FACTOR[opening]) for start in waiting[opening]]
    return texts, spans
