"""Every fault of tests/planted_faults.py can still be planted: the text that it changes is there, once. None is run."""
import shutil

import pytest

from planted_faults import FAULTS, ROOT


@pytest.mark.parametrize(("path", "plant"), [fault[2] for fault in FAULTS], ids=[fault[1] for fault in FAULTS])
def test_a_fault_can_be_planted(path, plant, folder):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / path, folder / path)
    plant(folder)
    assert (folder / path).read_bytes() != (ROOT / path).read_bytes()
