"""Draw GoogLeNet for README, wide and tall, and store it in notebooks/pictures/, when `gu.draw_googlenet` changed.

usage: python tools/draw_pictures.py
"""
import io
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import googlenet_utils as gu  # noqa: E402

for name, tall in (("googlenet", False), ("googlenet_tall", True)):
    fig, _ = gu.draw_googlenet(gu.GoogLeNet(aux=True), tall=tall)
    content = io.BytesIO()
    fig.savefig(content, dpi=200, facecolor="white")        # twice the pixels that README shows: letters are sharp
    path = ROOT / "notebooks" / "pictures" / f"{name}.png"
    Image.open(content).convert("RGB").quantize(128).save(path, optimize=True)              # half the bytes
    print("written:", path.relative_to(ROOT).as_posix())
