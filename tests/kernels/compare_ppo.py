"""How the compiled parts of PPO compare with what they restate: values and gradients to 1e-5 on random inputs."""

import numpy as np
import torch
from gymnasium import spaces

from cumulant.algos import a2c
from cumulant.algos.ppo import Config, minibatch_loss
from cumulant.envs.counter_rng import mix, normal, uniform
from cumulant.kernels import perceptron, policy_gradient, ppo
from cumulant.kernels.elementary import F32
from cumulant.kernels.perceptron import BLOCK, RELU, TANH
from cumulant.kernels.products import LANES
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import Flat, FlatAdam

WEYL = 0x9E3779B97F4A7C15
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SHAPES = [(4, (64, 64), 2), (3, (7, 5), 1), (17, (32,), 6), (1, (4, 9, 12), 3)]
HEADS = {
    "discrete": (spaces.Discrete(3), spaces.Box(-1, 1, (5,))),
    "binary, relu": (spaces.Discrete(2), spaces.Box(-1, 1, (4,))),
    "masked": (
        spaces.Discrete(4),
        spaces.Dict(observation=spaces.Box(-1, 1, (6,)), action_mask=spaces.MultiBinary(4)),
    ),
    "continuous": (spaces.Box(-2, 2, (3,)), spaces.Box(-1, 1, (8,))),
}
LOSSES = [{}, {"value_clip": 0.1, "clip": 0.1}, {"value_coef": 1.5, "entropy_coef": 0.05}]


def rng(seed):
    return np.random.default_rng(seed)


def floats(generator, *shape):
    return generator.standard_normal(shape).astype(np.float32)


def compare_rows(kernel, original, numbers, **close):
    """A function of single numbers, whatever the length of the row."""
    for count in (1, 15, 16, len(numbers)):
        row = np.array(numbers[:count], np.float32)
        kernel(row)
        np.testing.assert_allclose(row, original(torch.from_numpy(numbers[:count])).numpy(), **close)


def compare_tanh(kernel, original):
    x = np.concatenate([[1e-30, -0.0, np.inf, -np.inf, np.nan], np.linspace(-20, 20, 4001)]).astype(np.float32)
    compare_rows(kernel, original, x, rtol=1e-6, atol=1e-7)


def compare_exp(kernel, original):
    x = np.concatenate([[0.0, 1e-9, np.inf, -np.inf, np.nan, 88.7, 88.8, 1e9, -1e9], np.linspace(-87.3, 88.7, 9001)])
    compare_rows(kernel, original, x.astype(np.float32), rtol=3e-7, atol=1e-37)


def compare_log(kernel, original):
    x = np.concatenate([[1.0, 0.999, 1.2e-38, 3.4e38], np.geomspace(1e-30, 1e30, 4001), np.linspace(0.5, 2.0, 4001)])
    compare_rows(kernel, original, x.astype(np.float32), rtol=3e-7, atol=1e-8)


def layers_and_vector(make, shape, kind):
    """A perceptron of torch behind three other parameters in one vector, and its sizes."""
    num_in, hidden, num_out = shape
    layers = make(num_in, hidden, num_out, "tanh" if kind == TANH else "relu", 1.0, torch.Generator().manual_seed(1))
    for layer in layers[::2]:
        torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(2))
    holder = torch.nn.ModuleList([torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(3))]), layers])
    flat = Flat(holder)
    return layers, flat, np.array([num_in, *hidden, num_out])


def compare_forward(kernel, original):
    for shape in SHAPES:
        for kind, m in [(RELU, 128), (TANH, 5)]:
            layers, flat, sizes = layers_and_vector(original, shape, kind)
            x = floats(rng(3), m, shape[0])
            for block in (perceptron.block_of(sizes.sum(), m), perceptron.block_of(sizes.sum(), BLOCK)):
                block[: shape[0], :m] = x.T
                kernel(flat.parameter.detach().numpy(), 3, sizes, kind, m, block)
                np.testing.assert_allclose(block[-shape[2] :, :m].T, layers(torch.from_numpy(x)).detach(), **CLOSE)


