#!/bin/sh
# Prints Secrets with fresh random passwords, for kubectl apply -f -. Run it once: a database keeps the passwords that
# it was made with, so that a second set would lock everybody out.
#   k8s/secrets.example/make.sh | kubectl apply -f -
#   k8s/secrets.example/make.sh db.example.org:5432 > secrets.yaml    where PostgreSQL is elsewhere; edit, then apply
set -eu
database=${1:-postgres:5432}

word() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

secret() {
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: lca-sweep}\nstringData:\n' "$1"
}

entry() {
  printf '  %s: "%s"\n' "$1" "$2"
}

mlflow_auth=$(word)
access_key=$(word)
secret_key=$(word)
redis=$(word)

secret ray-token
entry auth_token "$(word)"

secret postgres
entry postgres "$(word)"
entry optuna "$(word)"
entry mlflow "$(word)"
entry mlflow_auth "$mlflow_auth"

secret mlflow
entry username admin
entry password "$(word)"
entry flask_secret_key "$(word)"
printf '  basic_auth.ini: |\n'
printf '    [mlflow]\n    default_permission = NO_PERMISSIONS\n'
printf '    database_uri = postgresql+psycopg://mlflow_auth:%s@%s/mlflow_auth\n' "$mlflow_auth" "$database"

secret s3
entry access_key "$access_key"
entry secret_key "$secret_key"
printf '  seaweedfs.json: |\n'
printf '    {"identities": [{"name": "lca-sweep", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],\n' \
  "$access_key" "$secret_key"
printf '      "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}\n'

secret redis
entry password "$redis"
printf '  redis.conf: |\n    requirepass %s\n    appendonly yes\n    dir /data\n' "$redis"
