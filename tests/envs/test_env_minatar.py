"""MinAtar's games agree frame for frame with the original, which is fed with the same random choices."""

from importlib import import_module

import numpy as np
import pytest

from cumulant.envs import lookup
from cumulant.envs.batched import Batch
from cumulant.envs.counter_rng import uniform
from cumulant.envs.minatar import seaquest, space_invaders
from cumulant.errors import ConfigError

GAMES = ["asterix", "breakout", "freeway", "seaquest", "space_invaders"]


class Script:
    """In place of the original's random state: answers with the numbers that belong to this place of the kernel's episode."""

    def __init__(self):
        self.place, self.slots = (np.uint64(0), -1), []

    def at(self, key, step, slots):
        """Answer the next calls with the numbers of these slots."""
        self.place, self.slots = (np.uint64(key), step), list(slots)

    def rand(self, size=None):
        if size is None:
            return uniform(*self.place, self.slots.pop(0))
        return np.array([self.rand() for _ in range(size)])

    def randint(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        if size is None:
            return low + int(self.rand() * (high - low))
        return np.array([self.randint(low, high) for _ in range(size)])


class Original:
    """The published game, its sticky keys included, with every random choice from a script."""

    def __init__(self, game, ramping=True, sticky=0.1):
        self.game, self.sticky, self.last = game, sticky, 0
        self.script, self.sticks = Script(), Script()
        module = import_module(f"minatar.environments.{game}")
        self.env = module.Env(ramping=ramping)
        self.env.random = self.script

    def reset(self, key):
        self.last = 0  # the original keeps the last key of the episode before
        self.script.at(key, -1, range(1, 17))
        self.env.reset()
        return self.env.state()

    def slots(self):
        """The numbers that this frame will ask for."""
        if self.game != "seaquest":
            return range(1, 17)
        return [1, 2, 3] * (self.env.e_spawn_timer == 0) + [4, 5] * (self.env.d_spawn_timer == 0)

    def step(self, key, step, action):
        self.sticks.at(key, step, [0])
        if self.sticks.rand() >= self.sticky:
            self.last = action
        self.script.at(key, step, self.slots())
        reward, over = self.env.act(self.last)
        return self.env.state(), reward, over


def random_keys(env, generator):
    return generator.integers(6)


def follow_the_ball(env, generator):
    """Breakout: stay below the ball, which clears the board."""
    ahead = env.ball_x
    return 0 if generator.random() < 0.02 else 1 if ahead < env.pos else 3 if ahead > env.pos else 0


def chase_gold(env, generator):
    """Asterix: keep away from enemies, to see the game get harder."""

    def danger(x, y):
        return sum(10 / (1 + 2 * abs(e[0] - x)) for e in env.entities if e is not None and e[1] == y and not e[3])

    x, y = env.player_x, env.player_y
    places = {0: (x, y), 1: (x - 1, y), 2: (x, max(1, y - 1)), 3: (x + 1, y), 4: (x, min(8, y + 1))}
    return min(
        places, key=lambda key: danger(*places[key]) + 0.1 * abs(places[key][0] - 4.5) + 0.1 * generator.random()
    )


def go_up(env, generator):
    """Freeway: most of the time upwards."""
    return 2 if generator.random() < 0.9 else generator.integers(6)


def rescue(env, generator):
    """Seaquest: down for divers and up with them, shooting; it comes to surface with several of them."""
    x, y = env.sub_x, env.sub_y
    if generator.random() < 0.2 and env.shot_timer == 0:
        return 5
    up_now = (env.diver_count > 0 and env.oxygen < 60) or env.diver_count == 6
    threats = [e for e in [*env.e_fish, *env.e_subs, *env.e_bullets] if e[1] == y and abs(e[0] - x) <= 2]
    if up_now:
        return 2
    if threats:
        return 4 if y < 8 and generator.random() < 0.6 else 2 if y > 1 else 4
    if env.divers:
        diver = min(env.divers, key=lambda d: abs(d[0] - x) + abs(d[1] - y))
        if diver[1] != y:
            return 4 if diver[1] > y else 2 if y > 1 else 0
        return 3 if diver[0] > x else 1 if diver[0] < x else 0
    return generator.choice([1, 3, 5, 4 if y < 5 else 0])


def dodge(env, generator):
    """Space Invaders: out of the way of shots, else shoot below an alien."""
    x = env.pos
    if env.e_bullet_map[5:, x].any():
        return 1 if x > 0 and not env.e_bullet_map[5:, x - 1].any() else 3
    return 5 if env.alien_map[:, x].any() and generator.random() < 0.7 else generator.choice([1, 3])


def compare(game, player, frames, *, ramping=True, sticky=0.1, seed=0):
    """Play both frame for frame; return the returns of the episodes and what the originals were like at their ends."""
    name, num_envs = "minatar-" + game.replace("_", "-"), 4
    batch = Batch(lookup.build(name, {"ramping": ramping, "sticky": sticky}), num_envs, seed=seed)
    originals = [Original(game, ramping, sticky) for _ in range(num_envs)]
    generator = np.random.default_rng(seed)
    returns, ends, total = [], [], np.zeros(num_envs)
    for i, original in enumerate(originals):
        np.testing.assert_array_equal(batch.obs[i], original.reset(batch.key[i]))
    for frame in range(frames // num_envs):
        action = np.array([player(original.env, generator) for original in originals])
        key, clock = batch.key.copy(), batch.clock.copy()
        batch.step(action)
        for i, original in enumerate(originals):
            obs, reward, over = original.step(key[i], clock[i], action[i])
            where = f"{game}, seed {seed}, frame {frame}, copy {i}"
            np.testing.assert_array_equal(batch.next_obs[i], obs, err_msg=where)
            assert batch.reward[i] == reward, where
            # the end of Freeway is a time limit
            assert (batch.truncated[i] if game == "freeway" else batch.terminated[i]) == over, where
            total[i] += reward
            if batch.ended[i]:
                returns.append(total[i])
                ends.append({name: value for name, value in vars(original.env).items() if np.isscalar(value)})
                total[i] = 0.0
                np.testing.assert_array_equal(batch.obs[i], original.reset(batch.key[i]), err_msg=where)
    return returns, ends


# episodes that must end within 6000 frames
RANDOM = [("asterix", 50), ("breakout", 400), ("freeway", 0), ("seaquest", 100), ("space_invaders", 80)]


@pytest.mark.parametrize(("game", "episodes"), RANDOM)
def test_agrees_with_the_original_under_random_play(game, episodes):
    assert len(compare(game, random_keys, 6_000)[0]) >= episodes


# the best return and the lowest value of an attribute that must be seen, so that the later parts of a game are compared
SKILLED_PLAY = [
    ("asterix", chase_gold, 15, "spawn_speed", 3),
    ("breakout", follow_the_ball, 31, None, None),  # 30 bricks are a board
    ("freeway", go_up, 25, "terminate_timer", -1),
    ("seaquest", rescue, 3, "diver_count", -1),
    ("space_invaders", dodge, 15, None, None),
]


@pytest.mark.parametrize(("game", "player", "best", "attribute", "lowest"), SKILLED_PLAY)
@pytest.mark.parametrize(("ramping", "sticky"), [(True, 0.1), (False, 0.0)], ids=["default", "plain"])
def test_agrees_with_the_original_under_skilled_play(game, player, best, attribute, lowest, ramping, sticky):
    returns, ends = compare(game, player, 12_000, ramping=ramping, sticky=sticky, seed=1)
    if ramping:
        assert max(returns) >= best
        assert attribute is None or min(end[attribute] for end in ends) <= lowest


def keep_asterix(env, s, generator):
    """Nothing to do: it gets harder with time."""


def keep_seaquest(env, s, generator):
    """Refill the tank now and then, and bring divers aboard, so that it surfaces often and the sea gets crowded."""
    if env.oxygen < 20:
        env.oxygen = 200
        s[seaquest._OXYGEN] = 200
    if env.diver_count <= 0 and generator.random() < 0.5:
        env.diver_count = int(generator.integers(7))
        s[seaquest._ABOARD] = env.diver_count


def keep_space_invaders(env, s, generator):
    """Leave few of the aliens, so that waves follow each other, and none where they land: the original ends there."""
    board = s[space_invaders._BOARDS :].reshape(3, 10, 10)[0]
    if env.alien_map[8:].any() or env.alien_map.sum() == 24:
        few = generator.random((10, 10)) < 0.02
        few[8:] = False
        few[generator.integers(4, 8), np.clip(env.pos + generator.integers(-1, 2), 0, 9)] = True
        env.alien_map[:] = few
        board[:] = few


# what must have been reached by the end
IMMORTAL = [
    ("asterix", keep_asterix, lambda env: env.spawn_speed == 1 and env.move_speed == 1),
    ("seaquest", keep_seaquest, lambda env: env.e_spawn_speed == 1 and env.move_speed == 2),
    ("space_invaders", keep_space_invaders, lambda env: env.enemy_move_interval == 6),
]


@pytest.mark.parametrize(("game", "keep", "reached"), IMMORTAL)
def test_agrees_with_the_original_to_the_highest_difficulty(game, keep, reached):
    """Nobody dies here: both go on after an end, which must come at the same frames."""
    batch = Batch(lookup.build("minatar-" + game.replace("_", "-"), {"max_steps": 0}), 2, seed=5, autoreset=False)
    originals = [Original(game) for _ in range(2)]
    generator = np.random.default_rng(0)
    for i, original in enumerate(originals):
        original.reset(batch.key[i])
    rewards = ends = 0
    for frame in range(3_000):
        action = generator.choice([0, 1, 2, 2, 3, 4, 4, 5, 5, 5], 2)
        for original, s in zip(originals, batch.state):
            original.env.terminal = False
            keep(original.env, s, generator)
        clock = batch.clock.copy()
        batch.step(action)
        for i, original in enumerate(originals):
            obs, reward, over = original.step(batch.key[i], clock[i], action[i])
            where = f"frame {frame}, copy {i}"
            np.testing.assert_array_equal(batch.next_obs[i], obs, err_msg=where)
            assert (batch.reward[i], batch.terminated[i]) == (reward, over), where
            rewards, ends = rewards + (reward > 0), ends + over
    assert all(reached(original.env) for original in originals)
    assert rewards > 50
    assert ends > 50


@pytest.mark.parametrize("game", GAMES)
def test_the_minimal_actions_are_the_originals(game):
    name = "minatar-" + game.replace("_", "-")
    kernel = lookup.build(name, {"minimal": True, "sticky": 0.0})
    keys = Original(game).env.minimal_action_set()
    assert kernel.action_space.n == len(keys)
    assert lookup.build(name, {}).action_space.n == 6
    few = Batch(kernel, 3, seed=2)
    all_six = Batch(lookup.build(name, {"sticky": 0.0}), 3, seed=2)
    for action in np.random.default_rng(0).integers(0, len(keys), (300, 3)):
        few.step(action)
        all_six.step(np.array(keys)[action])
        np.testing.assert_array_equal(few.next_obs, all_six.next_obs)
        np.testing.assert_array_equal(few.reward, all_six.reward)


def test_keys_stick_as_often_as_they_should():
    """The paddle of Breakout stays when a key of the other direction is pressed and the last one sticks at the wall."""
    batch = Batch(lookup.build("minatar-breakout", {"sticky": 0.3}), 20_000, seed=4)
    batch.step(np.full(20_000, 1))  # left; where "nothing" stuck, the paddle stays at 4
    stayed = (batch.next_obs[:, 9, 4, 0] == 1).mean()
    assert abs(stayed - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)


def test_refuses_what_makes_no_sense():
    with pytest.raises(ConfigError, match=r"'minatar-seaquest': sticky = 1\.5"):
        lookup.build("minatar-seaquest", {"sticky": 1.5})
    with pytest.raises(ConfigError, match="'minatar-space-invaders': max_steps = -1"):
        lookup.build("minatar-space-invaders", {"max_steps": -1})
