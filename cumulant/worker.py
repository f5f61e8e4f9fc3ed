"""A process that trains one run, lets one model answer, or works for an audit.

It reads its order from stdin and writes rows as JSON lines to stdout.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def main() -> int:
    """Do what stdin orders; return the exit code."""
    # whatever an environment prints, be it from C, must not mix with the messages: it goes to stderr
    messages = open(os.dup(1), "w", encoding="utf-8")  # noqa: SIM115  (until the process ends)
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def send(message: dict[str, Any]) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    try:
        # the parent asks by SIGTERM: inside the loop of a run both save first, elsewhere both are a KeyboardInterrupt
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        order = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        return _carry_out(order, send)
    except KeyboardInterrupt:  # outside the loop, where there is nothing to save that is not saved already
        return 130


def _carry_out(order: dict[str, Any], send: Any) -> int:
    from cumulant import api
    from cumulant.errors import CumulantError

    try:
        if "answers" in order:
            from cumulant.pipelines.answers import write_answers

            write_answers(order["answers"], lambda row: send({"row": row}))
        elif "audit" in order:
            from cumulant.audits.jobs import carry_out

            carry_out(order["audit"], lambda row: send({"row": row}))
        else:
            api.train_one(
                order["spec"],
                Path(order["directory"]),
                resume=order["resume"],
                progress=lambda seed, row: send({"row": row}),
            )
    except CumulantError as problem:
        send({"error": type(problem).__name__, "message": str(problem)})
        return problem.exit_code
    return 0


def _end_with_parent() -> None:
    """Leave at once when the parent is gone; the run resumes from its last checkpoint."""
    while sys.stdin.buffer.raw.read(1):  # type: ignore[union-attr]
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
