"""Files that hold fitted models."""

from skmtl._files._save import load as load
from skmtl._files._save import save as save
