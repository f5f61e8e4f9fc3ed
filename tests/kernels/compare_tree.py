"""Compiled search against plain Python: whole trees, node by node, in the order in which nodes were made."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from numba import njit
from reference_search import Reference
from two_moves import two_moves

from cumulant.engine.search import Search, SearchConfig, halving
from cumulant.envs.games.lookup import make_game
from cumulant.envs.games.planning import as_game
from cumulant.envs.gridworlds import Garnet
from cumulant.kernels import lanes, rules
from cumulant.kernels.lanes import padded_zeros
from cumulant.kernels.seen import Seen, Turns
from cumulant.kernels.tree_layout import ENDED, EXPANDED

SIMULATIONS = 60


def opinion(planes):
    """Logits and a value that follow from a position as if at random."""
    rng = np.random.default_rng(np.frombuffer(planes.astype(np.uint8).tobytes(), np.uint8))
    return rng.normal(size=9).astype(np.float32) * 2, np.float32(rng.uniform(-1, 1))


def evaluator(game):
    def evaluate(planes):
        said = [opinion(each) for each in planes]
        return np.stack([logits[: game.num_actions] for logits, _ in said]), np.array([value for _, value in said])

    return evaluate


def single(game):
    def evaluate(state):
        logits, values = evaluator(game)(game.planes(state)[None])
        return logits[0], values[0]

    return evaluate


def positions(game, count, seed=0):
    """Positions some random moves from the start, one of them over."""
    rng, found = np.random.default_rng(seed), []
    for g in range(count):
        state = game.start()
        for _ in range(g if g < count - 1 else game.max_moves):
            legal = game.legal_actions(state)
            if not len(legal):
                break
            after = state.copy()
            game.play(after, rng.choice(legal))
            if g < count - 1 and not np.isnan(game.outcome(after)):
                continue
            state = after
        found.append(state)
    return np.stack(found)


MADE_HERE = {"two_moves": two_moves, "garnet": lambda: as_game(Garnet(9, 3, 1).mdp(), longest=7, gamma=0.9)}


class Fixed:
    """A generator whose noise is known."""

    def __init__(self, noise):
        self.noise = noise

    def gumbel(self, size):
        return self.noise

    def standard_gamma(self, shape, size):
        return self.noise


def assert_same_tree(search, g, reference):
    trees, game = search.trees, search.game
    assert trees.count[g] == len(reference.made)
    number = {id(node): n for n, node in enumerate(reference.made)}
    for n, node in enumerate(reference.made):
        np.testing.assert_array_equal(trees.state[g, n], node.state)
        np.testing.assert_array_equal(trees.visits[g, n], node.visits)
        np.testing.assert_allclose(trees.value_sum[g, n], node.sums, atol=1e-6)
        np.testing.assert_allclose(trees.known[g, n], node.known)
        children = [number[id(node.children[a])] if a in node.children else -1 for a in range(game.num_actions)]
        np.testing.assert_array_equal(trees.child[g, n], children)


@functools.cache
def compare_search():
    """Every option of both methods, also where players move twice in a row or alone: each simulation goes the same way."""
    for name, method, options in [
        ("connect_four", "puct", {}),
        ("connect_four", "puct", {"solve": False, "exploration": 3.0, "exploration_base": 10.0, "first_play": 0.0}),
        ("tictactoe", "puct", {"first_play": 1.0}),
        ("connect_four", "gumbel", {}),
        ("connect_four", "gumbel", {"solve": False, "considered": 3, "value_scale": 0.5}),
        ("tictactoe", "gumbel", {"rescale": False, "visits_offset": 5.0}),
        ("two_moves", "puct", {}),
        ("two_moves", "gumbel", {"solve": False}),
        ("garnet", "gumbel", {}),
        ("garnet", "puct", {"first_play": 0.0}),
    ]:
        game = MADE_HERE[name]() if name in MADE_HERE else make_game(name)
        config = SearchConfig(method=method, simulations=SIMULATIONS, **options)
        states = positions(game, 8)
        noise = np.random.default_rng(1).gumbel(size=(8, game.num_actions)).astype(np.float32)
        generator = Fixed(noise) if method == "gumbel" else None
        search = Search(game, config, 8, evaluator(game))
        found = search.run(states, generator=generator)
        schedule = [halving(m, SIMULATIONS) for m in range(min(config.considered, game.num_actions) + 1)]
        schedule += [schedule[-1]] * game.num_actions
        for g, state in enumerate(states[:-1]):
            plain = Reference(game, search.settings, single(game), state, noise[g], schedule).run(SIMULATIONS)
            assert_same_tree(search, g, plain)
            np.testing.assert_array_equal(found.visits[g], plain.root.visits)
            compare_root(search, found, g, plain)
        assert found.action[-1] == -1, "the last game is over"
        assert np.isfinite(found.policy).all()


def compare_root(search, found, g, plain):
    """Policy, move and value against their definitions."""
    root, settings = plain.root, search.settings
    values, legal = plain.values(root), root.prior > 0
    lost = settings.solve & (root.visits > 0) & (values <= -1.0)
    lost &= not (root.is_known and root.known <= -1.0 and settings.solve)
    if settings.gumbel:
        added = np.where(lost, -np.inf, plain.added(root))
        policy = torch.softmax(torch.tensor(np.where(legal, root.logit + added, -np.inf)), -1).numpy()
        most = root.visits[legal & ~lost].max()
        won = settings.solve & (root.visits > 0) & (values >= 1.0)
        score = plain.noise + root.logit + added + 1e6 * won
        action = np.where(legal & ((root.visits == most) | won), score, -np.inf).argmax()
    else:
        counted = np.where(lost, 0, root.visits)
        if settings.solve and root.is_known and root.known >= 1.0:
            counted = np.where(values >= 1.0, counted, 0)
        policy, action = counted / counted.sum(), counted.argmax()
        mean = (root.raw + root.sums.sum()) / (1 + root.visits.sum())
        expected = root.known if settings.solve and root.is_known else mean
        assert found.value[g] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(found.policy[g], policy, atol=2e-5)
    assert found.action[g] == action


@functools.cache
def compare_waves():
    """Several leaves at a time: nothing in flight is left behind, every sum is that of the values below."""
    game = make_game("connect_four")
    search = Search(game, SearchConfig(method="puct", leaves=5, solve=False, reuse=True), 6, evaluator(game), 90)
    states = positions(game, 6)
    found = search.run(states, 90)
    assert (found.visits.sum(1)[:-1] == 90).all()
    assert_sums_are_right(search, range(5))
    compare_follow(search, states, found)


def assert_sums_are_right(search, games):
    trees = search.trees
    for g in games:
        for n in range(trees.count[g]):
            for a in np.flatnonzero(trees.visits[g, n]):
                c = trees.child[g, n, a]
                below = trees.visits[g, c].sum()
                ended = trees.status[g, c] == ENDED
                assert trees.visits[g, n, a] == (trees.visits[g, n, a] if ended else 1 + below)
                value = (
                    trees.visits[g, n, a] * trees.known[g, c]
                    if ended
                    else trees.raw[g, c] + trees.value_sum[g, c].sum()
                )
                sign = 1.0 if trees.player[g, c] == trees.player[g, n] else -1.0
                assert trees.value_sum[g, n, a] == pytest.approx(sign * value, abs=1e-4)
            assert trees.total[g, n] == trees.visits[g, n].sum()
            assert trees.value_total[g, n] == pytest.approx(trees.value_sum[g, n].sum(), abs=1e-6)


def compare_follow(search, states, found):
    """After a move the tree below it is what it was, node for node."""
    trees, game = search.trees, search.game
    played = found.action.copy()
    played[1] = -1  # left alone
    before = [describe(trees, g, trees.child[g, 0, a] if a >= 0 else 0) for g, a in enumerate(played)]
    search.follow(played)
    for g in range(5):
        assert describe(trees, g, 0) == before[g]
        assert trees.count[g] == size(before[g])
    after = states.copy()
    for g in range(5):
        if played[g] >= 0:
            game.play(after[g], played[g])
    again = search.run(after, 90)
    assert (again.visits.sum(1)[:-1] == 90).all()
    assert_sums_are_right(search, range(5))


def describe(trees, g, n):
    """A tree as nested tuples."""
    children = tuple((a, describe(trees, g, c)) for a, c in enumerate(trees.child[g, n]) if c >= 0)
    facts = (trees.state[g, n], trees.visits[g, n], trees.value_sum[g, n], trees.logit[g, n], trees.prior[g, n])
    return tuple(tuple(each.tolist()) for each in facts), int(trees.status[g, n]), float(trees.raw[g, n]), children


def size(described):
    return 1 + sum(size(child) for _, child in described[3])


@functools.cache
def compare_noise():
    """Dirichlet noise: at the root only, on legal moves only, in its share; fresh when a tree is gone on with."""
    game = make_game("connect_four")
    config = SearchConfig(method="puct", simulations=20, noise_share=0.3, forced=0.0)
    states = positions(game, 12, seed=3)
    states = np.stack([game.position(list("444444")), *states[:-1]])
    noise = np.random.default_rng(2).gamma(1.0, size=(12, 7)).astype(np.float32)
    plain, noisy = Search(game, config, 12, evaluator(game)), Search(game, config, 12, evaluator(game))
    quiet = plain.run(states).prior
    explore = np.arange(12) != 2
    for scale in (1.0, np.arange(1, 8)):
        noisy.run(states, generator=Fixed(noise * scale), explore=explore)
        legal = quiet > 0
        shares = np.where(legal, noise * scale, 0) / np.where(legal, noise * scale, 0).sum(1, keepdims=True)
        expected = np.where(explore[:, None], 0.7 * quiet + 0.3 * shares, quiet)
        np.testing.assert_allclose(noisy.trees.prior[:, 0], expected, rtol=1e-4, atol=1e-7)
    assert noisy.trees.prior[0, 0, 3] == 0.0, "column 4 is full"
    for g in range(12):  # below the root nothing is mixed in
        for n in range(1, noisy.trees.count[g]):
            if noisy.trees.status[g, n] == EXPANDED:
                logits = np.where(noisy.trees.prior[g, n] > 0, noisy.trees.logit[g, n], -np.inf)
                np.testing.assert_allclose(noisy.trees.prior[g, n], torch.softmax(torch.tensor(logits), -1), rtol=1e-4)


def compare_forced():
    """Likely moves get their least number of tries, and the target forgets those that scores do not bear out."""
    game = make_game("connect_four")
    config = SearchConfig(method="puct", simulations=200, forced=2.0, solve=False, noise_share=0.25)

    def evaluate(planes):
        second = planes.sum((1, 2, 3)).astype(int) % 2  # who is to move
        has_middle = planes[np.arange(len(planes)), second, 5, 3]  # of the first player: his stone is there
        value = np.where(has_middle == 1, 0.8, -0.8) * np.where(second == 1, -1, 1)
        return np.zeros((len(planes), 7), np.float32), value.astype(np.float32)

    states = np.stack([game.start()] * 2)
    search = Search(game, replace(config, noise_share=0.0), 2, evaluate)
    found = search.run(states, generator=Fixed(np.ones((2, 7))), explore=np.array([True, False]))
    least = np.sqrt(2.0 * search.trees.prior[0, 0] * 200)
    assert (found.visits[0] >= np.floor(least * 0.9)).all()
    assert (found.visits[1] < least * 0.9).sum() == 6
    assert found.policy[0, 3] > 0.9 > found.visits[0, 3] / 200
    np.testing.assert_allclose(found.policy[1], found.visits[1] / 200, atol=1e-6)


def compare_puct_score(kernel, original):
    rng = np.random.default_rng(0)
    value, prior, total = rng.uniform(-1, 1, 50), rng.random(50), 70.0
    visits = rng.integers(0, 9, 50)
    ours = [kernel(value[a], prior[a], visits[a], total, 1.25, 50.0) for a in range(50)]
    tensors = [torch.tensor(x, dtype=torch.float64) for x in (value, prior, visits, [total])]
    np.testing.assert_allclose(ours, original(*tensors, 1.25, 50.0), rtol=1e-12)


def compare_completed_values(kernel, original):
    rng = np.random.default_rng(0)
    for case in range(40):
        prior = rng.dirichlet(np.ones(6))
        prior[rng.random(6) < 0.3] = 0.0
        prior[case % 6] = 0.5
        prior = prior.astype(np.float32)
        visits = rng.integers(0, 4, 6) * (prior > 0) * (case != 7)
        value, node_value = rng.uniform(-1, 1, 6), rng.uniform(-1, 1)
        rescale, rows = case % 3 != 0, [padded_zeros((6,), kind) for kind in (float, np.float32, np.int32, float)]
        for row, given in zip(rows, (value, prior, visits)):
            row[:] = given
        kernel((0,) * 6, *rows[:3], node_value, 0.1, 50.0, rescale, rows[3])
        tensors = [torch.tensor(x, dtype=torch.float64) for x in (value, prior, visits, [node_value])]
        np.testing.assert_allclose(rows[3], original(*tensors, 0.1, 50.0, rescale), atol=1e-12)


def compare_exp(kernel, original):
    """Over all of the range, and below it, where it is as good as nothing."""

    @njit
    def of_row(x, out):
        for k in range(0, len(x), lanes.LANES):
            lanes.store(out, k, kernel(lanes.load(x, k)))

    x = np.concatenate([np.linspace(-700, 699, 20_000), np.linspace(-1e-9, 1, 2_000)])
    out = np.zeros(len(x))
    of_row(x, out)
    np.testing.assert_allclose(out, original(torch.tensor(x)), rtol=1e-11)
    of_row(np.array([-np.inf, -1e300, -750.0, 0.0, -0.0, 1.0, 2.0, 3.0]), out)
    np.testing.assert_allclose(out[:8], [0, 0, 0, 1, 1, *np.exp([1, 2, 3])], rtol=1e-11, atol=1e-300)


def compare_encode_rows(kernel):
    game = make_game("connect_four")
    states = positions(game, 20)
    planes = np.full((20, 2, 6, 7), np.nan, np.float32)
    kernel(rules.rules_of(game), states, planes)
    np.testing.assert_array_equal(planes, [game.planes(state) for state in states])


def compare_play_rows(kernel):
    game = make_game("tictactoe")
    states = positions(game, 6)
    actions = np.array([*(game.legal_actions(state)[0] for state in states[:-1]), -1])
    expected, outcomes, players = states.copy(), np.zeros(6), np.zeros(6, np.int8)
    for state, action in zip(expected[:-1], actions):
        game.play(state, action)
    kernel(rules.rules_of(game), states, actions, outcomes, players)
    np.testing.assert_array_equal(states, expected)
    np.testing.assert_array_equal(outcomes, [game.outcome(state) for state in expected])
    np.testing.assert_array_equal(players, [game.player(state) for state in expected])


def compare_play_at_random(kernel):
    """Each legal move as often as any other; as many as there are numbers; never to the end of a game."""
    game = make_game("connect_four")
    rng = np.random.default_rng(0)
    states, numbers = np.stack([game.start()] * 4000), rng.random((4000, 9))
    numbers[:2000, 1:] = np.nan
    kernel(rules.rules_of(game), states, numbers, np.zeros(7, np.uint8))
    first = [game.planes(state)[1, 5].argmax() for state in states[:2000]]
    assert np.bincount(first, minlength=7).min() > 2000 / 7 - 5 * np.sqrt(2000 / 7)
    assert all(np.isnan(game.outcome(state)) for state in states)
    stones = np.array([game.planes(state).sum() for state in states])
    assert (stones[:2000] == 1).all()
    assert (stones[2000:] == 9).mean() > 0.8
    assert stones.max() == 9


@functools.cache
def compare_seen():
    """What comes out is what the network says of one symmetry of each position, turned back; nothing is asked twice."""
    from cumulant.kernels.seen import fill_in, look_up

    game = make_game("tictactoe")
    asked = []
    weights = np.random.default_rng(0).normal(size=(18, 9)).astype(np.float32)
    seen = Seen(np.zeros(256, np.uint64), np.zeros((256, 9), np.float32), np.zeros(256, np.float32))
    states = np.concatenate([positions(game, 7, seed) for seed in range(6)])
    planes = np.stack([game.planes(state).reshape(2, 9) for state in states])
    planes = np.concatenate([planes, planes[:, :, game.symmetries_points[5]]])
    count = len(planes)
    places = np.argsort(game.symmetries_points, axis=1)
    turns = Turns(
        game.symmetries_points, places, game.symmetries_actions, np.zeros(count, np.int32),
        np.zeros(count, np.int64), np.zeros(count, np.int64),
    )  # fmt: skip

    def ask(batch):
        shown, logits, values = np.zeros_like(batch), np.zeros((count, 9), np.float32), np.zeros(count, np.float32)
        rows = look_up(batch, batch.view(np.uint32), len(batch), seen, turns, shown)
        asked.extend(shown[:rows].tobytes()[i * 72 : i * 72 + 72] for i in range(rows))
        said = shown[:rows].reshape(rows, 18) @ weights
        fill_in(len(batch), said, said.sum(1), seen, turns, logits, values)
        return logits, values

    first = ask(planes)
    again = ask(planes[::-1].copy())
    np.testing.assert_array_equal(again[0], first[0][::-1])
    np.testing.assert_array_equal(again[1], first[1][::-1])
    assert len(asked) == len(set(asked)) == len({min(turn(game, each)) for each in planes})
    lopsided = [len(set(turn(game, each))) == 8 for each in planes[: count // 2]]
    assert sum(lopsided) > 10
    back = first[0][: count // 2][:, game.symmetries_actions[5]]
    np.testing.assert_array_equal(back[lopsided], first[0][count // 2 :][lopsided])
    for i, each in enumerate(planes):
        options = []
        for points, actions in zip(game.symmetries_points, game.symmetries_actions):
            said, logits = each[:, points].reshape(-1) @ weights, np.zeros(9, np.float32)
            logits[actions] = said
            options.append(logits)
        assert np.abs(np.stack(options) - first[0][i]).max(1).min() < 1e-5
    full = Seen(np.full(256, 7, np.uint64), *seen[1:])  # no room: asked each time, and right all the same
    seen = full
    np.testing.assert_allclose(ask(planes)[0], first[0], rtol=1e-5)


def turn(game, planes):
    return [planes[:, points].tobytes() for points in game.symmetries_points]


TWINS = {
    "cumulant.kernels.lanes.exp": compare_exp,
    "cumulant.kernels.selection.puct_score": compare_puct_score,
    "cumulant.kernels.selection.completed_values": compare_completed_values,
}


def by(check):
    return lambda kernel: check()


IN_SEARCH = (
    "selection.action_values",
    "selection.better",
    "selection.choose_puct",
    "selection.choose_gumbel",
    "selection.is_proven",
    "tree._descend",
    "tree.new_node",
    "tree.plant",
    "tree.gather",
    "tree.set_prior",
    "tree.expand",
    "tree.advance",
)
LOOPS = {
    **{f"cumulant.kernels.{name}": by(compare_search) for name in IN_SEARCH},
    "cumulant.kernels.tree._back_up": by(compare_waves),
    "cumulant.kernels.tree.add_noise": by(compare_noise),
    "cumulant.kernels.roots.gumbel_policy": by(compare_search),
    "cumulant.kernels.roots.puct_policy": by(compare_forced),
    "cumulant.kernels.roots.follow": by(compare_waves),
    "cumulant.kernels.roots._move": by(compare_waves),
    "cumulant.kernels.roots.renew_noise": by(compare_noise),
    "cumulant.kernels.rules.encode_rows": compare_encode_rows,
    "cumulant.kernels.rules.play_rows": compare_play_rows,
    "cumulant.kernels.rules.play_at_random": compare_play_at_random,
    "cumulant.kernels.seen.look_up": by(compare_seen),
    "cumulant.kernels.seen.fill_in": by(compare_seen),
}
