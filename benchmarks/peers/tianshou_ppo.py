"""Time PPO of Tianshou; prints one JSON line.

Runs in an environment of its own (``peers_tianshou.txt``) and knows nothing of ours. Usage:
tianshou_ppo.py '{"num_envs": 8, ...}', as ``ppo_cartpole.py`` calls it. The first iteration is warm-up; nothing is tested during
training.
"""

import json
import os
import sys
import time

import gymnasium
import tianshou
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic


def main():
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(wanted["seed"])
    env, hidden = gymnasium.make("CartPole-v1"), tuple(wanted["hidden"])
    envs = DummyVectorEnv([lambda: gymnasium.make("CartPole-v1") for _ in range(wanted["num_envs"])])
    envs.seed(wanted["seed"])
    trunks = [
        Net(state_shape=env.observation_space.shape, hidden_sizes=hidden, activation=torch.nn.Tanh) for _ in range(2)
    ]
    actor = DiscreteActor(preprocess_net=trunks[0], action_shape=env.action_space.n)
    algorithm = PPO(
        policy=DiscreteActorPolicy(actor=actor, dist_fn=torch.distributions.Categorical, action_space=env.action_space),
        critic=DiscreteCritic(preprocess_net=trunks[1]),
        optim=AdamOptimizerFactory(lr=wanted["learning_rate"], eps=1e-5),
        gamma=wanted["gamma"],
        gae_lambda=wanted["lam"],
        max_grad_norm=wanted["max_grad_norm"],
        eps_clip=wanted["clip"],
        vf_coef=0.5,  # of the squared error
        ent_coef=0.0,
        advantage_normalization=True,
        max_batchsize=4096,
    )
    per_iteration = wanted["num_envs"] * wanted["horizon"]
    collector = Collector[CollectStats](algorithm, envs, VectorReplayBuffer(per_iteration, wanted["num_envs"]))

    def run(steps):
        return algorithm.run_training(
            OnPolicyTrainerParams(
                training_collector=collector,
                test_collector=None,
                max_epochs=1,
                epoch_num_steps=steps,
                update_step_num_repetitions=wanted["epochs"],
                batch_size=per_iteration // wanted["minibatches"],
                collection_step_num_env_steps=per_iteration,
                verbose=False,
                show_progress=False,
            )
        )

    run(per_iteration)
    steps = max(per_iteration, wanted["total_steps"] - per_iteration)
    cpu, wall = time.process_time(), time.perf_counter()
    run(steps)
    print(
        json.dumps(
            {
                "version": tianshou.__version__,
                "on": f"torch {torch.__version__}",
                "steps": steps,
                "cpu_seconds": time.process_time() - cpu,
                "wall_seconds": time.perf_counter() - wall,
                "last_returns": None,
            }
        )
    )


if __name__ == "__main__":
    main()
