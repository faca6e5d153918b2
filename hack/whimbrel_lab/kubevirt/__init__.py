"""The lab's KubeVirt: virt-api's admission, virt-controller, scheduler, kubelets and virt-handlers in one stand-in.

It talks to the API server as those would, over HTTP and under their names; its rules are `whimbrel.simulation.kubevirt`.
See `standin.py` for the whole, `crds/` for the kinds.
"""
