"""A real Kubernetes control plane of processes of its own: etcd, kube-apiserver, kube-scheduler, kube-controller-manager.

`binaries` finds the programs, `build` makes those that are missing, `server` runs them, `plane` is one lab's use of them.
"""
