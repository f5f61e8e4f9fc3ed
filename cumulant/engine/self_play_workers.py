"""Several processes that play against themselves and share the newest weights, for one that learns.

A worker plays some of the games, a *chunk* of moves at a time, and sends what happened, with where its games then stand. A
chunk counts when it is received: it is put into the replay, and what a checkpoint saves is where the games stood after it. A
worker that dies or hangs, and the whole run after a kill, goes on from there, so that no move is lost and none counts twice.
Which weights a chunk was played with depends on when it was begun, so several processes are not bit-exact.

Axes: M moves of a chunk, g games of a worker, R bytes of a packed position, A actions, P points of the board.
"""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cumulant import errors
from cumulant.data.game_replay import GameReplay
from cumulant.data.packed_planes import Packing
from cumulant.engine.faults import TICKS, fault_limits
from cumulant.engine.shared_weights import SharedWeights
from cumulant.envs.games.game import Game
from cumulant.errors import CumulantError, PlayerFault
from cumulant.loading import load_module
from cumulant.run.config import from_dict, to_dict

_MOVED = True  # a message: every game has moved on
_AHEAD = 2  # chunks that a worker may be asked for at a time: it plays on while the other process learns
_WORKER = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from cumulant.engine.self_play_workers import work; sys.exit(work(int(sys.argv[1]), int(sys.argv[2])))"
)


class Recorder:
    """What self-play puts into a replay, noted down for the one in another process.

    Args:
        game: The game.
        moves: Of each open game so far, ``[g]``.
        told: Called after every move of all games.
    """

    def __init__(self, game: Game, moves: np.ndarray, told: Callable[[], object] = lambda: None) -> None:
        self.packing, self.moves, self.told = Packing(game), moves.copy(), told
        self._notes: list[tuple[np.ndarray, ...]] = []
        self._ends: list[tuple[Any, ...]] = []

    def remember(self, *given: np.ndarray) -> None:
        """See ``GameReplay.remember``."""
        row, policy, value, player, counts = given
        self._notes.append((row, policy.astype(np.float16), value.copy(), player.copy(), counts.copy()))
        self.moves += 1
        self.told()

    def finish(self, g: int, result: float, player: int, ownership: np.ndarray | None = None) -> None:
        """See ``GameReplay.finish``."""
        self._ends.append((len(self._notes), g, float(result), int(player), ownership))
        self.moves[g] = 0

    def take(self) -> tuple[list[Any], list[Any]]:
        """Return what was noted since the last call: moves, and ends of games with the number of moves before them."""
        taken = self._notes, self._ends
        self._notes, self._ends = [], []
        return taken


@dataclass(eq=False)
class _Worker:
    """A worker as the learner sees it.

    Args:
        index: Which.
        chunks: That it was received of, of all its lives.
        state: Of its self-play after them; None before the first.
        process: Its process.
        connection: To it.
        listener: Reads from it.
        asked: Chunks that this life of it was asked for.
        sent: Those that came; the listener counts.
        words: Moves and chunks that it told of; the listener counts.
        silent: Looks in a row at which something was due and it had told of nothing new.
        seen: Words at the last look.
        hung: How often it hung; each time it is given twice the time, for it may just be slow.
    """

    index: int
    chunks: int = 0
    state: dict[str, Any] | None = None
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = None
    listener: threading.Thread | None = None
    asked: int = 0
    sent: int = 0
    words: int = 0
    silent: int = 0
    seen: int = 0
    hung: int = 0


