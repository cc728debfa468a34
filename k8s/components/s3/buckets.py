"""Makes the buckets that are not there yet; the store and the keys are those of the environment."""

import boto3

BUCKETS = ("lca-sweep", "mlflow")


def main() -> None:
    """Ask for each bucket, and make it if the store does not have it."""
    store = boto3.client("s3")
    there = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
    for name in BUCKETS:
        if name not in there:
            store.create_bucket(Bucket=name)
            print(f"made {name}")


if __name__ == "__main__":
    main()
