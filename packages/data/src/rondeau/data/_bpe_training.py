"""Byte-pair encoding, learned from how often each word occurs (Sennrich, Haddow and Birch 2016, algorithm 1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from operator import add
from typing import NamedTuple

MOST_TOKENS = 0x110000
"""A word is kept as a string with a character for each of its tokens, and there are no more characters than that."""


class Learned(NamedTuple):
    """What was learned.

    Attributes
    ----------
    tokens : list of str
        The bytes, in the order of the characters that stand for them, and then what they were merged into.
    merges : list of (str, str)
        The pairs that become one token, in the order in which an encoder is to merge them.
    """

    tokens: list[str]
    merges: list[tuple[str, str]]


def learn_merges(
    words: Mapping[str, int], alphabet: Sequence[str], vocab_size: int, min_frequency: int
) -> Learned:
    """Merge the most frequent pair of neighbours into a token, again and again; of equals, the one of older tokens.

    Parameters
    ----------
    words : mapping of str to int
        How often each occurs. No pair reaches from one into another.
    alphabet : sequence of 256 str
        The character that stands for each byte.
    vocab_size : int
        How many tokens to make, if there are pairs enough.
    min_frequency : int
        A pair seen less often is not merged, and neither is one that is not there.

    Examples
    --------
    >>> alphabet = [chr(byte) for byte in range(256)]
    >>> learn_merges({"low": 5, "lowest": 2, "new": 6}, alphabet, vocab_size=258, min_frequency=2).merges
    [('l', 'o'), ('lo', 'w')]
    """
    tokens = sorted(alphabet)
    number_of = {token: number for number, token in enumerate(tokens)}
    table = bytes(number_of[character] for character in alphabet)
    spelled = [word.encode().translate(table).decode("latin-1") for word in words]
    times = list(words.values())
    frequency: defaultdict[str, int] = defaultdict(int)
    places: defaultdict[str, list[int]] = defaultdict(list)  # words that hold a pair, or held it
    for i, word in enumerate(spelled):
        for pair in map(add, word, word[1:]):
            frequency[pair] += times[i]
            places[pair].append(i)
    queue = [(-count, pair) for pair, count in frequency.items()]  # counts as they were when a pair came in
    heapify(queue)
    merges: dict[tuple[str, str], None] = {}
    while queue and len(tokens) < vocab_size:
        count, pair = heappop(queue)
        if -count != frequency[pair]:
            if frequency[pair]:
                heappush(queue, (-frequency[pair], pair))
            continue
        if -count < max(min_frequency, 1):
            break
        left, right = (tokens[ord(token)] for token in pair)
        merges.setdefault((left, right))
        number = number_of.setdefault(left + right, len(tokens))
        if number == len(tokens):
            tokens.append(left + right)
        merged = chr(number)
        appeared = set()
        for i in dict.fromkeys(places.pop(pair)):
            word = spelled[i]
            spelled[i] = after = word.replace(pair, merged)
            for old in map(add, word, word[1:]):
                frequency[old] -= times[i]
            for new in map(add, after, after[1:]):
                frequency[new] += times[i]
                if merged in new:
                    places[new].append(i)
                    appeared.add(new)
        for new in appeared:
            heappush(queue, (-frequency[new], new))
    return Learned(tokens, list(merges))
