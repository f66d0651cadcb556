"""One run: a recipe with the stages it starts from.

python study/train.py aesop --size tiny --output runs/one
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
