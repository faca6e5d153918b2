"""From the pydantic models of `whimbrel.api` to structural CRD YAML, linted and drift-checked.

`python -m crdgen` writes, `python -m crdgen --check` compares. Nothing that ships imports it.
"""
