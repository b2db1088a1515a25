#!/usr/bin/env bash
# Other projects' own test suites, with and without portpool, compared test by test; --help tells all.
set -euo pipefail
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/compare.py" "$@"