class SelfPlayWorkers:
    """Self-play in processes of their own, behind the interface of ``SelfPlay``. A context manager, which ends them.

    Args:
        module: Name of a module, or path of a file, with ``Config``, ``build(config)``, which gives game and network, and
            ``SelfPlay(game, config, net, replay)``.
        config: Options; ``num_envs`` is a multiple of ``play.processes``.
        net: The network that learns.
        replay: Where what they play goes.
        seed: Of the run.
    """

    def __init__(self, module: str, config: Any, net: nn.Module, replay: GameReplay, seed: int) -> None:
        self.replay, self.seed, self._weights = replay, seed, SharedWeights(net)
        count = config.play.processes
        self.games = config.num_envs // count
        own = replace(config, num_envs=self.games, play=replace(config.play, processes=1))
        self._order = {
            "module": module,
            "config": {**to_dict(own), "env": config.env, "env_options": dict(config.env_options)},
            "threads": torch.get_num_threads(),
        }
        self._horizon = config.horizon
        self._workers = [_Worker(index) for index in range(count)]
        self._inbox: queue.Queue[tuple[_Worker, Connection, Any]] = queue.Queue()
        self.timeout = config.play.worker_timeout or float("inf")
        self._looked = time.monotonic()
        self.faults = 0
        """Workers that died or hung and were started again."""

    def __enter__(self) -> SelfPlayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._end(worker)
        self._weights.close()

    def play(self, moves: int, generator: np.random.Generator) -> dict[str, float]:
        """Let the workers see the weights as they are now, and take in as many chunks as there are workers; return their sums.

        Raises:
            PlayerFault: If workers died or hung too often (message says how).
            CumulantError: What a worker raised.
        """
        self._weights.write()
        for worker in self._workers:
            if worker.process is None:
                self._start(worker)
        sums: dict[str, float] = {}
        for _ in self._workers:
            for name, number in self._receive().items():
                sums[name] = sums.get(name, 0.0) + number
        return sums

    def _receive(self) -> dict[str, float]:
        """Take in the next chunk, whoever it is from; start those again that died or hang."""
        while True:
            self._look()
            try:
                worker, connection, message = self._inbox.get(timeout=min(self.timeout / TICKS, threading.TIMEOUT_MAX))
            except queue.Empty:
                continue
            if connection is not worker.connection:  # of a life before
                continue
            if isinstance(message, dict):
                break
            self._bear(worker, message)
        first = worker.index * self.games
        ends = iter([*message["ends"], (None,)])
        end = next(ends)
        for number, note in enumerate(message["notes"], 1):
            self.replay.remember(*note, first=first)
            while end[0] == number:
                self.replay.finish(first + end[1], *end[2:])
                end = next(ends)
        worker.state, worker.chunks = message["state"], worker.chunks + 1
        self._ask(worker, worker.chunks + _AHEAD - 1)
        return dict(message["sums"])

    def _look(self) -> None:
        """Start those again that hang: no word at several looks in a row; a pause of this process alone is one look."""
        now = time.monotonic()
        if now - self._looked < self.timeout / TICKS:
            return
        self._looked = now
        for worker in self._workers:
            is_due = worker.asked > worker.sent
            worker.silent = worker.silent + 1 if is_due and worker.words == worker.seen else 0
            worker.seen = worker.words
            patience = 2**worker.hung
            if worker.silent > TICKS * patience:  # the first look may have come right after a word
                assert worker.process is not None
                worker.process.kill()
                worker.hung += 1
                self._bear(worker, ("", f"hung: no move in {patience * self.timeout:g} s (--worker-timeout)"))

    def _ask(self, worker: _Worker, chunk: int) -> None:
        """Ask for a chunk; its random numbers follow from the run, the worker and its number."""
        assert worker.connection is not None
        worker.asked += 1
        with suppress(OSError):  # it has died: its end of the line says so
            worker.connection.send([self.seed, worker.index, chunk])

    def _start(self, worker: _Worker) -> None:
        ours, theirs = socket.socketpair()
        paths = [os.path.abspath(path) for path in sys.path if isinstance(path, str)]
        descriptors = theirs.fileno(), self._weights.descriptor
        worker.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _WORKER, *map(str, descriptors), *paths],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for the one that learns
        )
        theirs.close()
        worker.connection = Connection(ours.detach())
        worker.asked = worker.sent = worker.silent = 0
        first = worker.index * self.games
        moves = self.replay.moves[first : first + self.games].copy()
        with suppress(OSError):  # as in _ask
            worker.connection.send({**self._order, "state": worker.state, "moves": moves, "horizon": self._horizon})
        for ahead in range(_AHEAD):
            self._ask(worker, worker.chunks + ahead)
        worker.listener = threading.Thread(target=self._listen, args=(worker, worker.connection), daemon=True)
        worker.listener.start()

    def _listen(self, worker: _Worker, connection: Connection) -> None:
        """Put what comes into the inbox, so that a worker need not wait for the one that learns."""
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                message = None
            worker.words += 1
            if message is _MOVED:
                continue
            worker.sent += isinstance(message, dict)
            self._inbox.put((worker, connection, message))
            if not isinstance(message, dict):
                return

    def _bear(self, worker: _Worker, message: tuple[str, str] | None) -> None:
        """Start a worker again that died or hung.

        Raises:
            PlayerFault: If it is one too many.
            CumulantError: If that is what ended it: it would end it again.
        """
        assert worker.process is not None
        kind, said = message or ("", "")
        if isinstance(getattr(errors, kind, None), type):
            raise getattr(errors, kind)(said)
        with suppress(subprocess.TimeoutExpired):  # its line ends a little before it does
            worker.process.wait(2.0)
        self._end(worker)
        self.faults += 1
        limit = fault_limits().max_faults
        how = said or f"ended with exit code {worker.process.returncode}"
        text = f"self-play process {worker.index} {how}"
        if self.faults > limit:
            raise PlayerFault(
                f"{text}; it is fault {self.faults} of this run, and max_faults = {limit}: mend it, or bear more (--max-faults)"
            )
        warnings.warn(f"{text}; it is started again (fault {self.faults}, {limit} are borne)", stacklevel=5)
        self._start(worker)

    def _end(self, worker: _Worker) -> None:
        if worker.process is None or worker.connection is None or worker.listener is None:
            return
        worker.process.kill()  # what was taken in counts, and nothing else
        worker.process.wait()
        worker.listener.join()  # at the end of the line: nobody reads from what may soon be another one
        worker.connection.close()

    def state_dict(self) -> dict[str, Any]:
        """Where the games of each worker stood after its last chunk that counts."""
        return {
            "chunks": [worker.chunks for worker in self._workers],
            "states": [worker.state for worker in self._workers],
            "faults": self.faults,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``, before the first move."""
        self.faults = int(state["faults"])
        for worker, chunks, where in zip(self._workers, state["chunks"], state["states"], strict=True):
            worker.chunks, worker.state = int(chunks), where


def work(line: int, memory: int) -> int:
    """Play what the process at the other end of a line asks for, until it is gone; return the exit code.

    Args:
        line: Descriptor of the line.
        memory: Descriptor of the weights.
    """
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Connection(line)
    try:
        _play(connection, memory)
    except (EOFError, ConnectionError):
        return 0
    except Exception as problem:
        kind = type(problem).__name__
        if not isinstance(problem, CumulantError):
            where = traceback.extract_tb(problem.__traceback__)[-1]
            kind, problem = (
                "",
                RuntimeError(f"raised {kind}: {problem} ({Path(where.filename).name}, line {where.lineno})"),
            )
        connection.send((kind, str(problem)))
        return 1
    return 0


def _play(connection: Connection, memory: int) -> None:
    order = connection.recv()
    torch.set_num_threads(order["threads"])
    module = load_module(order["module"])
    config = from_dict(module.Config, order["config"])
    game, net = module.build(config)
    weights, recorder = SharedWeights(net, memory), Recorder(game, order["moves"], lambda: connection.send(_MOVED))
    selfplay = module.SelfPlay(game, config, net, recorder)
    if order["state"] is not None:
        selfplay.load_state_dict(order["state"])
    while True:
        seed = connection.recv()
        weights.read()
        sums = selfplay.play(order["horizon"], np.random.default_rng(seed))
        notes, ends = recorder.take()
        connection.send({"notes": notes, "ends": ends, "sums": sums, "state": selfplay.state_dict()})


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)
