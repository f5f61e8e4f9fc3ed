"""Every formula of the library, once: pure functions of tensors.

Nothing in here reads a file, draws a random number or keeps state, and nothing is averaged: losses are elementwise,
the caller reduces and names the denominator (``masked`` does that).

What do I want?

- Turn rewards and values into targets and advantages over time: ``returns`` (discounted, n-step, lambda, GAE).
- Fit a value: ``value`` (Q-learning, double-Q, SARSA and expected-SARSA targets; Huber, squared and clipped losses).
- Fit a distribution of returns: ``distributional`` (categorical projection, quantile targets and losses).
- Improve a policy: ``policy`` (policy gradient, clipped surrogate, entropies, Gaussian log-probabilities).
- Pay for randomness: ``soft`` (tanh-squashed Gaussian, soft targets, policy and temperature losses of SAC).
- Keep to a limit: ``constraint`` (dual ascent on the price of cost, the priced objective).
- Stay near another policy: ``kl`` (exact divergences, estimates to report, the loss with the right gradient,
  the adaptive coefficient).
- Learn from comparisons: ``preference`` (Bradley-Terry with shares, margins and ties; DPO, IPO, the implicit reward).
- Reduce over padded sequences: ``masked`` (sum, mean, whitening with an explicit denominator).
- Act on values: ``exploration`` (epsilon-greedy, Boltzmann, UCB; as probabilities).
- Change a number over a run: ``schedules`` (constant, linear, exponential, cosine with warm-up, piecewise).
- Refuse arguments that do not fit together: ``shapes``, ``ranges``.
"""
