"""Write down what the peers' own code computes, for tests/maths/test_peers.py; runs in the peers' environment.

Usage: make_fixtures.py [FOLDER], by default tests/fixtures/peers. Needs stable-baselines3 and sb3-contrib as in peers.txt.

Nothing is restated here. Each algorithm trains for a moment on a small task of random numbers; then its ``train`` is called once
more while its networks' outputs, the arguments of its loss function, its logged losses and the gradients that flow back into
those outputs are noted. M drawn transitions or samples, T time, B environments.
"""

import json
import platform
import sys
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import gymnasium
import numpy as np
import sb3_contrib.qrdqn.qrdqn
import sb3_contrib.tqc.tqc
import torch
from sb3_contrib import QRDQN, TQC, MaskablePPO, RecurrentPPO
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize

FOLDER = Path(__file__).parents[2] / "tests" / "fixtures" / "peers"
PACKAGES = ("stable-baselines3", "sb3-contrib", "torch", "numpy", "gymnasium")
GAMMA, LAM = 0.9, 0.8


class Noise(gymnasium.Env):
    """Random observations and rewards; each step is the last one with a chance of 20 percent."""

    def __init__(self, action_space):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._obs(), {}

    def _obs(self):
        return self.np_random.normal(size=3).astype(np.float32)

    def step(self, action):
        return self._obs(), float(self.np_random.normal()), bool(self.np_random.random() < 0.2), False, {}

    def masks(self):
        return self.np_random.random(3) < [0.6, 0.6, 2.0]


def discrete():
    return gymnasium.spaces.Discrete(3)


def box():
    return gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


def make_env(action_space, num_envs=2, mask=False, limit=6):
    """Return environments that are cut off after ``limit`` steps."""

    def one():
        env = gymnasium.wrappers.TimeLimit(Noise(action_space), limit)
        return ActionMasker(env, lambda wrapped: wrapped.unwrapped.masks()) if mask else env

    envs = DummyVecEnv([one] * num_envs)
    envs.seed(1)
    return envs


class Witness(VecEnvWrapper):
    """Notes what the environments said, before the algorithm touches it."""

    def __init__(self, venv):
        super().__init__(venv)
        self.seen = []

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        obs, reward, over, infos = self.venv.step_wait()
        self.seen.append((reward.copy(), over.copy(), infos))
        return obs, reward, over, infos


@contextmanager
def noting(place, name, kept):
    """Let ``place.name`` also append its arguments and its result to ``kept``; tensors in them keep their gradients."""
    real = getattr(place, name)

    def call(*args, **kwargs):
        # The loss functions write nothing in place, so what is kept is what they saw.
        result = real(*args, **kwargs)
        for tensor in [*args, *(result if isinstance(result, tuple) else (result,))]:
            keep_grad(tensor)
        kept.append((args, result))
        return result

    setattr(place, name, call)
    try:
        yield kept
    finally:
        if isinstance(place, torch.nn.Module):
            delattr(place, name)
        else:
            setattr(place, name, real)


@contextmanager
def outputs(module, kept):
    """Keep every output of a module, with its gradient."""

    def hook(_, inputs, output):
        for tensor in output if isinstance(output, tuple) else (output,):
            keep_grad(tensor)
        kept.append((inputs, output))

    handle = module.register_forward_hook(hook)
    try:
        yield kept
    finally:
        handle.remove()


def keep_grad(tensor):
    if isinstance(tensor, torch.Tensor) and tensor.requires_grad and not tensor.is_leaf:
        tensor.retain_grad()


