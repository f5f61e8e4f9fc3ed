"""The audit: train on a reward, on parts of it, and on what really matters; then see whether the reward was hacked.

plan.py       what is made, and which algorithm makes it
jobs.py       one piece of work after the other: a training, or episodes of a policy, written into the audit's directory
playing.py    episodes of a policy, counted under every reward at once
measures.py   what was played, over the seeds
signs.py      thresholds, the last steps, the point where return and outcome part, the episode that shows the trick
verdict.py    the rule: hacked, honest or unclear
carry_out.py  all of it in order, resumable
models.py     the same page and the same rule for aligned language models

An audit's directory:

AUDIT/audit.json                what is made, with which settings; when it is finished, every figure and the verdict
AUDIT/reward/seed_0/ ...        ordinary runs: trained on the reward
AUDIT/outcome/, without_TERM/   trained on what really matters, and on the reward without a term
AUDIT/random/, constant/        played, not trained
AUDIT/report.html               all of it to look at
"""