def on_its_way_back(shape, kind, m):
    """Layers, their vector and sizes, inputs, the outputs' slope; and both as the kernels keep them, after the way forward."""
    from cumulant.nn.mlp import mlp

    layers, flat, sizes = layers_and_vector(mlp, shape, kind)
    x, slope = floats(rng(3), m, shape[0]), floats(rng(4), m, shape[2])
    block, delta = (np.zeros((sizes.sum(), BLOCK), np.float32) for _ in range(2))
    block[: shape[0], :m], delta[-shape[2] :, :m] = x.T, slope.T
    perceptron.forward(flat.parameter.detach().numpy(), 3, sizes, kind, m, block)
    return layers, flat, sizes, x, slope, block, delta


def compare_backward(kernel, original):
    """With ``Pass``, which is compared with autograd elsewhere."""
    for shape in SHAPES:
        for kind, m in [(RELU, 128), (TANH, 5)]:
            layers, flat, sizes, x, slope, block, delta = on_its_way_back(shape, kind, m)
            vector = flat.parameter.detach().numpy()
            grad = np.ones_like(vector)
            kernel(vector, 3, sizes, kind, m, block, delta, grad)
            made = original(layers, torch.from_numpy(x))
            made.out.grad = torch.from_numpy(slope)
            made.backward()
            expected = flat.parameter.grad.numpy() + 1.0  # what was there stays
            np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def compare_propagate(kernel, original):
    """The gradient of the inputs, without that of the parameters; with it: ``compare_backward``."""
    for shape in SHAPES:
        for kind, m in [(RELU, 128), (TANH, 5)]:
            layers, flat, sizes, x, slope, block, delta = on_its_way_back(shape, kind, m)
            vector = flat.parameter.detach().numpy()
            grad = np.full_like(vector, np.nan)
            kernel(vector, 3, sizes, kind, m, block, delta, False, grad, True)
            seen = torch.from_numpy(x).requires_grad_()
            original.apply(seen, "tanh" if kind == TANH else "relu", False, *layers.parameters()).backward(
                torch.from_numpy(slope)
            )
            np.testing.assert_allclose(delta[: shape[0], :m].T, seen.grad, rtol=1e-5, atol=1e-5)
            assert np.isnan(grad).all()


def flat_of(numbers, original):
    holder = torch.nn.Module()
    holder.part = torch.nn.Parameter(torch.from_numpy(numbers.copy()))
    return original(holder)


def compare_clip_grad_norm(kernel, original):
    for scale in (0.01, 10.0):
        grad = floats(rng(5), 1000) * F32(scale)
        flat = flat_of(np.zeros(1000, np.float32), original)
        flat.parameter.grad.copy_(torch.from_numpy(grad))
        expected = flat.clip_grad_norm(0.5)
        np.testing.assert_allclose(kernel(grad, 0.5), float(expected), rtol=1e-5)
        np.testing.assert_allclose(grad, flat.parameter.grad, rtol=1e-5, atol=1e-9)


def compare_adam(kernel, original):
    vector = floats(rng(6), 200)
    flat = flat_of(vector, Flat)
    optimizer, mean, square = original(flat, 0.01, eps=1e-5), np.zeros_like(vector), np.zeros_like(vector)
    for steps in range(1, 30):
        grad = floats(rng(steps), 200)
        grad[:9] = 0.0
        flat.parameter.grad.copy_(torch.from_numpy(grad))
        optimizer.step()
        kernel(vector, grad, mean, square, steps, 0.01, 1e-5)
    for ours, theirs in [(vector, flat.parameter.detach()), (mean, optimizer.mean), (square, optimizer.square)]:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for tiny in (
        mean,
        square,
    ):  # what shrinks below the smallest ordinary number is 0 at once: others take long over the rest
        tiny[:] = np.finfo(np.float32).tiny
    mean[::2] *= -1
    kernel(vector, np.zeros_like(vector), mean, square, 30, 0.01, 1e-5)
    assert not mean.any()
    assert not square.any()


