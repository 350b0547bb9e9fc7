# SPDX-License-Identifier: Apache-2.0
"""``python -m boxlite_runtime``, the same as ``boxlite``."""

from boxlite_runtime.cli import main

main()
