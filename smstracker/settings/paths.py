"""Where this installation is."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
ENV_FILE = ROOT / ".env"
