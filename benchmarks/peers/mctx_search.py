"""Search and self-play on Connect Four with mctx and pgx: the other side of benchmarks/search.py, which calls this.

    python benchmarks/peers/mctx_search.py KIND BATCH SIMULATIONS SECONDS      (an environment with mctx and pgx)

KIND is ``search`` (uniform logits, random values) or ``selfplay`` (a residual network of 64 channels and 4 blocks, normalisation
folded into its convolutions). Prints one JSON line: simulations per CPU second.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import mctx
import pgx


def network(key):
    """Weights of the network, and the function that applies them to observations ``[N, 6, 7, 2]``."""
    keys = iter(jax.random.split(key, 40))

    def conv(inputs, outputs, size):
        return jax.random.normal(next(keys), (size, size, inputs, outputs)) * (2 / (size * size * inputs)) ** 0.5

    weights = {
        "stem": conv(2, 64, 3),
        "tower": [(conv(64, 64, 3), conv(64, 64, 3)) for _ in range(4)],
        "policy": conv(64, 8, 1),
        "policy_out": jax.random.normal(next(keys), (8 * 42, 7)) * 0.01,
        "value": conv(64, 8, 1),
        "hidden": jax.random.normal(next(keys), (8 * 42, 64)) * 0.05,
        "value_out": jax.random.normal(next(keys), (64, 1)) * 0.1,
    }

    def apply(weights, x):
        def layer(x, w):
            return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

        x = jax.nn.relu(layer(x.astype(jnp.float32), weights["stem"]))
        for first, second in weights["tower"]:
            x = jax.nn.relu(x + layer(jax.nn.relu(layer(x, first)), second))
        logits = jax.nn.relu(layer(x, weights["policy"])).reshape(len(x), -1) @ weights["policy_out"]
        hidden = jax.nn.relu(jax.nn.relu(layer(x, weights["value"])).reshape(len(x), -1) @ weights["hidden"])
        return logits, jnp.tanh(hidden @ weights["value_out"])[:, 0]

    return weights, apply


def main():
    kind, batch, simulations, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    env = pgx.make("connect_four")
    step, init = jax.vmap(env.step), jax.vmap(env.init)
    weights, apply = network(jax.random.PRNGKey(0))

    def evaluate(weights, key, observation):
        if kind == "search":
            return jnp.zeros((batch, 7)), jax.random.uniform(key, (batch,), minval=-1.0, maxval=1.0)
        return apply(weights, observation)

    def recurrent(weights, key, action, state):
        mover = state.current_player
        state = step(state, action)
        logits, value = evaluate(weights, key, state.observation)
        logits = jnp.where(state.legal_action_mask, logits, jnp.finfo(logits.dtype).min)
        value = jnp.where(state.terminated, 0.0, value)
        reward = state.rewards[jnp.arange(batch), mover]
        discount = jnp.where(state.terminated, 0.0, -1.0)
        return mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value), state

    @jax.jit
    def move(weights, key, state):
        key, evaluate_key, search_key, init_key = jax.random.split(key, 4)
        logits, value = evaluate(weights, evaluate_key, state.observation)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state)
        found = mctx.gumbel_muzero_policy(
            weights, search_key, root, recurrent, simulations, invalid_actions=~state.legal_action_mask
        )
        state = step(state, found.action)
        fresh = init(jax.random.split(init_key, batch))
        over = state.terminated | state.truncated
        state = jax.tree.map(lambda a, b: jnp.where(over.reshape(-1, *[1] * (a.ndim - 1)), a, b), fresh, state)
        return key, state

    key, state = jax.random.PRNGKey(1), init(jax.random.split(jax.random.PRNGKey(2), batch))
    key, state = jax.block_until_ready(move(weights, key, state))
    began, cpu, moves = time.perf_counter(), time.process_time(), 0
    while time.process_time() - cpu < seconds or moves == 0:
        key, state = jax.block_until_ready(move(weights, key, state))
        moves += batch
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    print(json.dumps({"per_cpu_second": moves * simulations / cpu, "wall_per_cpu": wall / cpu}))


if __name__ == "__main__":
    main()
