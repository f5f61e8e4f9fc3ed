"""Torch modules. The parameters of a policy live in one flat float32 vector of which the modules are views.

flat.py           one vector for parameters, one for gradients
mlp.py            multi-layer perceptrons with orthogonal initialisation, plain and residual
conv.py           convolutional networks for images
memory.py         recurrent cells that forget where an episode ends
network.py        what reads observations (trunk) and what is on top of it (towers)
encoder.py        observations of a space -> one vector each
heads.py          action distributions: categorical, Gaussian, several of them at once
squashed.py       continuous actions inside their box: a Gaussian or a point, and the tanh of it
normalisation.py  running statistics of observations and returns
actor_critic.py   a policy and a value function
actor.py          a policy on its own
q_critic.py       several critics of observation and action
q_network.py      values of all actions: scalar or distributional, dueling, noisy
table.py          a table of action values
llama.py          a language model: Llama-style transformer, cache, log-probabilities of tokens
products.py       matrix products for passes written by hand
llama_layer.py    one of its layers, forward and backward by hand
llama_decoder.py  token by token, with a cache of keys and values
lora.py           low-rank adapters: the reference is the model with them off
gguf.py           models in one quantised file, tokenizer included
token_logp.py     log-probabilities of the tokens of a text
causal_lm.py      language models as directories: load, save, other architectures through transformers
build.py          a policy network from its description
"""
