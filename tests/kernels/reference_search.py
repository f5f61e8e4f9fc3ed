"""Tree search for one game in plain recursive Python, by the formulas of ``maths``: what the compiled one must equal."""

import math

import numpy as np
import torch

from cumulant.maths.planning import completed_values, puct_score


class Node:
    """A position and what was found below it; ``made`` lists all nodes in the order in which they were made."""

    def __init__(self, game, state, made):
        self.state, self.player = state, int(game.player(state))
        self.known = float(game.outcome(state))
        self.children, self.raw = {}, self.known
        self.visits, self.sums = np.zeros(game.num_actions, np.int64), np.zeros(game.num_actions)
        self.logit = self.prior = np.zeros(game.num_actions)
        made.append(self)

    @property
    def is_known(self):
        return not math.isnan(self.known)


class Reference:
    """A search of one position. ``evaluate(state)`` gives logits ``[A]`` and a value."""

    def __init__(self, game, settings, evaluate, state, noise=None, schedule=()):
        self.game, self.settings, self.evaluate, self.schedule = game, settings, evaluate, schedule
        self.noise = np.zeros(game.num_actions) if noise is None else noise
        self.made = []
        self.root = Node(game, state.copy(), self.made)
        self.expand(self.root)

    def expand(self, node):
        logits, value = self.evaluate(node.state)
        node.logit, node.raw = logits.astype(np.float32), np.float32(value)
        weight = np.zeros(self.game.num_actions)
        legal = self.game.legal_actions(node.state)
        weight[legal] = np.exp(node.logit[legal].astype(float) - node.logit[legal].max())
        node.prior = (weight.astype(np.float32) / weight.sum()).astype(np.float32)
        return float(node.raw)

    def values(self, node):
        """Mean result of each action; the proven one where there is one."""
        with np.errstate(invalid="ignore"):
            values = node.sums / node.visits
        for action, child in node.children.items():
            if self.settings.solve and child.is_known:
                values[action] = child.known if child.player == node.player else -child.known
        return values

    def choose(self, node):
        return self.choose_gumbel(node) if self.settings.gumbel else self.choose_puct(node)

    def choose_puct(self, node):
        s, total = self.settings, node.visits.sum()
        values = self.values(node)
        untried = (node.raw + node.sums.sum()) / (1 + total) - s.first_play
        filled = np.where(node.visits > 0, values, untried)
        tensors = [torch.tensor(x, dtype=torch.float64) for x in (filled, node.prior, node.visits, [total])]
        score = puct_score(*tensors, s.exploration, s.exploration_base).numpy()
        for action, child in node.children.items():
            if s.solve and child.is_known and values[action] <= -1.0:
                score[action] -= 1e6
        return int(np.where(node.prior > 0, score, -np.inf).argmax())

    def added(self, node):
        s = self.settings
        values = np.where(node.visits > 0, self.values(node), 0.0)
        tensors = [torch.tensor(x, dtype=torch.float64) for x in (values, node.prior, node.visits, [float(node.raw)])]
        return completed_values(*tensors, s.value_scale, s.visits_offset, s.rescale).numpy()

    def choose_gumbel(self, node):
        legal, total = node.prior > 0, node.visits.sum()
        score = node.logit + self.added(node)
        if node is self.root:
            considered = legal & (node.visits == self.schedule[legal.sum()][total])
            if considered.any():
                return int(np.where(considered, self.noise + score, -np.inf).argmax())
        improved = torch.softmax(torch.tensor(np.where(legal, score, -np.inf)), -1).numpy()
        return int(np.where(legal, improved - node.visits / (1 + total), -np.inf).argmax())

    def simulate(self, node):
        """Make one simulation from a node; return what it brought the player who moves there."""
        action = self.choose(node)
        if action not in node.children:
            state = node.state.copy()
            self.game.play(state, action)
            child = node.children[action] = Node(self.game, state, self.made)
            value = child.known if child.is_known else self.expand(child)
        else:
            child = node.children[action]
            over = child.is_known and (self.settings.solve or not np.isnan(self.game.outcome(child.state)))
            value = child.known if over else self.simulate(child)
        own = value if child.player == node.player else -value
        own = float(self.game.reward(child.state)) + self.game.discount * own
        node.visits[action] += 1
        node.sums[action] += own
        if self.settings.solve and child.is_known:
            legal = np.flatnonzero(node.prior > 0)
            known = [node.children[a] for a in legal if a in node.children and node.children[a].is_known]
            worth = [each.known if each.player == node.player else -each.known for each in known]
            if len(worth) == len(legal) or max(worth) >= 1.0:
                node.known = own = max(worth)
        return own

    def run(self, simulations):
        for _ in range(simulations):
            if self.settings.solve and self.root.is_known:
                break
            self.simulate(self.root)
        return self
