"""A run: its directory, its iterations, its checkpoints. Knows nothing of reinforcement learning.

run.py         Run: iterations, track, log, named generators
place.py       its directory: free, locked, tidied
checkpoint.py  atomic, hashed, weights-only checkpoints
config.py      strict configuration: dataclass <-> JSON
manifest.py    what ran where
board.py       TensorBoard event files
"""
