"""Where the API server is and who we are to it: in-cluster service account or kubeconfig, for KubeApi and for Kopf.

Wraps `kubernetes.aio`'s configuration, which re-reads tokens and runs exec plug-ins.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.aio import config as client_config
from kubernetes.aio.client.configuration import Configuration

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NotConfigured(Exception):
    """There is no way to reach a cluster; the message says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Configuration of the client, and the namespace that the surroundings suggest for our Lease (or empty)."""

    configuration: Any
    namespace: str

    async def bearer_token(self) -> str:
        """The token of this moment, refreshed where it must be; empty where certificates or nothing are used."""
        header = await self.configuration.get_api_key_with_prefix("BearerToken")
        return str(header).split(" ", 1)[-1].strip() if header else ""


async def connect(kubeconfig: str | None = None, context: str | None = None) -> Connection:
    """Finds the cluster: the kubeconfig that was named, else the service account, else the usual kubeconfig."""
    configuration = Configuration()
    if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        try:
            client_config.load_incluster_config(client_configuration=configuration)
        except client_config.ConfigException as error:
            raise NotConfigured(
                f"The service account of this pod cannot be used: {error}. Mount its token "
                "(automountServiceAccountToken: true) or pass --kubeconfig."
            ) from error
        return Connection(configuration, _in_cluster_namespace())
    path = kubeconfig or client_config.KUBE_CONFIG_DEFAULT_LOCATION
    try:
        await client_config.load_kube_config(path, context=context, client_configuration=configuration)
        contexts, active = client_config.list_kube_config_contexts(path)
    except (client_config.ConfigException, OSError) as error:
        raise NotConfigured(
            f"No cluster to talk to: kubeconfig {path}{f' with context {context}' if context else ''} "
            f"cannot be used ({error}). Pass --kubeconfig and --context, or run in a pod."
        ) from error
    chosen = next((entry for entry in contexts if entry["name"] == context), active)
    return Connection(configuration, str((chosen.get("context") or {}).get("namespace") or ""))


def _in_cluster_namespace() -> str:
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="ascii").strip()
    except OSError:
        return ""
