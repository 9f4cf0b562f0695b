"""Texts as vectors, and how alike two are: functions of the texts alone. Pure."""

from hashlib import blake2b

SIMILARITY_DIMENSIONS = 16


def embedding(text: str, size: int) -> list[float]:
    """`size` numbers, a function of the text, whose squares sum to 1."""
    key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    numbers: list[float] = []
    row = 0
    while len(numbers) < size:
        digest = blake2b(row.to_bytes(4, "big"), key=key).digest()
        numbers.extend(int.from_bytes(digest[at : at + 4], "big") / 2**31 - 1.0 for at in range(0, 64, 4))
        row += 1
    del numbers[size:]
    length = sum(number * number for number in numbers) ** 0.5 or 1.0
    return [number / length for number in numbers]


def similarity(one: str, other: str) -> float:
    """0..1; 1 for equal texts."""
    pairs = zip(embedding(one, SIMILARITY_DIMENSIONS), embedding(other, SIMILARITY_DIMENSIONS), strict=True)
    return min(1.0, max(0.0, 0.5 + 0.5 * sum(a * b for a, b in pairs)))
