# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a MongoDB key file may hold, and which keys are no secret. Pure.

A key file is one key, or a YAML list of keys: a server accepts each of them from other members and shows them the first. That is what
a rotation without an interruption rests on. Blanks and line breaks inside a key do not count.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter

# mongod's own limits of a key (src/mongo/db/auth/security_key.cpp: kMinKeyLength, kMaxKeyLength).
MIN_LENGTH, MAX_LENGTH = 6, 1024
# 32 random bytes in base64; the bits are estimated from the key's own letters, so that a random key of this length passes with room.
STRONG_LENGTH, STRONG_BITS = 44, 128.0

_KEY = re.compile(r"[A-Za-z0-9+/=]+", re.ASCII)
_ITEM = re.compile(r"(?m)^-[ \t]+")

# SHA-256 of keys that are printed in public, without blanks. Whoever copies an example copies its key.
PUBLISHED = {
    "38d3f03896b012d0c338c949217f7e70cd6be839f5be81f4774e214d6222617c": "the default of the roles of community.mongodb",
    "f31b333c7cd31750997eed433b106d6ab4e991611352eafe80f8933688e77313": "the key file of appwrite's compose file",
    "24a10bc4bc04390c47a83565279a8483a300cf2d19324c3c6d0a3e192b5fcded": "the key file of mongo-replica-with-docker",
    "be899901a96cb384729cb95eb88ab85bb01364c27225c96d666a37f6e1ea6dac": "the key file of mongo-rep-set",
    "c7600dd61a6a7f908696456fb5382c6b81e77a090515e89c98b500652f21f4ab": "the key file of AckeeCZ/mongo",
}


def parse_keys(text: str) -> tuple[str, ...]:
    """Return the keys of a key file without their blanks; nothing when mongod would refuse the file."""
    text = text.strip()
    parts = _ITEM.split(text)[1:] if text.startswith("-") else [text]
    keys = tuple(re.sub(r"\s", "", _unquoted(part.strip())) for part in parts)
    good = all(MIN_LENGTH <= len(key) <= MAX_LENGTH and _KEY.fullmatch(key) for key in keys)
    return keys if good and len(set(keys)) == len(keys) else ()


def is_keyfile(value: object) -> bool:
    """Tell whether a value is the content of a key file that mongod reads; says nothing about its strength."""
    return isinstance(value, str) and bool(parse_keys(value))


def keyfile_problem(text: str) -> str:
    """Return why one of the keys must not be used, as the end of a sentence that begins with the variable; empty when all may be."""
    keys = parse_keys(text)
    for place, key in enumerate(keys, start=1):
        problem = weakness(key)
        if problem:
            return problem if len(keys) == 1 else f"{problem} (key {place} of {len(keys)})"
    return "" if keys else "is not the content of a key file"


def weakness(key: str) -> str:
    """Return what makes one key weak; empty for a strong one."""
    source = PUBLISHED.get(hashlib.sha256(key.encode()).hexdigest())
    if source is not None:
        return f"is known to everybody: it is {source}"
    if len(key) < STRONG_LENGTH:
        return f"is weak: it has {len(key)} characters, fewer than {STRONG_LENGTH}"
    if _period(key) <= len(key) // 2:
        return "is weak: it repeats itself"
    if _steps(key) > 1 / 3:
        return "is weak: it follows the alphabet or the digits"
    if entropy(key) < STRONG_BITS:
        return f"is weak: its letters hold about {entropy(key):.0f} bits, fewer than {STRONG_BITS:.0f}"
    return ""


def position(text: str, previous: str, new: str) -> int:
    """Return how far a key file is on the way from one key to another: 0 the old one, 1 both, 2 both with the new one first, 3 the new one.

    What counts is the key that a server shows, which is the first, and whether it takes the other one. A third key may still stand behind
    them, from a rotation after which ``mongodb_keyfile_previous`` was never taken out. -1 for a server that would be refused on the way.
    """
    old, fresh = ((parse_keys(key) or ("",))[0] for key in (previous, new))
    keys = parse_keys(text)
    if keys == (fresh,):
        return 3
    if keys[:1] == (old,):
        return 1 if fresh in keys else 0
    return 2 if keys[:1] == (fresh,) and old in keys else -1


def entropy(key: str) -> float:
    """Return the bits of a key as its own letter frequencies tell them (Shannon); an upper bound of what an attacker has to guess."""
    counts = Counter(key).values()
    return -sum(count * math.log2(count / len(key)) for count in counts)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text


def _period(key: str) -> int:
    """Return the length of the shortest beginning whose repetition is the key (by the failure function of Knuth, Morris and Pratt)."""
    border = [0] * len(key)
    length = 0
    for place in range(1, len(key)):
        while length and key[place] != key[length]:
            length = border[length - 1]
        length += key[place] == key[length]
        border[place] = length
    return len(key) - border[-1]


def _steps(key: str) -> float:
    """Return which part of the letters is the same as, or the neighbour of, the one before."""
    return sum(abs(ord(one) - ord(other)) <= 1 for one, other in itertools.pairwise(key)) / (len(key) - 1)
