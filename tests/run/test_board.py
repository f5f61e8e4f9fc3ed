"""Event records: byte for byte what TensorBoard's own writer would make of them."""

import io

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from cumulant.run import board


@pytest.mark.parametrize("count", [1, 3, 40])
def test_records_are_those_of_tensorboard(count):
    rng = np.random.default_rng(count)
    row = {f"loss/{'x' * k}": float(rng.standard_normal()) for k in range(count)}
    for record in (board.first_record(), board.record(row, 123)):
        event = Event.FromString(record[12:-4])
        buffer = io.BytesIO()
        RecordWriter(buffer).write(event.SerializeToString())
        assert buffer.getvalue() == record
    assert event.step == 123
    assert {value.tag: value.simple_value for value in event.summary.value} == pytest.approx(row)
