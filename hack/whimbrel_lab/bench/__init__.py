"""`python -m whimbrel_lab.bench`: the figures that say whether Whimbrel stays light – now, before, and what was aimed at.

How each is measured: docs/reference/figures.md.
"""
