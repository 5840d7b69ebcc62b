"""Settings of the test run: the small profile, and what nbval must not compare."""
import os
import sys
from pathlib import Path

os.environ.setdefault("GOOGLENET_PROFILE", "ci")            # the notebooks' kernels inherit it
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("", "benchmarks", "tools")]      # what tests import


def pytest_collectstart(collector):
    # They differ between machines; that notebooks store neither stderr nor SVG is checked in tests/test_notebooks.py.
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr", "image/svg+xml", "application/pdf")