def plain(value):
    """Return something that JSON can hold; float32 numbers exactly."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray | np.generic):
        value = value.astype(np.float64).round(12).tolist() if value.dtype == np.float64 else value.tolist()
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def quiet(model):
    model.set_logger(configure(None, []))
    return model


def logged(model, *names):
    values = model.logger.name_to_value
    return {name: values[f"train/{name}"] for name in names}


def on_policy(kind, action_space, **options):
    """Make an actor-critic with one rollout in its buffer; return it and what the environments said."""
    envs = Witness(make_env(action_space, mask=kind is MaskablePPO))
    size = {"n_epochs": 1, "batch_size": 24} if kind is not A2C else {}
    model = quiet(
        kind(
            "MlpPolicy",
            envs,
            n_steps=12,
            gamma=GAMMA,
            gae_lambda=LAM,
            policy_kwargs={"net_arch": [4]},
            seed=0,
            device="cpu",
            **size,
            **options,
        )
    )
    _, callback = model._setup_learn(24)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return model, envs.seen


def advantages():
    """GAE and lambda-returns of a rollout with ends of both kinds, as ``collect_rollouts`` makes them."""
    model, seen = on_policy(PPO, discrete())
    buffer = model.rollout_buffer
    cut = np.array([[info.get("TimeLimit.truncated", False) for info in infos] for *_, infos in seen])
    over = np.stack([over for _, over, _ in seen])
    final_value = np.zeros(cut.shape, np.float32)
    with torch.no_grad():
        for t, b in zip(*np.nonzero(cut)):
            final = obs_as_tensor(seen[t][2][b]["terminal_observation"][None], "cpu")
            final_value[t, b] = model.policy.predict_values(final).item()
        last_value = model.policy.predict_values(obs_as_tensor(model._last_obs, "cpu")).flatten()
    assert cut.any()
    assert (over & ~cut).any()
    assert not over[-1].all()
    return {
        "gamma": GAMMA,
        "lam": LAM,
        "reward": np.stack([reward for reward, *_ in seen]),
        "terminated": over & ~cut,
        "truncated": cut,
        "value": buffer.values,
        "final_value": final_value,
        "last_value": last_value,
        "advantage": buffer.advantages,
        "returns": buffer.returns,
    }


def policy_gradient(kind, action_space, names, **options):
    """One ``train`` of an actor-critic on its buffer, with old log-probabilities and values moved so that both clips bite."""
    model, _ = on_policy(kind, action_space, **options)
    buffer, rng = model.rollout_buffer, np.random.default_rng(0)
    if kind is not A2C:
        buffer.log_probs += rng.normal(0, 0.3, buffer.log_probs.shape).astype(np.float32)
        buffer.values += rng.normal(0, 0.3, buffer.values.shape).astype(np.float32)
    batches, evaluated, heads, norms = [], [], [], []
    log_std = model.policy.log_std.detach().clone() if hasattr(model.policy, "log_std") else None
    real = buffer.get

    def get(batch_size=None):
        for batch in real(batch_size):
            batches.append(batch)
            yield batch

    buffer.get = get

    def before_clipping(parameters, limit):
        parameters = list(parameters)
        norms.append({"grad": torch.cat([p.grad.flatten() for p in parameters])})
        if hasattr(model.policy, "log_std"):
            norms[-1]["log_std_grad"] = model.policy.log_std.grad.clone()
        norms[-1]["before"] = torch.cat([p.detach().flatten() for p in parameters])
        norms[-1]["norm"] = clip(parameters, limit)
        return norms[-1]["norm"]

    clip, torch.nn.utils.clip_grad_norm_ = torch.nn.utils.clip_grad_norm_, before_clipping
    try:
        with outputs(model.policy.action_net, heads), outputs(model.policy.value_net, evaluated):
            model.train()
    finally:
        torch.nn.utils.clip_grad_norm_ = clip
    (batch,), ((_, head),), ((_, value),), (norm,) = batches, heads, evaluated, norms
    result = {
        "gamma": GAMMA,
        "clip": None if kind is A2C else model.clip_range(1.0),
        "value_clip": None if kind is A2C or model.clip_range_vf is None else model.clip_range_vf(1.0),
        "value_coef": model.vf_coef,
        "entropy_coef": model.ent_coef,
        "normalize_advantage": model.normalize_advantage,
        "action": batch.actions,
        "head": head,
        "head_grad": head.grad,
        "log_std": log_std,
        "log_std_grad": norm.pop("log_std_grad", None),
        "mask": batch.action_masks if hasattr(batch, "action_masks") else None,
        "value": value.flatten(),
        "value_grad": value.grad.flatten(),
        "value_old": batch.old_values,
        "logp_old": batch.old_log_prob,
        "advantage": batch.advantages,
        "returns": batch.returns,
        "logged": logged(model, *names),
    }
    if kind is PPO and options.get("clip_range_vf") is None:
        step = {**norm, "limit": model.max_grad_norm, "learning_rate": model.learning_rate, "eps": 1e-5}
        step["after"] = torch.cat([p.detach().flatten() for p in model.policy.parameters()])
        result["adam"] = step
    return result


def recurrent():
    """One ``train`` of PPO with an LSTM before policy and value, on a rollout that starts within episodes and ends some."""
    envs = make_env(discrete())
    shape = {"net_arch": [], "lstm_hidden_size": 4, "shared_lstm": True, "enable_critic_lstm": False}
    size = {"n_steps": 12, "n_epochs": 1, "batch_size": 24, "gamma": GAMMA, "gae_lambda": LAM}
    fixed = {"seed": 0, "device": "cpu", "ent_coef": 0.01, "max_grad_norm": 1e9}
    model = quiet(RecurrentPPO("MlpLstmPolicy", envs, policy_kwargs=shape, **fixed, **size))
    buffer, policy = model.rollout_buffer, model.policy
    with torch.no_grad():  # as they are made, weights are so small that the past hardly matters
        for parameter in policy.lstm_actor.parameters():
            parameter.mul_(2.0)
        policy.action_net.weight.mul_(100.0)
    _, callback = model._setup_learn(48)
    for _ in range(2):  # the second rollout goes on with the episodes of the first
        model.collect_rollouts(model.env, callback, buffer, model.n_steps)
    starts, rng = buffer.episode_starts.copy(), np.random.default_rng(0)
    assert not starts[0].all()
    assert starts[1:].any()
    buffer.log_probs += rng.normal(0, 0.3, buffer.log_probs.shape).astype(np.float32)
    columns = {
        "obs": buffer.observations,
        "action": buffer.actions,
        "episode_start": starts.astype(bool),
        "state": np.concatenate([buffer.hidden_states_pi[0, 0], buffer.cell_states_pi[0, 0]], -1),
        "logp_old": buffer.log_probs,
        "advantage": buffer.advantages,
        "returns": buffer.returns,
    }
    columns = {name: column.copy() for name, column in columns.items()}
    modules = {"lstm": policy.lstm_actor, "policy": policy.action_net, "value": policy.value_net}
    weights = {
        f"{place}_{name}": parameter.detach().clone()
        for place, module in modules.items()
        for name, parameter in module.named_parameters()
    }
    draw, np.random.randint = np.random.randint, lambda size: 0  # where a minibatch begins would cut a sequence in two
    try:
        model.train()
    finally:
        np.random.randint = draw
    grads = {
        f"{place}_{name}_grad": parameter.grad
        for place, module in modules.items()
        for name, parameter in module.named_parameters()
    }
    return {
        "clip": model.clip_range(1.0),
        "value_coef": model.vf_coef,
        "entropy_coef": model.ent_coef,
        **columns,
        **weights,
        **grads,
        "logged": logged(model, *PPO_NAMES),
    }


def off_policy(kind, action_space, **options):
    """Make an algorithm with replay, in the middle of a short training."""
    policy = {"net_arch": [4]} | options.pop("policy_kwargs", {})
    model = quiet(
        kind(
            "MlpPolicy",
            make_env(action_space),
            gamma=GAMMA,
            learning_starts=8,
            buffer_size=100,
            train_freq=4,
            policy_kwargs=policy,
            learning_rate=0.03,
            seed=0,
            device="cpu",
            **options,
        )
    )
    model.learn(64)
    return quiet(model)


@contextmanager
def batches_of(model, kept):
    """Keep what the replay buffer gives."""
    real = model.replay_buffer.sample

    def sample(*args, **kwargs):
        kept.append(real(*args, **kwargs))
        return kept[-1]

    model.replay_buffer.sample = sample
    try:
        yield kept
    finally:
        model.replay_buffer.sample = real


def dqn():
    """Target and Huber loss of DQN."""
    model = off_policy(DQN, discrete(), target_update_interval=20)
    batches, online, target, losses = [], [], [], []
    model.max_grad_norm = 1e9
    model.replay_buffer.rewards *= 3.0  # so that some errors are beyond 1
    with batches_of(model, batches), outputs(model.q_net, online), outputs(model.q_net_target, target):
        with noting(torch.nn.functional, "smooth_l1_loss", losses):
            model.train(1, batch_size=16)
    (batch,), ((_, q),), ((_, next_q),), (((_, targets), _),) = batches, online, target, losses
    assert batch.dones.any()
    return {
        "gamma": GAMMA,
        "reward": batch.rewards.flatten(),
        "terminated": batch.dones.flatten().bool(),
        "action": batch.actions.flatten(),
        "q": q,
        "q_grad": q.grad,
        "next_q": next_q,
        "target": targets.flatten(),
        "loss": logged(model, "loss")["loss"],
    }


def qrdqn():
    """Target and quantile Huber loss of QR-DQN."""
    model = off_policy(QRDQN, discrete(), target_update_interval=20, policy_kwargs={"n_quantiles": 5})
    batches, online, target, losses = [], [], [], []
    model.max_grad_norm = None
    model.replay_buffer.rewards *= 3.0
    with batches_of(model, batches), outputs(model.quantile_net, online), outputs(model.quantile_net_target, target):
        with noting(sb3_contrib.qrdqn.qrdqn, "quantile_huber_loss", losses):
            model.train(1, batch_size=12)
    (batch,), ((_, quantiles),), ((_, next_quantiles),), (((_, targets), _),) = batches, online, target, losses
    assert batch.dones.any()
    return {
        "gamma": GAMMA,
        "reward": batch.rewards.flatten(),
        "terminated": batch.dones.flatten().bool(),
        "action": batch.actions.flatten(),
        "quantiles": quantiles,  # [M, K, A]
        "quantiles_grad": quantiles.grad,
        "next_quantiles": next_quantiles,
        "target": targets,
        "loss": logged(model, "loss")["loss"],
    }


def soft(kind):
    """Target, losses and temperature of SAC and TQC."""
    options = {"policy_kwargs": {"n_quantiles": 5}, "top_quantiles_to_drop_per_net": 2} if kind is TQC else {}
    model = off_policy(kind, box(), ent_coef="auto_0.3", **options)
    model.replay_buffer.rewards *= 3.0
    log_temperature = model.log_ent_coef.detach().clone()
    batches, sampled, drawn, critics, targets, losses = [], [], [], [], [], []
    place, name = (torch.nn.functional, "mse_loss") if kind is SAC else (sb3_contrib.tqc.tqc, "quantile_huber_loss")
    real = model.actor.action_dist.log_prob_from_params

    def draw(mean, log_std):
        keep_grad(mean)
        keep_grad(log_std)
        result = real(mean, log_std)
        drawn.append((mean, log_std, model.actor.action_dist.gaussian_actions))
        return result

    model.actor.action_dist.log_prob_from_params = draw
    with batches_of(model, batches), noting(model.actor, "action_log_prob", sampled):
        with outputs(model.critic, critics), outputs(model.critic_target, targets), noting(place, name, losses):
            model.train(1, batch_size=12)
    (batch,), ((_, next_q),) = batches, targets
    (_, (action, logp)), (_, (_, next_logp)) = sampled
    (_, q), (_, q_of_policy) = critics
    stacked = torch.stack([x.squeeze(-1) for x in q], 1) if kind is SAC else q  # [M, C] or [M, C, K]
    grads = torch.stack([x.grad.squeeze(-1) for x in q], 1) if kind is SAC else q.grad
    assert batch.dones.any()
    return {
        "gamma": GAMMA,
        "reward": batch.rewards.flatten(),
        "terminated": batch.dones.flatten().bool(),
        "mean": drawn[0][0],
        "log_std": drawn[0][1],
        "raw": drawn[0][2],
        "action": action,
        "logp": logp.flatten(),
        "logp_grad": logp.grad.flatten(),
        "next_logp": next_logp.flatten(),
        "q": stacked,
        "q_grad": grads,
        "next_q": torch.stack([x.squeeze(-1) for x in next_q], 1) if kind is SAC else next_q,
        "q_of_policy": torch.stack([x.squeeze(-1) for x in q_of_policy], 1) if kind is SAC else q_of_policy,
        "target": losses[0][0][1].reshape(12, -1),
        "drop": 2 if kind is TQC else 0,  # per critic
        "log_temperature": log_temperature,
        "log_temperature_grad": model.log_ent_coef.grad,
        "target_entropy": model.target_entropy,
        "logged": logged(model, "critic_loss", "actor_loss", "ent_coef_loss", "ent_coef"),
    }


def td3():
    """Smoothed next actions, target and losses of TD3."""
    model = off_policy(TD3, box(), target_policy_noise=0.4, target_noise_clip=0.5)
    model._n_updates += model._n_updates % model.policy_delay + 1  # so that the actor has its turn
    batches, proposed, critics, targets, losses, actors = [], [], [], [], [], []
    torch.manual_seed(7)
    noise = torch.empty(12, 2).normal_(0, model.target_policy_noise)
    torch.manual_seed(7)  # the replay buffer draws from numpy, so the noise is the first that torch is asked for
    with batches_of(model, batches), outputs(model.actor_target, proposed), outputs(model.critic, critics):
        with outputs(model.critic_target, targets), noting(torch.nn.functional, "mse_loss", losses):
            with noting(model.critic, "q1_forward", actors):
                model.train(1, batch_size=12)
    (batch,), ((_, next_action),), ((_, q),), ((inputs, next_q),) = batches, proposed, critics, targets
    smoothed = inputs[1]
    limit = model.target_noise_clip
    assert torch.equal(smoothed, (next_action + noise.clamp(-limit, limit)).clamp(-1, 1))  # it is that noise
    assert batch.dones.any()
    assert (noise.abs() > limit).any()
    ((_, q_of_policy),) = actors
    return {
        "gamma": GAMMA,
        "reward": batch.rewards.flatten(),
        "terminated": batch.dones.flatten().bool(),
        "noise": noise,
        "noise_limit": limit,
        "next_action": next_action,
        "smoothed": smoothed,
        "q": torch.cat(q, 1),
        "q_grad": torch.cat([x.grad for x in q], 1),
        "next_q": torch.cat(next_q, 1),
        "target": losses[0][0][1].flatten(),
        "q_of_policy": q_of_policy.flatten(),
        "q_of_policy_grad": q_of_policy.grad.flatten(),
        "logged": logged(model, "critic_loss", "actor_loss"),
    }


def n_step():
    """Windows of three steps from a replay buffer that has wrapped around."""
    size, steps = 12, 17
    space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    buffer = NStepReplayBuffer(size, space, discrete(), n_envs=1, n_steps=3, gamma=GAMMA)
    rng = np.random.default_rng(3)
    columns = {"obs": [], "action": [], "reward": [], "next_obs": [], "terminated": [], "truncated": []}
    for t in range(steps):
        terminated, truncated = t in (7, 12), t in (9,)
        row = {"obs": float(t), "action": int(rng.integers(3)), "reward": np.float32(rng.normal()), "next_obs": t + 0.5}
        row["next_obs"] = t + 0.5 if terminated or truncated else t + 1.0
        row |= {"terminated": terminated, "truncated": truncated}
        for name, value in row.items():
            columns[name].append(value)
        buffer.add(
            np.array([[row["obs"]]], np.float32),
            np.array([[row["next_obs"]]], np.float32),
            np.array([row["action"]]),
            np.array([row["reward"]], np.float32),
            np.array([terminated or truncated]),
            [{"TimeLimit.truncated": truncated}],
        )
    drawn = buffer._get_samples(np.arange(size))
    return {
        "gamma": GAMMA,
        "n_step": 3,
        "capacity": size,
        **columns,
        "drawn_obs": drawn.observations.flatten(),
        "drawn_reward": drawn.rewards.flatten(),
        "drawn_next_obs": drawn.next_observations.flatten(),
        "drawn_terminated": drawn.dones.flatten().bool(),
        "drawn_discount": drawn.discounts.flatten(),
    }


def normalisation():
    """Running statistics of observations, and rewards divided by the spread of the return."""
    envs = VecNormalize(make_env(discrete()), gamma=GAMMA)
    # Their statistics start from 1/10000 of an imagined sample; without it they are those of the data.
    envs.obs_rms, envs.ret_rms = RunningMeanStd(epsilon=0.0, shape=(3,)), RunningMeanStd(epsilon=0.0)
    reward, ended, seen = [], [], []
    envs.reset()
    seen.append(envs.get_original_obs().copy())
    for _ in range(12):
        _, _, over, _ = envs.step(np.zeros(2, int))
        seen.append(envs.get_original_obs().copy())
        reward.append(envs.get_original_reward().copy())
        ended.append(over.copy())
    probe = np.array([[0.0, 1.0, -2.0], [50.0, -0.5, 0.1]], np.float32)
    return {
        "gamma": GAMMA,
        "obs": np.stack(seen),
        "mean": envs.obs_rms.mean,
        "var": envs.obs_rms.var,
        "probe": probe,
        "probe_normalised": envs.normalize_obs(probe),
        "reward": np.stack(reward),
        "ended": np.stack(ended),
        "return_var": envs.ret_rms.var,
        "running": envs.returns,
        "reward_scaled": np.stack([envs.normalize_reward(row) for row in reward]),
    }


PPO_NAMES = ("policy_gradient_loss", "value_loss", "entropy_loss", "loss", "approx_kl", "clip_fraction")
A2C_NAMES = ("policy_loss", "value_loss", "entropy_loss")
FIXTURES = {
    "gae": advantages,
    "ppo_discrete": lambda: policy_gradient(PPO, discrete(), PPO_NAMES, ent_coef=0.01, max_grad_norm=0.3),
    "ppo_box_value_clip": lambda: policy_gradient(PPO, box(), PPO_NAMES, ent_coef=0.01, clip_range_vf=0.2),
    "ppo_recurrent": recurrent,
    "ppo_masked": lambda: policy_gradient(MaskablePPO, discrete(), PPO_NAMES, ent_coef=0.01),
    "a2c": lambda: policy_gradient(A2C, discrete(), A2C_NAMES, ent_coef=0.01, normalize_advantage=True),
    "dqn": dqn,
    "qrdqn": qrdqn,
    "sac": lambda: soft(SAC),
    "tqc": lambda: soft(TQC),
    "td3": td3,
    "n_step_replay": n_step,
    "normalisation": normalisation,
}


def main():
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    made_with = {name: metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}
    for name, make in FIXTURES.items():
        text = json.dumps({"made_with": made_with} | plain(make()))
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: {len(text):,} bytes")
    print(made_with)


if __name__ == "__main__":
    main()
