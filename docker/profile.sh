# A login shell (`bash -lc`, which is how KubeRay starts Ray) sets PATH anew.
PATH="/opt/lca/bin:$PATH"
