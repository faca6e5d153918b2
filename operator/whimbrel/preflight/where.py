"""Where to see for oneself what a reason says: commands for the reference page. Words in capitals are to be filled in.

A reason without one of these can say it in words of its own.
"""

MAY_READ = (
    "Let whoever asks get, list and watch {needed}: a person (kubectl whimbrel assess and hosts read with the rights of who "
    "calls them) by a role that an administrator binds to them, the operator by the ClusterRole of its chart."
)
"""What to do where something may not be read, whoever it is that may not."""
INSTANCE = "kubectl get vmi NAME -n NAMESPACE -o yaml"
OWNER = "kubectl get vm,vmi NAME -n NAMESPACE -o yaml"
NODE = "kubectl get node NODE -o yaml"
SOURCE_NODE = "kubectl get node $(kubectl get vmi NAME -n NAMESPACE -o jsonpath={.status.nodeName}) -o yaml"
PROFILES = "kubectl get hostprofiles -o yaml; the status of each lists the nodes that it applies to"
PLAN = "kubectl get migrationplan PLAN -n NAMESPACE -o yaml"
ROOM = "kubectl describe node NODE; see Allocatable and Allocated resources"
CLAIMS = "kubectl get pvc -n NAMESPACE -o wide"
VOLUME = "kubectl get pv VOLUME -o yaml"
CSI_NODE = "kubectl get csinode NODE -o yaml"
RIGHTS = "kubectl auth can-i list RESOURCE -A; of the operator with --as=system:serviceaccount:NAMESPACE:whimbrel"
MIGRATIONS = "kubectl get vmim -n NAMESPACE; kubectl get vmi NAME -n NAMESPACE -o yaml"
LAUNCHERS = "kubectl get pods -n NAMESPACE -l vm.kubevirt.io/name=NAME -o wide"
NOMINATED = "kubectl get pods -A -o wide; see NOMINATED NODE, and spec.priority of that pod and of the launcher"
MIGRATION_SCHEMA = "kubectl explain vmim.spec; kubectl get nodes,hostprofiles"
KUBEVIRT = "kubectl get kubevirt -A -o yaml"
MOVES = "kubectl get vmove -A; finished ones show which paths have worked"
NAMESPACE_LIMITS = "kubectl describe resourcequota,limitrange -n NAMESPACE"
NETWORKS = "kubectl get network-attachment-definitions -A"
NEIGHBOURS = "kubectl get pods -A --field-selector spec.nodeName=NODE --show-labels; spec.affinity of the launcher pod"
"""Rules between pods."""
