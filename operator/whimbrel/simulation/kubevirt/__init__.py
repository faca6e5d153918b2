"""KubeVirt's rules as pure steps over plain JSON values: no clock, no I/O, no randomness.

Each step is handed the objects that the real component would find in its caches and the present time; it returns what
that component would write, as `effects`. Written from KubeVirt 1.9; what earlier releases do otherwise is a row in
`releases.RELEASES`. The lab's stand-in carries the steps out over a Kubernetes API.

One module per rule book:
    admission      what virt-api changes in requests and refuses
    machines       VirtualMachine → VirtualMachineInstance
    instances      an instance and its launcher pods
    migrations     a migration's phases, the target pod's creation, hand-off, abort, ends
    queueing       who may start: limits, priorities, delays, back-off
    policies       which MigrationPolicy applies and what it makes of the cluster's configuration
    budget         KubeVirt's time budget of a migration
    monitor        the launcher's convergence monitor, one look at a time: the way in, and KubeVirt's default one
    stall_detector the one that looks instead where the gate MigrationStallDetection is on; `stall_options`: its options
    convergence    what both are told, see, remember and may do
    traits         what of an instance decides how its migration is driven
    agents         what virt-handler writes on a source or target node
    migratability  why an instance is not live migratable
    launchers      how launcher pods are made
    scheduling     where a pod fits
    eviction       what an eviction of a launcher is answered
    evacuation     what an evacuation request starts
    collection     which ended migrations are collected
"""
