import subprocess
import sys

import pytest

AFTER = "import gc; from cumulant import catalogue; catalogue.load_algorithm('ppo'); print(gc.get_freeze_count(), gc.isenabled())"
OURS = "import cumulant.cli.main"


@pytest.mark.parametrize(("before", "frozen"), [(OURS, True), (f"{OURS}; import torch", False), ("pass", False)])
def test_objects_of_a_first_import_of_torch_are_not_searched_for_garbage_on_the_command_line(before, frozen):
    done = subprocess.run([sys.executable, "-c", f"{before}; {AFTER}"], capture_output=True, text=True, check=True)
    count, searching = done.stdout.split()
    assert searching == "True"
    assert (int(count) > 100_000) == frozen, count  # what a process with torch holds is its own business


def test_searching_goes_on_after_an_import_that_failed() -> None:
    script = (
        "import gc\nfrom cumulant.loading import unsearched\n"
        "try:\n    with unsearched(): import no_such_module\nexcept ImportError: print(gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
