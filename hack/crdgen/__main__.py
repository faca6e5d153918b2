"""`python -m crdgen` writes the CRDs; `--check` tells where the files differ from the models."""

import argparse
import difflib
import sys
from pathlib import Path

from crdgen.document import HEADER, as_yaml, custom_resource_definition, definition_of
from crdgen.lint import findings
from crdgen.schema import CannotBeStructural
from whimbrel.api import KINDS

ROOT = Path(__file__).resolve().parents[2]
PLAIN = Path("crds")
CHART = Path("charts/whimbrel/files/crds")
ANNOTATIONS = {"helm.sh/resource-policy": "keep"}
"""Helm must never delete the CRDs: that would delete every plan with them. It asks the object in the cluster, which may have
been replaced from the plain files meanwhile; so they say it too."""


def expected_files() -> dict[Path, str]:
    """Every generated file by its path below the root. Raises ValueError with all findings of the linter."""
    files: dict[Path, str] = {}
    wrong: list[str] = []
    for model in KINDS:
        name = f"{definition_of(model).plural}.yaml"
        document = custom_resource_definition(model, ANNOTATIONS)
        wrong += findings(document)
        files[PLAIN / name] = files[CHART / name] = as_yaml(document)
    if wrong:
        raise ValueError("\n".join(wrong))
    return files


def leftovers(root: Path, files: dict[Path, str]) -> list[Path]:
    """Files that were generated once and belong to no kind any more."""
    present = [path for folder in (PLAIN, CHART) for path in sorted((root / folder).glob("*.yaml"))]
    return [
        path.relative_to(root)
        for path in present
        if path.relative_to(root) not in files and path.read_text().startswith(HEADER)
    ]


def drift(root: Path, files: dict[Path, str]) -> list[str]:
    """Where the tree differs from the models, as unified diffs and lines about leftovers."""
    out: list[str] = [f"{path} belongs to no kind any more" for path in leftovers(root, files)]
    for path, text in files.items():
        current = (root / path).read_text() if (root / path).exists() else ""
        if current != text:
            difference = difflib.unified_diff(
                current.splitlines(),
                text.splitlines(),
                f"{path} (in the tree)",
                f"{path} (by the models)",
                "",
                "",
                2,
                "",
            )
            out.append("\n".join(difference))
    return out


def write(root: Path, files: dict[Path, str]) -> None:
    """Makes the tree agree with the models."""
    for path in leftovers(root, files):
        (root / path).unlink()
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done, or no drift. 1: drift, or models that make no good CRD."""
    parser = argparse.ArgumentParser(prog="crdgen", description="CRDs from the models in operator/whimbrel/api.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where something differs")
    options = parser.parse_args(arguments)
    try:
        files = expected_files()
    except (CannotBeStructural, ValueError) as problem:
        print(f"crdgen: the models make no good CRD:\n{problem}", file=sys.stderr)
        return 1
    if not options.check:
        write(ROOT, files)
        print(f"crdgen: {len(files)} files written")
        return 0
    if differences := drift(ROOT, files):
        print("\n".join(differences))
        print("crdgen: generated files differ from the models; run `make generate` and commit.", file=sys.stderr)
        return 1
    print(f"crdgen: {len(files)} files agree with the models")
    return 0


if __name__ == "__main__":
    sys.exit(main())
