"""A data centre on a laptop: a control plane, a KubeVirt stand-in and hypervisors to prove Whimbrel on."""
