"""Write tests/fixtures/mctx/searches.json: what mctx's searches visit in a made-up game, for Gumbel and for PUCT.

Run in an environment with mctx:  python benchmarks/peers/make_mctx_fixtures.py

The game has no end: a position is a number below ``POSITIONS``, an action leads to another one by a fixed rule, and logits and
values are fixed functions of the number. tests/engine/test_search_mctx.py plays the same game.
"""

import json
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import mctx
import numpy as np

POSITIONS, ACTIONS, ROOTS = 1009, 5, 12
FIRST_PLAY = 0.2


def noise(position, salt):
    """A number in [0, 1) that follows from a position."""
    return ((position * 7919 + salt * 104729 + 12345) * 31337 % 65536) / 65536


def tables():
    numbers = np.arange(POSITIONS)
    logits = np.stack([4 * noise(numbers, 1 + a) - 2 for a in range(ACTIONS)], 1).astype(np.float32)
    value = (2 * noise(numbers, 99) - 1).astype(np.float32)
    following = np.stack([(numbers * 5 + a * 37 + 1) % POSITIONS for a in range(ACTIONS)], 1)
    return jnp.asarray(logits), jnp.asarray(value), jnp.asarray(following)


LOGITS, VALUE, FOLLOWING = tables()


def step(params, key, action, position):
    after = FOLLOWING[position, action]
    count = len(position)
    return mctx.RecurrentFnOutput(
        reward=jnp.zeros(count), discount=-jnp.ones(count), prior_logits=LOGITS[after], value=VALUE[after]
    ), after


def first_play(tree, node):
    """Values as they are; a move that was not tried is a little worse than its position."""
    return jnp.where(tree.children_visits[node] > 0, tree.qvalues(node), tree.node_values[node] - FIRST_PLAY)


def main():
    roots = jnp.arange(ROOTS) * 80
    root = mctx.RootFnOutput(prior_logits=LOGITS[roots], value=VALUE[roots], embedding=roots)
    cases = []
    for simulations in (1, 8, 33, 100):
        for considered in (2, 16):
            found = mctx.gumbel_muzero_policy(
                None, jax.random.PRNGKey(simulations), root, step, simulations, max_num_considered_actions=considered
            )
            tree = found.search_tree
            cases.append(
                {
                    "method": "gumbel", "simulations": simulations, "considered": considered,
                    "noise": np.asarray(tree.extra_data.root_gumbel).tolist(),
                    "visits": np.asarray(tree.summary().visit_counts).tolist(),
                    "policy": np.round(np.asarray(found.action_weights), 6).tolist(),
                    "action": np.asarray(found.action).tolist(),
                }
            )  # fmt: skip
        for exploration, base in ((1.25, 19652.0), (2.5, 50.0)):
            found = mctx.muzero_policy(
                None, jax.random.PRNGKey(0), root, step, simulations, dirichlet_fraction=0.0, temperature=0.0,
                qtransform=first_play, pb_c_init=exploration, pb_c_base=base,
            )  # fmt: skip
            tree = found.search_tree
            cases.append(
                {
                    "method": "puct", "simulations": simulations, "exploration": exploration, "exploration_base": base,
                    "first_play": FIRST_PLAY,
                    "visits": np.asarray(tree.summary().visit_counts).tolist(),
                    "value": np.round(np.asarray(tree.node_values[:, 0]), 6).tolist(),
                }
            )  # fmt: skip
    path = Path(__file__).parents[2] / "tests" / "fixtures" / "mctx" / "searches.json"
    path.parent.mkdir(exist_ok=True)
    rows = ",\n".join(json.dumps(case) for case in cases)
    versions = {name: version(name) for name in ("mctx", "jax")}
    facts = {"positions": POSITIONS, "actions": ACTIONS, "roots": np.asarray(roots).tolist(), "versions": versions}
    path.write_text(f'{{"facts": {json.dumps(facts)}, "cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
