# SPDX-License-Identifier: Apache-2.0
"""The tests of BoxLite; run ``pytest`` with the folder that is wanted."""
