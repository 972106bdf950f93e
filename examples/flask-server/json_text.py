"""
Finds the values in a JSON text, so that they can be stored exactly as they were sent.

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
OPEN_OBJECT = re.compile(rf'{SPACE}\{{{SPACE}(?=["}}])')
OPEN_ARRAY = re.compile(rf"{SPACE}\[{SPACE}")
COLON = re.compile(rf"{SPACE}:{SPACE}")
COMMA = re.compile(rf"{SPACE},{SPACE}")
COMMA_AND_NAME = re.compile(rf'{SPACE},{SPACE}(?=")')
CLOSE_OBJECT = re.compile(rf"{SPACE}\}}{SPACE}")
CLOSE_ARRAY = re.compile(rf"{SPACE}\]{SPACE}")


def to_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def nesting(text):
    """The levels of arrays and objects. Check it before parsing: the parser recurses."""
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


def begins_with(bracket, text):
    """Whether the text starts with this bracket. Any other text is checked to be JSON."""
    if text.lstrip(" \t\n\r")[:1] == bracket:
        return True
    GRAMMAR.decode(text)
    return False


def members(text):
    """A JSON object as `{name: raw text of the value}`, the last of equal names; None for any other JSON text."""
    if not begins_with("{", text):
        return None
    found = {}
    at = after(OPEN_OBJECT, text, 0)
    end = CLOSE_OBJECT.match(text, at)
    while not end:
        name, at = GRAMMAR.raw_decode(text, at)
        start = after(COLON, text, at)
        _, at = GRAMMAR.raw_decode(text, start)
        found[name] = text[start:at]
        end = CLOSE_OBJECT.match(text, at)
        at = at if end else after(COMMA_AND_NAME, text, at)
    if end.end() != len(text):
        raise ValueError("text after the object")
    return found


def elements(text):
    """The raw texts of a JSON array's elements; None for any other JSON text."""
    if not begins_with("[", text):
        return None
    found = []
    at = after(OPEN_ARRAY, text, 0)
    end = CLOSE_ARRAY.match(text, at)
    while not end:
        start = at
        _, at = GRAMMAR.raw_decode(text, start)
        found.append(text[start:at])
        end = CLOSE_ARRAY.match(text, at)
        at = at if end else after(COMMA, text, at)
    if end.end() != len(text):
        raise ValueError("text after the array")
    return found


def string(text):
    """The value of a JSON string, which may have lone surrogates. None for any other JSON text."""
    return GRAMMAR.decode(text) if text[:1] == '"' else None


def is_json(text):
    try:
        GRAMMAR.decode(text)
        return True
    except (TypeError, ValueError, RecursionError):
        return False
