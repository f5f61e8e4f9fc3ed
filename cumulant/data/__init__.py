"""Batches of experience.

batch.py    a rollout: what happened in B environments over T steps
"""
