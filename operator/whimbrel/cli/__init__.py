"""The kubectl plugin: `kubectl whimbrel VERB`. One file per verb, listed in `main`.

Reads what the operator wrote and sets one annotation; `hosts` and `assess` read the cluster itself and judge it here. Data
goes to stdout, everything else to stderr.
"""