def compare_gae(kernel, original):
    generator = rng(7)
    reward, value, next_value = floats(generator, 3, 40, 6)
    ended = generator.random((40, 6)) < 0.2
    terminated = ended & (generator.random((40, 6)) < 0.5)
    next_value[terminated] = np.nan  # not read
    for gamma, lam in [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0)]:
        found = np.full_like(reward, np.nan)
        kernel(reward, value, next_value, terminated, ended, gamma, lam, found)
        arrays = (torch.from_numpy(each) for each in (reward, value, next_value, terminated, ended))
        np.testing.assert_allclose(found, original(*arrays, gamma, lam), **CLOSE)


class Case:
    """A network with random weights, samples for it, and what the compiled code is given of both."""

    def __init__(self, head, seed=0, count=300):
        actions, observations = HEADS[head]
        self.kind = RELU if "relu" in head else TANH
        torch_rng, generator = torch.Generator().manual_seed(seed), rng(seed)
        self.net = ActorCritic(
            observations, actions, (16, 8), "relu" if self.kind == RELU else "tanh", generator=torch_rng
        )
        self.flat = Flat(self.net)
        self.flat.parameter.data += 0.2 * torch.randn(self.flat.parameter.shape, generator=torch_rng)
        self.continuous = isinstance(actions, spaces.Box)
        size, width = self.net.actor[0].in_features, self.net.head.size
        self.obs = floats(generator, count, size)
        self.allowed = np.zeros((count, 0), bool)
        encoded = torch.from_numpy(self.obs)
        if self.net.mask_size:
            self.allowed = generator.random((count, width)) < 0.6
            self.allowed[np.arange(count), generator.integers(0, width, count)] = True
            encoded = torch.cat([encoded, torch.from_numpy(self.allowed).float()], -1)
        self.encoded = encoded
        with torch.no_grad():
            noise = self.net.head.noise((count,), torch_rng)
            self.action = self.net.sample(encoded, noise)
            logp = self.net.logp_entropy(encoded, self.action)[0]
        self.choice = np.zeros(count, np.int64) if self.continuous else self.action.numpy()
        self.numbers = self.action.numpy() if self.continuous else np.zeros((count, 0), np.float32)
        self.logp = logp.numpy() + floats(generator, count) * F32(0.3)  # so that some ratios are clipped
        self.value, self.advantage, self.target = floats(generator, 3, count)
        places, place = {}, 0
        for name, parameter in self.net.named_parameters():
            places[name], place = place, place + parameter.numel()
        self.starts = np.array([places["actor.0.weight"], places["critic.0.weight"], places.get("head.log_std", 0)])
        self.actor_sizes, self.critic_sizes = np.array([size, 16, 8, width]), np.array([size, 16, 8, 1])

    def samples(self, index):
        arrays = (self.logp, self.value, self.advantage, self.target, self.target)
        return [self.encoded[index], self.action[index], *(torch.from_numpy(each[index]) for each in arrays)]

    def arrays(self):
        return (
            self.obs, self.allowed, self.choice, self.numbers, self.logp, self.value, self.advantage, self.target,
        )  # fmt: skip

    def weights(self, options):
        clip = options.get("value_clip") or np.inf
        config = Config(**{"entropy_coef": 0.0, **options})
        return config, (config.clip, clip, config.value_coef, config.entropy_coef)


def compare_minibatch_gradient(kernel, original):
    for head in HEADS:
        for options in LOSSES:
            case, index = Case(head), rng(8).permutation(300)[:201]
            config, weights = case.weights(options)
            losses = original(case.net, case.samples(index), config, config.entropy_coef)
            case.flat.zero_grad()
            losses.total.backward()
            vector, expected = case.flat.parameter.detach().numpy(), case.flat.parameter.grad.numpy()
            grad, measured = np.full_like(vector, np.nan), np.zeros(6)
            kernel(
                vector, case.starts, case.actor_sizes, case.critic_sizes, case.kind, case.continuous, index,
                *case.arrays(), *weights, policy_gradient.room_of(case.actor_sizes, case.critic_sizes), grad, measured,
            )  # fmt: skip
            np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(), err_msg=head)
            moved = losses.logp.detach().numpy() - case.logp[index]
            assert 0.1 < (np.abs(np.expm1(moved)) > config.clip).mean() < 0.9
            clipped = (np.abs(np.expm1(moved)) > config.clip).mean()
            means = [losses.policy, losses.value, losses.entropy.mean(), (np.expm1(moved) - moved).mean(), clipped]
            places = [getattr(policy_gradient, name) for name in ("POLICY", "VALUE", "ENTROPY", "KL", "CLIPPED")]
            for place, number in zip(places, means):
                np.testing.assert_allclose(measured[place], float(torch.as_tensor(number).detach()), **CLOSE)


