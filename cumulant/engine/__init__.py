"""Moves data between environments and learners; contains no learning rule.

vector.py    any environment -> a batch of it, every episode addressed by (seed, environment, episode)
goals.py     outcomes judged by goals
masks.py     masks of allowed actions, into observations
collect.py   a rollout under a policy
policy.py    Policy: act, save, load
generate.py  completions of prompts by a language model
evaluate.py  episodes under a policy, with intervals; periodic evaluation that keeps the best
"""
