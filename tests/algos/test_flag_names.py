"""Fields of an algorithm and options of an environment are flags of one command line, so no name may be both."""

import dataclasses

import pytest

from cumulant import catalogue
from cumulant.envs import lookup


@pytest.mark.parametrize("algo", sorted(name for name, a in catalogue.algorithms().items() if not a.is_text))
def test_no_field_is_an_option_of_an_environment(algo):
    fields = {field.name for field in dataclasses.fields(catalogue.load_algorithm(algo).Config)}
    for env in lookup.listing():
        both = fields & {field.name for field in dataclasses.fields(lookup.options_class(env))}
        assert not both, f"{algo} and {env} both have {', '.join(both)}"
