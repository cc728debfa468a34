"""What can be wrong with the network policies of k8s/: rendered objects in, complaints out."""

from __future__ import annotations

from collections.abc import Iterator

from manifest_helpers import Object, Pod, addresses, of_kind, pods, settings

COMPONENT = "app.kubernetes.io/component"


def chosen(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector means a pod with these labels."""
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))


def policies(objects: list[Object]) -> Iterator[str]:
    """All that is not allowed is denied, and each policy, and each peer in it, means a pod."""
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if everything not in [item["spec"] for item in of_kind(objects, "NetworkPolicy")]:
        yield "no policy denies all"
    labels = [pod.labels for pod in pods(objects)]
    if not of_kind(objects, "RayJob"):  # with a sweep there is somebody to hand it in
        labels.append({COMPONENT: "submitter"})
    for item in of_kind(objects, "NetworkPolicy"):
        for selector in _meant(item["spec"]):
            if not any(chosen(selector, one) for one in labels):
                yield f"NetworkPolicy {item['metadata']['name']}: {selector} means no pod"


def _meant(policy: Object) -> Iterator[Object]:
    """Each selector of pods in a policy, and each value in it by itself."""
    rules = policy.get("ingress", []) + policy.get("egress", [])
    peers = [peer for rule in rules for peer in rule.get("from", []) + rule.get("to", [])]
    near = [peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer]
    for selector in [policy["podSelector"], *near]:
        yield selector
        for one in selector.get("matchExpressions", []):
            yield from ({"matchLabels": {one["key"]: value}} for value in one["values"])


def reachable(objects: list[Object]) -> Iterator[str]:
    """Whatever address a pod is given, the policies let it go there, and let it in there."""
    all_pods = pods(objects)
    targets = {item["metadata"]["name"]: item for item in of_kind(objects, "Service")}
    for pod in all_pods:
        for host, port in sorted(_goals(pod, objects)):
            if host not in targets:
                continue  # outside, or no Service: `services` tells
            there = [one for one in all_pods if targets[host]["spec"]["selector"].items() <= one.labels.items()]
            if not any(allowed(objects, pod, other, port) for other in there):
                yield f"{pod.where}: may not speak to {host}:{port}"


def _goals(pod: Pod, objects: list[Object]) -> set[tuple[str, int]]:
    found = set()
    for container in pod.containers():
        own = {name: value for name, value in settings(container, objects).items() if not _for_drivers(pod, name)}
        found |= addresses([own, container.get("command", []), container.get("args", [])])
    return found


def _for_drivers(pod: Pod, name: str) -> bool:
    """Workers are given all places, but only the head's drivers go to the study and to MLflow."""
    worker = pod.labels.get("ray.io/node-type") == "worker"
    return worker and name in ("LCA_SWEEP_STUDY", "LCA_SWEEP_TRACKING")


def allowed(objects: list[Object], source: Pod, target: Pod, port: int) -> bool:
    """Whether the policies let one pod speak to another's port."""
    out = _opens(objects, "egress", "to", source, target, port)
    return out and _opens(objects, "ingress", "from", target, source, port)


def _opens(objects: list[Object], way: str, peers: str, here: Pod, other: Pod, port: int) -> bool:
    target = other if way == "egress" else here
    named = {one.get("name") for c in target.containers() for one in c.get("ports", []) if one["containerPort"] == port}
    for item in of_kind(objects, "NetworkPolicy"):
        for rule in item["spec"].get(way, []) if chosen(item["spec"]["podSelector"], here.labels) else ():
            right = "ports" not in rule or {one["port"] for one in rule["ports"]} & {port, *named}
            near = [one for one in rule[peers] if "podSelector" in one and "namespaceSelector" not in one]
            if right and any(chosen(one["podSelector"], other.labels) for one in near):
                return True
    return False