def compare_plain_gradient(kernel, original):
    """With A2C's loss; REINFORCE's is the same with another share, which scales all but the bonus's own weight."""
    for head in HEADS:
        case, index = Case(head), rng(8).permutation(300)[:201]
        config = a2c.Config(value_coef=0.7)
        tensors = [
            case.encoded[index],
            case.action[index],
            *map(torch.from_numpy, (case.advantage[index], case.target[index])),
        ]
        losses = original(case.net, *tensors, config, 0.03)
        case.flat.zero_grad()
        losses.total.backward()
        vector, expected = case.flat.parameter.detach().numpy(), case.flat.parameter.grad.numpy()
        room, obs_and_actions = policy_gradient.room_of(case.actor_sizes, case.critic_sizes), case.arrays()[:4]
        for factor in (1.0, 0.5):
            grad, measured = np.full_like(vector, np.nan), np.zeros(6)
            kernel(
                vector, case.starts, case.actor_sizes, case.critic_sizes, case.kind, case.continuous, index, *obs_and_actions,
                case.advantage, case.target, factor / 201, 0.7, 0.03, room, grad, measured,
            )  # fmt: skip
            wanted = expected * factor
            np.testing.assert_allclose(grad, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max(), err_msg=head)
            found = measured[[policy_gradient.POLICY, policy_gradient.VALUE, policy_gradient.ENTROPY]]
            means = [losses.policy, losses.value, losses.entropy.mean()]
            np.testing.assert_allclose(found, [mean.item() for mean in means], **CLOSE)


