"""Whimbrel: live migration for KubeVirt with a plan, a quote and a receipt.

The rooms and who may enter which are listed in pyproject.toml; docs/adr tells why.
"""

__version__ = "0.1.0"
