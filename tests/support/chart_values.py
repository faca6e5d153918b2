"""Sets of values to render the chart with; together they change every value of values.yaml."""

from typing import Any

VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": {
        "replicaCount": 3,
        "image": {"repository": "registry.example.com/whimbrel", "tag": "0.1.1", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "kubevirtNamespace": "virtualization",
        "serviceAccount": {"name": "mover", "annotations": {"example.com/team": "platform"}},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "monitoring"},
            "severity": "info",
            "compareWith": "1h",
        },
        "prometheus": {
            "url": "https://prometheus.monitoring.svc:9090",
            "caConfigMap": {"name": "monitoring-ca", "key": "service-ca.crt"},
            "tokenSecret": {"name": "monitoring-reader", "key": "bearer"},
        },
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "terminationGracePeriodSeconds": 60,
        "podAnnotations": {"example.com/scrape": "yes"},
        "podLabels": {"example.com/team": "platform"},
        "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "rack", "operator": "In", "values": ["r1"]}]}]
                }
            }
        },
        "priorityClassName": "system-cluster-critical",
    },
    "least": {
        "image": {"digest": f"sha256:{'0' * 64}"},
        "crds": {"install": False},
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "provided"},
        "podDisruptionBudget": {"enabled": False},
    },
}
