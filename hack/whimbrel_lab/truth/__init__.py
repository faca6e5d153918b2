"""`python -m whimbrel_lab.truth`: forecasts held against live migrations of real QEMU guests.

`scenes` draws migrations at random, `trial` carries one out and notes what KubeVirt would have told beforehand and meanwhile,
`recording` keeps what was seen. Nothing here knows how a forecast is made.
"""
