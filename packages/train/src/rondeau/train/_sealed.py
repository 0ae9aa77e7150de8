"""Sealed JSON: an object whose last member is the SHA-256 of all that stands before it, so that any damage is found."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_SEAL = b',\n "sha256": "'
_END = b'"\n}\n'


def seal(content: Mapping[str, Any]) -> bytes:
    """Return an object as sealed JSON.

    Parameters
    ----------
    content : mapping
        At least one member; what JSON can hold.

    Examples
    --------
    >>> print(seal({"step": 3}).decode(), end="")
    {
     "step": 3,
     "sha256": "c383bc1d20d1e176bc9f23f79170ee5109c1fa399ab27fa95c17d42233131a6e"
    }
    """
    text = json.dumps(content, indent=1).removesuffix("\n}").encode()
    return text + _SEAL + hashlib.sha256(text).hexdigest().encode() + _END


def unseal(data: bytes) -> dict[str, Any]:
    """Return the object of sealed JSON without its seal.

    Raises
    ------
    ValueError
        If it is damaged or was never sealed.

    Examples
    --------
    >>> unseal(seal({"step": 3}).replace(b"3", b"4"))
    Traceback (most recent call last):
    ...
    ValueError: its SHA-256 is not the one that it ends with
    """
    text, found, end = data.rpartition(_SEAL)
    if not found:
        raise ValueError("does not end with a SHA-256")
    if end != hashlib.sha256(text).hexdigest().encode() + _END:
        raise ValueError("its SHA-256 is not the one that it ends with")
    content = parse_json(data)
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, got {type(content).__name__}")
    content.pop("sha256", None)
    return content


def parse_json(data: bytes) -> Any:
    """Return what a JSON text holds.

    Raises
    ------
    ValueError
        If it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
