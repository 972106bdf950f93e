"""
JSON texts, and where the values in them lie, so that a value can be stored as it came.

Spec: RFC 8259.
"""

import json
import re
from itertools import accumulate

MAX_NESTING = 200

def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


GRAMMAR = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=refuse_constant)
SPACE = r"[ \t\n\r]*"
OPEN = re.compile(rf'{SPACE}\{{{SPACE}(?=["}}])')
COLON = re.compile(rf"{SPACE}:{SPACE}")
COMMA = re.compile(rf'{SPACE},{SPACE}(?=")')
CLOSE = re.compile(rf"{SPACE}\}}{SPACE}")


def nesting(text):
    """How deep brackets nest; asked before the parser, which recurses."""
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return 0
    outside_strings = re.sub(r"\\.", "", text, flags=re.DOTALL).split('"')[::2]
    brackets = re.sub(r"[^][{}]+", "", "".join(outside_strings))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets))


def after(pattern, text, at):
    match = pattern.match(text, at)
    if not match:
        raise ValueError(f"malformed at {at}")
    return match.end()


def members(text):
    """A JSON object as `{name: raw text of the value}`, the last of equal names; None for any other JSON text."""
    if text.lstrip(" \t\n\r")[:1] != "{":
        GRAMMAR.decode(text)
        return None
    found = {}
    at = after(OPEN, text, 0)
    end = CLOSE.match(text, at)
    while not end:
        name, at = GRAMMAR.raw_decode(text, at)
        start = after(COLON, text, at)
        _, at = GRAMMAR.raw_decode(text, start)
        found[name] = text[start:at]
        end = CLOSE.match(text, at)
        at = at if end else after(COMMA, text, at)
    if end.end() != len(text):
        raise ValueError("text after the object")
    return found


def is_json(text):
    try:
        GRAMMAR.decode(text)
        return True
    except (TypeError, ValueError, RecursionError):
        return False
