"""Finished offsets beyond the committed one, written small enough for the commit's own metadata.

A clean restart reads them back and calls no backend a second time. The text is `relay1:` and base64url of: one byte
for the form, the body, and a CRC-32 over the committed offset, form and body. Two forms, whichever reaches further:
run lengths (varints: unfinished, finished, unfinished, …) and a bit set (bit n stands for the committed offset + n).
"""

import base64
import binascii
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

MAX_METADATA_BYTES = 4096
"""What Kafka takes (`offset.metadata.max.bytes`)."""

_PREFIX = "relay1:"
_RUNS, _BITS = 1, 2
_CRC = struct.Struct(">I")
_BASE = struct.Struct(">q")
_MAX_OFFSETS = 1 << 20


class DamagedMetadataError(ValueError):
    """A commit's metadata is not ours, or no longer what we wrote. Its text says which; ignoring it is safe."""


def encode(base: int, finished: Sequence[int], limit: int = MAX_METADATA_BYTES) -> str:
    """The text for these ascending offsets, all >= `base`; empty where there are none.

    Where they don't fit into `limit` bytes, the lowest ones that do are kept: the rest is only done again.
    """
    if not finished:
        return ""
    room = (limit - len(_PREFIX)) // 4 * 3 - _CRC.size - 1
    runs, runs_reach = _runs(base, finished, room)
    bits, bits_reach = _bits(base, finished, room)
    shorter = runs_reach == bits_reach and len(runs) <= len(bits)
    form, body = (_RUNS, runs) if runs_reach > bits_reach or shorter else (_BITS, bits)
    if not body:
        return ""
    packed = bytes([form]) + body
    return _PREFIX + base64.urlsafe_b64encode(packed + _checksum(base, packed)).decode()


def decode(base: int, metadata: str) -> frozenset[int]:
    """The finished offsets beyond `base`, the committed offset that the metadata came with.

    Raises `DamagedMetadataError` for anything that `encode` did not write for this very offset.
    """
    if not metadata:
        return frozenset()
    if not metadata.startswith(_PREFIX):
        raise DamagedMetadataError("written by somebody else, or by another version")
    try:
        raw = base64.b64decode(metadata[len(_PREFIX) :].encode(), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise DamagedMetadataError("not base64") from error
    packed, checksum = raw[: -_CRC.size], raw[-_CRC.size :]
    if len(packed) < 2 or checksum != _checksum(base, packed):
        raise DamagedMetadataError("its checksum does not fit")
    if packed[0] == _RUNS:
        return frozenset(_read_runs(base, packed[1:]))
    if packed[0] == _BITS:
        return frozenset(_read_bits(base, packed[1:]))
    raise DamagedMetadataError(f"unknown form {packed[0]}")


def _checksum(base: int, packed: bytes) -> bytes:
    return _CRC.pack(binascii.crc32(_BASE.pack(base) + packed))


def _runs(base: int, finished: Sequence[int], room: int) -> tuple[bytes, int]:
    """Run lengths in at most `room` bytes, and the last offset they tell of."""
    body, reach = bytearray(), base - 1
    start = finished[0]
    for here, following in pairwise((*finished, None)):
        if here is None or following == here + 1:
            continue
        pair = _varint(start - reach - 1) + _varint(here - start + 1)
        if len(body) + len(pair) > room:
            break
        body += pair
        reach = here
        start = following if following is not None else start
    return bytes(body), reach


def _bits(base: int, finished: Sequence[int], room: int) -> tuple[bytes, int]:
    """A bit set of at most `room` bytes, and the last offset it tells of."""
    kept = [offset - base for offset in finished if offset - base < room * 8]
    if not kept:
        return b"", base - 1
    body = bytearray(kept[-1] // 8 + 1)
    for bit in kept:
        body[bit >> 3] |= 1 << (bit & 7)
    return bytes(body), base + kept[-1]


def _varint(number: int) -> bytes:
    body = bytearray()
    while number > 0x7F:
        body.append(number & 0x7F | 0x80)
        number >>= 7
    body.append(number)
    return bytes(body)


def _read_varints(body: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise DamagedMetadataError("a run length is cut off")


def _read_runs(base: int, body: bytes) -> Iterator[int]:
    lengths = list(_read_varints(body))
    if len(lengths) % 2 or sum(lengths[1::2]) > _MAX_OFFSETS:
        raise DamagedMetadataError("its run lengths make no sense")
    offset = base
    for unfinished, length in zip(lengths[::2], lengths[1::2], strict=True):
        offset += unfinished
        yield from range(offset, offset + length)
        offset += length


def _read_bits(base: int, body: bytes) -> Iterator[int]:
    for index, byte in enumerate(body):
        for bit in range(8):
            if byte >> bit & 1:
                yield base + index * 8 + bit
