"""Compiled twins: loops that would be too slow in Python, free of torch.

twins.py    the register: what restates which formula of ``maths``
tabular.py  learning a table of action values
"""
