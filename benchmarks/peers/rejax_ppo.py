"""Time PPO of rejax, which compiles environment (gymnax) and training into one function; prints one JSON line.

Runs in an environment of its own (``peers_jax.txt``) and knows nothing of ours. Usage: rejax_ppo.py '{"num_envs": 8, ...}', as
``ppo_cartpole.py`` calls it. Compilation is not counted; periodic evaluation is switched off.
"""

import importlib.metadata
import json
import os
import sys
import time

os.environ["JAX_PLATFORMS"] = "cpu"
if os.environ.get("OMP_NUM_THREADS", "1") == "1":
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import jax
import rejax


def main():
    wanted = json.loads(sys.argv[1])
    per_iteration = wanted["num_envs"] * wanted["horizon"]
    total = max(40, wanted["total_steps"] // per_iteration) * per_iteration
    algorithm = rejax.PPO.create(
        env=wanted.get("env", "CartPole-v1"),
        agent_kwargs={"hidden_layer_sizes": tuple(wanted["hidden"]), "activation": "tanh"},
        num_envs=wanted["num_envs"],
        num_steps=wanted["horizon"],
        num_epochs=wanted["epochs"],
        num_minibatches=wanted["minibatches"],
        learning_rate=wanted["learning_rate"],
        gamma=wanted["gamma"],
        gae_lambda=wanted["lam"],
        clip_eps=wanted["clip"],
        max_grad_norm=wanted["max_grad_norm"],
        ent_coef=0.0,
        vf_coef=1.0,  # of half the squared error
        total_timesteps=total,
        eval_freq=total,
        skip_initial_evaluation=True,
    )
    algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
    key = jax.random.PRNGKey(wanted["seed"])
    train = jax.jit(algorithm.train).lower(key).compile()
    cpu, wall = time.process_time(), time.perf_counter()
    jax.block_until_ready(train(key))
    print(
        json.dumps(
            {
                "version": importlib.metadata.version("rejax"),
                "on": f"jax {jax.__version__}",
                "steps": total,
                "cpu_seconds": time.process_time() - cpu,
                "wall_seconds": time.perf_counter() - wall,
                "last_returns": None,  # it does not say
            }
        )
    )


if __name__ == "__main__":
    main()
