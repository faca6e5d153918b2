"""KubeVirt's own definitions, which are not ours to bring along: WHIMBREL_KUBEVIRT_CRDS names a folder that holds them.

One file for each release, `vX.Y.Z.yaml`.
"""

import os
from pathlib import Path
from typing import Any

import yaml

RELEASES = ("v1.3.1", "v1.4.1", "v1.5.3", "v1.6.6", "v1.7.4", "v1.8.4", "v1.9.0")


def definitions_of(release: str) -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of one release."""
    text = (Path(os.environ["WHIMBREL_KUBEVIRT_CRDS"]) / f"{release}.yaml").read_text()
    return [each for each in yaml.safe_load_all(text) if each]
