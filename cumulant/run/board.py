"""TensorBoard events, as records that the run appends and cuts like its other rows."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping

FILE = "tensorboard/events.out.tfevents.0"


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
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())  # type: ignore[attr-defined]
    return buffer.getvalue()
