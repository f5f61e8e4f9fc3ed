"""TensorBoard events, as records that the run appends and cuts like its other rows.

A record is framed here and not by TensorBoard's own writer, which loads all of its plugins and goes byte by byte.
"""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Mapping

import numpy as np

FILE = "tensorboard/events.out.tfevents.0"
_POLYNOMIAL = np.uint32(0x82F63B78)  # of CRC-32C, lowest power first


def first_record() -> bytes:
    """Return the record that every event file begins with."""
    from tensorboard.compat.proto.event_pb2 import Event

    return _framed(Event(wall_time=time.time(), file_version="brain.Event:2"))


def record(row: Mapping[str, float], step: int) -> bytes:
    """Return a row of numbers as a record of scalars at this step count."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=key, simple_value=float(value)) for key, value in row.items()]
    return _framed(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def _framed(event: object) -> bytes:
    """Return an event as TFRecord: its length, a checksum of that, the event, and its checksum."""
    data: bytes = event.SerializeToString()  # type: ignore[attr-defined]
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, struct.pack("<I", _masked(crc32c(length))), data, struct.pack("<I", _masked(crc32c(data))))
    )


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table(length: int) -> np.ndarray:
    """Return what each byte adds to the checksum by how many bytes follow it, ``[length, 256]``."""
    first: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = (first >> 1) ^ np.where(first & 1, _POLYNOMIAL, np.uint32(0))
    rows = [first]
    for _ in range(length - 1):
        rows.append((rows[-1] >> 8) ^ first[rows[-1] & 255])
    return np.stack(rows)


def crc32c(data: bytes) -> int:
    """Return the checksum CRC-32C of at least four bytes.

    It is linear, so that it is the sum (exclusive or) of what each byte adds by itself; that it starts from ones is the same as
    inverting the first four bytes.

    >>> hex(crc32c(b"123456789"))  # the check value of the standard
    '0xe3069283'
    """
    numbers = np.frombuffer(data, np.uint8).copy()
    numbers[:4] ^= 255
    following = np.arange(len(numbers) - 1, -1, -1)
    table = _table(1 << (len(numbers) - 1).bit_length())
    return int(np.bitwise_xor.reduce(table[following, numbers])) ^ 0xFFFFFFFF