def compare_rmsprop(kernel, original):
    """With ours and, to be sure of that, with torch's."""
    vector = floats(rng(6), 200)
    flat, parameter = flat_of(vector, Flat), torch.nn.Parameter(torch.from_numpy(vector.copy()))
    optimizer, square = original(flat, 0.01, 0.95, eps=1e-5), np.zeros_like(vector)
    theirs = torch.optim.RMSprop([parameter], lr=0.01, alpha=0.95, eps=1e-5)
    for steps in range(1, 30):
        grad = floats(rng(steps), 200)
        grad[:9] = 0.0
        flat.parameter.grad.copy_(torch.from_numpy(grad))
        parameter.grad = torch.from_numpy(grad)
        optimizer.step()
        theirs.step()
        kernel(vector, grad, square, 0.01, 0.95, 1e-5)
    for found in (vector, parameter.detach().numpy()):
        np.testing.assert_allclose(found, flat.parameter.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(square, optimizer.square, rtol=1e-5)
    square[:] = np.finfo(np.float32).tiny
    kernel(vector, np.zeros_like(vector), square, 0.01, 0.95, 1e-5)
    assert not square.any()


def compare_shuffle(kernel, original):
    order = np.zeros(1000, np.int64)
    firsts = []
    for key in range(300):
        kernel(order, np.uint64(key))
        np.testing.assert_array_equal(np.sort(order), np.sort(original(1000).numpy()))
        firsts.append(order[[0, 1, 500]])
    again = np.zeros(1000, np.int64)
    kernel(again, np.uint64(299))
    np.testing.assert_array_equal(again, order)
    assert abs(np.mean(firsts) - 499.5) < 30  # 300 times three uniform places: deviation 9.6
    assert len({tuple(each) for each in np.array(firsts)}) == 300


TWINS = {
    "cumulant.kernels.elementary.tanh": compare_tanh,
    "cumulant.kernels.elementary.exp": compare_exp,
    "cumulant.kernels.elementary.log": compare_log,
    "cumulant.kernels.perceptron.forward": compare_forward,
    "cumulant.kernels.perceptron.backward": compare_backward,
    "cumulant.kernels.perceptron.propagate": compare_propagate,
    "cumulant.kernels.perceptron.clip_grad_norm": compare_clip_grad_norm,
    "cumulant.kernels.perceptron.adam": compare_adam,
    "cumulant.kernels.perceptron.rmsprop": compare_rmsprop,
    "cumulant.kernels.policy_gradient.plain_gradient": compare_plain_gradient,
    "cumulant.kernels.ppo.gae": compare_gae,
    "cumulant.kernels.ppo.minibatch_gradient": compare_minibatch_gradient,
    "cumulant.kernels.ppo.shuffle": compare_shuffle,
}


def compare_act(kernel):
    """Inverse-transform sampling, and mean plus deviation times noise, with the documented random numbers."""
    for head in HEADS:
        case = Case(head)
        count, width = len(case.obs), case.actor_sizes[-1]
        key = np.arange(count).astype(np.uint64) * np.uint64(WEYL)
        choice, numbers = np.full(count, -1), np.zeros_like(case.numbers)
        logp, vector = np.zeros(count, np.float32), case.flat.parameter.detach().numpy()
        log_std = vector[case.starts[2] :][: case.numbers.shape[1]]
        block = np.zeros((case.actor_sizes.sum(), BLOCK), np.float32)
        kernel(
            vector, case.starts[0], case.actor_sizes, case.kind, log_std, case.obs, case.allowed, case.continuous,
            key, 41, block, choice, numbers, logp,
        )  # fmt: skip
        with torch.no_grad():
            logits = case.net.logits(case.encoded)
            if case.continuous:
                noise = np.array([[normal(each, 41, 2 * a) for a in range(width)] for each in key], np.float32)
                expected = case.net.head.sample(logits, torch.from_numpy(noise))
                np.testing.assert_allclose(numbers, expected, **CLOSE)
                action = torch.from_numpy(numbers)
            else:
                u = np.array([uniform(each, 41, 0) for each in key])
                cumulative = logits.double().softmax(-1).cumsum(-1).numpy()
                clear = np.abs(cumulative - u[:, None]).min(axis=1) > 1e-5  # not at the rounding's mercy
                expected = (u[:, None] >= cumulative).sum(axis=1)
                np.testing.assert_array_equal(choice[clear], expected[clear])
                assert clear.mean() > 0.9
                action = torch.from_numpy(choice)
            np.testing.assert_allclose(logp, case.net.logp_entropy(case.encoded, action)[0], rtol=1e-5, atol=3e-5)


def compare_values(kernel):
    case = Case("discrete")
    found, block = np.zeros(len(case.obs), np.float32), np.zeros((case.critic_sizes.sum(), BLOCK), np.float32)
    vector = case.flat.parameter.detach().numpy()
    kernel(vector, case.starts[1], case.critic_sizes, case.kind, case.obs, block, found)
    np.testing.assert_allclose(found, case.net.value(case.encoded).detach(), **CLOSE)


def compare_update(kernel):
    """The epochs of ``algos.ppo`` with the documented orders, and the same stop."""
    for head, target_kl in [("discrete", np.inf), ("masked", np.inf), ("continuous", np.inf), ("binary, relu", 0.02)]:
        case, theirs = Case(head), Case(head)
        config, weights = case.weights({"value_clip": 0.2, "entropy_coef": 0.01})
        vector, mean, square = (
            case.flat.parameter.detach().numpy(),
            *np.zeros((2, case.flat.parameter.numel()), np.float32),
        )
        measured, optimizer = np.zeros(6), FlatAdam(theirs.flat, 1e-3, eps=1e-5)
        steps = kernel(
            vector, mean, square, 0, 1e-3, 1e-5, case.starts, case.actor_sizes, case.critic_sizes, case.kind,
            case.continuous, *case.arrays(), *weights, 0.5, 3, 4, target_kl, 99, 7, measured,
        )  # fmt: skip
        for epoch in range(3):
            order = np.zeros(300, np.int64)
            ppo.shuffle(order, np.uint64(mix(np.uint64((99 + (7 * 3 + epoch) * WEYL) % 2**64))))
            for index in np.array_split(order, 4):
                losses = minibatch_loss(theirs.net, theirs.samples(index), config, config.entropy_coef)
                theirs.flat.zero_grad()
                losses.total.backward()
                norm = theirs.flat.clip_grad_norm(0.5)
                optimizer.step()
            moved = losses.logp.detach().numpy() - theirs.logp[index]
            if (np.expm1(moved) - moved).mean() > target_kl:
                break
        assert steps == optimizer.steps
        assert (steps < 12) == np.isfinite(target_kl)
        np.testing.assert_allclose(vector, theirs.flat.parameter.detach(), rtol=1e-3, atol=2e-5, err_msg=head)
        np.testing.assert_allclose(measured[policy_gradient.GRAD_NORM], float(norm), rtol=1e-3)


def compare_block_of(kernel):
    for rows, samples, columns in [(1, 1, LANES), (3, LANES + 1, 2 * LANES), (130, BLOCK, BLOCK), (2, 1000, BLOCK)]:
        block = kernel(rows, samples)
        assert block.shape == (rows, columns)
        assert block.dtype == np.float32
        assert block.ctypes.data % 64 == 0
        assert not block.any()


def compare_categorical(kernel):
    head, rows = floats(rng(1), 4, BLOCK), perceptron.block_of(policy_gradient.NUM_ROWS, BLOCK)
    head[0, ::2] = -np.inf  # not allowed
    choice = rng(2).integers(1, 4, BLOCK)
    rows[policy_gradient._CHOICE] = choice
    expected = torch.distributions.Categorical(logits=torch.from_numpy(head.T.copy()))
    probability = np.zeros_like(head)
    kernel(head, probability, rows, BLOCK)
    np.testing.assert_allclose(probability.T, expected.probs, **CLOSE)
    np.testing.assert_allclose(rows[policy_gradient._LOGP], expected.log_prob(torch.from_numpy(choice)), **CLOSE)
    np.testing.assert_allclose(rows[policy_gradient._ENTROPY], expected.entropy(), **CLOSE)


def compare_room_of(kernel):
    shapes = [block.shape for block in kernel(np.array([3, 5, 2]), np.array([3, 4, 1]))]
    assert shapes == [(10, BLOCK), (10, BLOCK), (8, BLOCK), (8, BLOCK), (policy_gradient.NUM_ROWS, BLOCK)]


def compare_gradient(kernel):
    """Of the clipped loss, through PPO's minibatch, and of the plain one, through A2C's: they add nothing to it."""
    compare_minibatch_gradient(ppo.minibatch_gradient, minibatch_loss)
    case, index = Case("discrete"), np.arange(300)
    plain, clipped = np.zeros((2, case.flat.parameter.numel()), np.float32)
    room = policy_gradient.room_of(case.actor_sizes, case.critic_sizes)
    rest = (case.choice, case.numbers, case.logp, case.value, case.advantage, case.target, 0.0, 1.0, 1 / 300)
    sizes = (case.starts, case.actor_sizes, case.critic_sizes, case.kind, case.continuous)
    for clip, grad in [(0.0, plain), (0.5, clipped)]:
        kernel(
            case.flat.parameter.detach().numpy(), *sizes, index, case.obs, case.allowed, *rest, clip, np.inf, 0.5, 0.0, room,
            grad, np.zeros(6),
        )  # fmt: skip
    critic = case.starts[1]
    np.testing.assert_array_equal(plain[critic:], clipped[critic:])
    assert not np.allclose(plain[:critic], clipped[:critic])


LOOPS = {
    "cumulant.kernels.policy_gradient.room_of": compare_room_of,
    "cumulant.kernels.policy_gradient.gradient": compare_gradient,
    "cumulant.kernels.perceptron.block_of": compare_block_of,
    "cumulant.kernels.policy_gradient._categorical": compare_categorical,
    "cumulant.kernels.ppo.act": compare_act,
    "cumulant.kernels.ppo.values": compare_values,
    "cumulant.kernels.ppo.update": compare_update,
}
