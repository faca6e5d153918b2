"""The release of KubeVirt out of its version, for what differs between releases and no schema tells."""

import re

_RELEASE = re.compile(r"^v?(\d{1,4})\.(\d{1,4})")


def release_of(version: str) -> tuple[int, int] | None:
    """Major and minor number of a version such as `v1.9.0`; None where it is none, as of a build of one's own."""
    found = _RELEASE.match(version)
    return (int(found[1]), int(found[2])) if found is not None else None
