"""Write down what Tianshou computes for C51 and prioritised replay, for tests/maths/test_peers_tianshou.py.

Usage: make_tianshou_fixtures.py [FOLDER], by default tests/fixtures/tianshou; in an environment made by peers_tianshou.txt.

Nothing is restated here: the algorithm takes one step on a minibatch, and its targets, its loss and the gradients that flow back
into the network's outputs are noted. M transitions, A actions, K atoms.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import gymnasium
import numpy as np
import torch
from tianshou.algorithm.modelfree.c51 import C51, C51Policy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, PrioritizedReplayBuffer, ReplayBuffer

FOLDER = Path(__file__).parents[2] / "tests" / "fixtures" / "tianshou"
GAMMA, STEPS, ACTIONS, ATOMS = 0.9, 24, 2, 5


class Net(torch.nn.Module):
    """Probabilities of each action's return; notes its logits."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, ACTIONS * ATOMS)
        self.seen = []

    def __deepcopy__(self, memo):
        copy = Net()
        copy.load_state_dict(self.state_dict())
        return copy

    def forward(self, obs, state=None, info=None):
        logits = self.layer(torch.as_tensor(obs)).reshape(-1, ACTIONS, ATOMS)
        if logits.requires_grad:
            logits.retain_grad()
        self.seen.append(logits)
        return logits.softmax(-1), state


def transitions(rng):
    """Steps in a row: some end an episode, some are cut off."""
    obs = rng.normal(size=(STEPS + 1, 3)).astype(np.float32)
    for t in range(STEPS):
        terminated, truncated = t % 6 == 4, t % 9 == 7
        yield Batch(
            obs=obs[t],
            act=int(rng.integers(ACTIONS)),
            rew=float(np.float32(2.0 * rng.normal())),
            terminated=terminated,
            truncated=truncated,
            obs_next=obs[t + 1],
            info={},
        )


def categorical():
    """Targets, losses and gradients of C51, the target network apart from the online one.

    One step: with more, this version takes the distribution after the first step and the discount and rewards of all.
    """
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net.layer.weight.mul_(3.0)
    policy = C51Policy(
        model=net, action_space=gymnasium.spaces.Discrete(ACTIONS), num_atoms=ATOMS, v_min=-3.0, v_max=3.0
    )
    algorithm = C51(
        policy=policy,
        optim=AdamOptimizerFactory(lr=0.0),
        gamma=GAMMA,
        target_update_freq=100,
    )
    algorithm._iter, slow = 1, algorithm.model_old.module  # not the turn of a copy
    with torch.no_grad():
        slow.layer.weight.add_(0.5 * torch.randn(ACTIONS * ATOMS, 3))
    buffer = ReplayBuffer(STEPS)
    for step in transitions(np.random.default_rng(1)):
        buffer.add(step)
    index = np.arange(STEPS)
    batch = algorithm._preprocess_batch(buffer[index], buffer, index)
    batch.weight = torch.linspace(0.2, 1.0, STEPS)
    weight, noted = batch.weight.clone(), []
    real = algorithm._target_dist
    algorithm._target_dist = lambda given: noted.append(real(given)) or noted[0]
    net.seen.clear()
    slow.seen.clear()
    loss = algorithm._update_with_batch(batch).loss
    online_next, logits = net.seen
    (slow_next,) = slow.seen
    return {
        "gamma": GAMMA,
        "support": policy.support,
        "action": buffer.act,
        "reward": buffer.rew,
        "terminated": buffer.terminated,
        "online_next": online_next,
        "slow_next": slow_next,
        "logits": logits,
        "logits_grad": logits.grad,
        "weight": weight,
        "target": noted[0],
        "each": batch.weight,
        "loss": loss,
    }


def prioritised():
    """Priorities, corrections, and which steps points of the cumulative priority fall on."""
    rng = np.random.default_rng(2)
    alpha, beta = 0.6, 0.4
    buffer = PrioritizedReplayBuffer(STEPS, alpha, beta)
    steps = list(transitions(rng))
    for step in steps[:20]:
        buffer.add(step)
    index, error = np.array([0, 3, 7, 11, 12, 19]), np.abs(rng.normal(size=6)) * 2.0
    buffer.update_weight(index, error)
    for step in steps[20:22]:  # new ones, as likely as the likeliest so far
        buffer.add(step)
    count = len(buffer)
    point = np.sort(rng.random(16))
    drawn = buffer.weight.get_prefix_sum_idx(point * buffer.weight.reduce())
    return {
        "priority_power": alpha,
        "weight_power": beta,
        "count": count,
        "index": index,
        "error": error,
        "priority": buffer.weight[np.arange(count)],
        "point": point,
        "drawn": drawn,
        "weight": buffer[drawn].weight,
    }


def plain(value):
    """Return something that JSON can hold; float32 numbers exactly."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def main():
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    made_with = {name: version(name) for name in ("tianshou", "torch", "numpy")}
    made = {"c51": categorical(), "prioritised": prioritised()}
    for name, facts in made.items():
        text = json.dumps({"made_with": made_with} | plain(facts))
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
