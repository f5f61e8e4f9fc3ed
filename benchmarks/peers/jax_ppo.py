"""PPO in one compiled function of JAX: gymnax environment, rollout, advantages, epochs and minibatches; prints one JSON line.

What PureJaxRL does, in a few words of our own: nothing of an iteration leaves the compiled function, and a run is a scan over
iterations. Runs in an environment of its own (``peers_jax.txt``). Usage: jax_ppo.py '{"num_envs": 8, ...}', as
``ppo_cartpole.py`` and ``time_to_475.py`` call it; with "until" it stops once the last 100 episodes have that mean return, which
it looks at after every tenth iteration, and keeps what it compiled in the folder "cache". Like PureJaxRL it takes a time limit
for an end, which costs it nothing; ours bootstraps there.
"""

import itertools
import json
import os
import sys
import time
from functools import partial

os.environ["JAX_PLATFORMS"] = "cpu"
if os.environ.get("OMP_NUM_THREADS", "1") == "1":
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import gymnax
import jax
import jax.numpy as jnp
import optax


def layers(key, sizes, last_gain):
    """Orthogonal weights and no biases."""
    gains = [2**0.5] * (len(sizes) - 2) + [last_gain]
    keys = jax.random.split(key, len(gains))
    return [
        (jax.nn.initializers.orthogonal(gain)(k, shape), jnp.zeros(shape[1]))
        for k, gain, shape in zip(keys, gains, itertools.pairwise(sizes))
    ]


def perceptron(parameters, x):
    for weight, bias in parameters[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


def logp_of(parameters, obs, action):
    logp = jax.nn.log_softmax(perceptron(parameters["actor"], obs))
    return jnp.take_along_axis(logp, action[:, None], 1)[:, 0]


def value_of(parameters, obs):
    return perceptron(parameters["critic"], obs)[..., 0]


def make(wanted):
    """Return the start of a run, and a function that goes on for so many iterations and sums the episodes of each up."""
    env, env_params = gymnax.make("CartPole-v1")
    num_envs, horizon = wanted["num_envs"], wanted["horizon"]
    optimizer = optax.chain(
        optax.clip_by_global_norm(wanted["max_grad_norm"]), optax.adam(wanted["learning_rate"], eps=1e-5)
    )

    def start(key):
        actor, critic, reset, key = jax.random.split(key, 4)
        hidden = list(wanted["hidden"])
        parameters = {"actor": layers(actor, [4, *hidden, 2], 0.01), "critic": layers(critic, [4, *hidden, 1], 1.0)}
        obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(reset, num_envs), env_params)
        return parameters, optimizer.init(parameters), obs, state, jnp.zeros(num_envs), key

    def step(parameters, carry, _):
        obs, state, running, key = carry
        key, draw, chance = jax.random.split(key, 3)
        action = jax.random.categorical(draw, perceptron(parameters["actor"], obs))
        seen = (obs, action, logp_of(parameters, obs, action), value_of(parameters, obs))
        told = jax.vmap(env.step, (0, 0, 0, None))(jax.random.split(chance, num_envs), state, action, env_params)
        obs, state, reward, ended = told[:4]
        running = running + reward
        return (obs, state, running * (1 - ended), key), (*seen, reward, ended, running * ended)

    def advantages(value, last, reward, ended):
        def back(carry, now):
            following, after = carry
            value, reward, ended = now
            goes_on = 1 - ended
            delta = reward + wanted["gamma"] * after * goes_on - value
            following = delta + wanted["gamma"] * wanted["lam"] * goes_on * following
            return (following, value), following

        return jax.lax.scan(back, (jnp.zeros_like(last), last), (value, reward, ended), reverse=True, unroll=16)[1]

    def loss(parameters, obs, action, logp_old, advantage, target):
        ratio = jnp.exp(logp_of(parameters, obs, action) - logp_old)
        white = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - wanted["clip"], 1 + wanted["clip"])
        error = value_of(parameters, obs) - target
        return 0.5 * (error**2).mean() - jnp.minimum(ratio * white, clipped * white).mean()

    def minibatch(carry, samples):
        parameters, moments = carry
        updates, moments = optimizer.update(jax.grad(loss)(parameters, *samples), moments)
        return (optax.apply_updates(parameters, updates), moments), None

    def epoch(samples, carry, key):
        order = jax.random.permutation(key, num_envs * horizon).reshape(wanted["minibatches"], -1)
        return jax.lax.scan(minibatch, carry, [x[order] for x in samples])

    def iteration(carry, _):
        parameters, moments, obs, state, running, key = carry
        (obs, state, running, key), rows = jax.lax.scan(
            partial(step, parameters), (obs, state, running, key), None, horizon
        )
        seen, action, logp, value, reward, ended, returns = rows
        advantage = advantages(value, value_of(parameters, obs), reward, ended)
        samples = [x.reshape(-1, *x.shape[2:]) for x in (seen, action, logp, advantage, advantage + value)]
        key, shuffle = jax.random.split(key)
        keys = jax.random.split(shuffle, wanted["epochs"])
        (parameters, moments), _ = jax.lax.scan(partial(epoch, samples), (parameters, moments), keys)
        return (parameters, moments, obs, state, running, key), (returns.sum(), ended.sum())

    return jax.jit(start), lambda count: jax.jit(lambda carry: jax.lax.scan(iteration, carry, None, count))


def mean_of_last(sums, counts, episodes=100):
    """Return the mean return of the last episodes, whole iterations at a time; 0 before there are so many."""
    total = count = 0.0
    for add, number in zip(reversed(sums), reversed(counts)):
        total, count = total + add, count + number
        if count >= episodes:
            return total / count
    return 0.0


def main():
    wanted = json.loads(sys.argv[1])
    if "cache" in wanted:
        jax.config.update("jax_compilation_cache_dir", wanted["cache"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    start, go_on = make(wanted)
    per_iteration = wanted["num_envs"] * wanted["horizon"]
    iterations = max(40, wanted["total_steps"] // per_iteration)
    part = 10 if "until" in wanted else iterations
    carry = start(jax.random.PRNGKey(wanted["seed"]))
    code = go_on(part).lower(carry).compile()
    cpu, wall = time.process_time(), time.perf_counter()
    sums, counts, done = [], [], 0
    while done < iterations and mean_of_last(sums, counts) < wanted.get("until", float("inf")):
        carry, (add, number) = jax.block_until_ready(code(carry))
        sums, counts, done = sums + add.tolist(), counts + number.tolist(), done + part
    print(
        json.dumps(
            {
                "version": "",
                "on": f"jax {jax.__version__}",
                "steps": done * per_iteration,
                "cpu_seconds": time.process_time() - cpu,
                "wall_seconds": time.perf_counter() - wall,
                "last_returns": mean_of_last(sums, counts),
            }
        )
    )


if __name__ == "__main__":
    main()
