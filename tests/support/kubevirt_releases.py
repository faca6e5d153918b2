"""KubeVirt's own definitions, which are not ours to bring along: WHIMBREL_KUBEVIRT_CRDS names a folder that holds them.

One file for each release, `vX.Y.Z.yaml`.
"""

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml

RELEASES = ("v1.3.1", "v1.4.1", "v1.5.3", "v1.6.6", "v1.7.4", "v1.8.4", "v1.9.0")


def definitions_of(release: str) -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of one release."""
    return copy.deepcopy(_parsed(release))


@cache
def _parsed(release: str) -> list[dict[str, Any]]:
    folder = os.environ.get("WHIMBREL_KUBEVIRT_CRDS")
    assert folder, "WHIMBREL_KUBEVIRT_CRDS must name the folder with the CRDs of KubeVirt's releases, vX.Y.Z.yaml each"
    text = (Path(folder) / f"{release}.yaml").read_text()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # megabytes: the one in C takes a tenth of the time
    return [each for each in yaml.load_all(text, Loader=loader) if each]
