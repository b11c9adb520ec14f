#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An object compiled for AVX2 or AVX-512 must define no weak symbol: the linker keeps one copy of an
# inline function, and if it is this one, code for older processors calls instructions they lack.
set -eu
bad=$(nm -C --defined-only "$@" | grep -E '^[0-9a-f]+ [WVu] ' | grep -v 'DW.ref\|__asan\|__odr_asan' || true)
if [ -n "$bad" ]; then
  echo "weak symbols in ISA objects (put them in an anonymous namespace, or avoid the library function):"
  echo "$bad"
  exit 1
fi
