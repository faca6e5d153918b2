"""Models of the world that Whimbrel acts on: a fluid model of links and guests, and KubeVirt's rules as pure steps.

The lab, the benches and the explorations use one KubeVirt: this one. An oracle shares no code with what it judges, so
nothing here imports the rooms that decide; only a driver may, which plays them against the models on a virtual clock.
"""
