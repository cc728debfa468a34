"""`python -m lca_sweep`."""

from lca_sweep.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
