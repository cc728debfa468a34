# The MLflow server of a cluster: docs/images.md.
ARG PYTHON=3.11
# To pin it: --build-arg BASE=docker.io/library/python@sha256:...
ARG BASE=docker.io/library/python:${PYTHON}-slim-bookworm

# checkov:skip=CKV_DOCKER_7: BASE has a tag, or a digest
FROM ${BASE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_WARN_SCRIPT_LOCATION=1
WORKDIR /build
COPY pyproject.toml constraints.txt docker/requirements.py ./
# A pip configuration of the building machine (an index with a password, say) is a secret: read here, and in no layer.
# Compiled is all at once, by all cores; unchecked, since what nobody can write does not get older than its source.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/lca; \
    python3 requirements.py server > requirements.txt; \
    python3 -m pip --python /opt/lca/bin/python install -q --no-compile -c constraints.txt -r requirements.txt; \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/lca

# checkov:skip=CKV_DOCKER_7: BASE has a tag, or a digest
FROM ${BASE}
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# tini: PID 1, reaps what the server's workers leave.
# No versions (DL3008): of each Debian keeps one in a release, the one with its security fixes.
# A machine's bits for becoming root (su, mount, ...) are of no use to anybody here.
# hadolint ignore=DL3008
RUN apt-get update -qq; \
    apt-get install -qq --no-install-recommends tini > /dev/null; \
    rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*; \
    groupadd --gid 1000 lca; \
    useradd --uid 1000 --gid 1000 --no-log-init --create-home --shell /bin/bash lca; \
    find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /opt/lca /opt/lca
# Nothing here uses MLflow's jobs (they are for its GenAI evaluations), whose eight processes take 1.3 GB.
ENV PATH=/opt/lca/bin:$PATH \
    DO_NOT_TRACK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER 1000:1000
WORKDIR /home/lca
EXPOSE 5000
ENTRYPOINT ["tini", "--"]
# Where it listens, its database and its passwords are said by who starts it; without them there is no safe server.
CMD ["mlflow", "server", "--help"]
# It answers without a password, whatever host it is asked as.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health', timeout=4)"]
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
ARG LICENSES="Apache-2.0"
LABEL org.opencontainers.image.title="lca-sweep-mlflow" \
      org.opencontainers.image.description="The MLflow server of lca-sweep: passwords, PostgreSQL, S3" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="${LICENSES}"
