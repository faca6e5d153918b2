"""The kubectl plugin: `kubectl whimbrel quote | receipt | approve | version`. One file per verb, listed in `main`.

Reads what the operator wrote and sets one annotation. Data goes to stdout, everything else to stderr.
"""
