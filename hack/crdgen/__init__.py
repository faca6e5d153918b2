"""From the pydantic models of `whimbrel.api` to structural CRD YAML, linted and drift-checked."""
