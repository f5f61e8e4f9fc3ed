"""Batches of experience, and texts.

batch.py    a rollout: what happened in B environments over T steps
replay.py   the newest transitions, drawn uniformly or by priority, as n-step transitions
her.py      goals that were reached later, in the place of those that were wanted
sum_tree.py draws in proportion to priorities
shards.py   rows of a large state in append-only, checksummed files
text.py     documents, examples and dialogues: loaded, tokenised, cut to length (packing.py: as batches)
preferences.py   what people prefer: pairs, ratings by several raters, how far they agree
materials.py texts, ratings and weights that come with packages: fetched on first use, checked, cached
"""
