"""The running operator: wiring, the loop that decides, the executor that writes, the guard, health, the Kopf feed.

Thin on purpose: what is decided comes from `engine`, what is known from `kube`. Started by `python -m whimbrel`.
"""
