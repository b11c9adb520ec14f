#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Says which parts of CUDA are here, looked for where the program looks (the folders of VITRAIL_CUDA_PATH, those of the
# system's loader, the toolkit's usual ones), and what each is for. Exit status 1 when one that a package can bring is
# missing; the driver comes with the system.
set -euo pipefail
missing=0

# find_file NAME..: where the first of them is; nothing when none is.
find_file() {
  local name folder
  for name in "$@"; do
    for folder in ${VITRAIL_CUDA_PATH//:/ } /usr/local/cuda/lib64 /usr/lib/x86_64-linux-gnu; do
      [ -e "$folder/$name" ] && echo "$folder/$name" && return
    done
    folder=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | awk -v name="$name" '$1 == name { print $NF; exit }')
    [ -n "$folder" ] && echo "$folder" && return
  done
  return 0
}

# report WHAT NEEDED-FOR FILE..
report() {
  local what=$1 purpose=$2 found
  shift 2
  found=$(find_file "$@")
  printf '%-9s %-54s %s\n' "$what" "$purpose" "${found:-missing}"
  [ -n "$found" ]
}

VITRAIL_CUDA_PATH=${VITRAIL_CUDA_PATH:-}
report driver "to run plans on a GPU, and to tune them" libcuda.so.1 || true
report NVRTC "to build plans for GPUs, on any machine" libnvrtc.so.13 libnvrtc.so.12 || missing=1
report cuBLASLt "to build and run plans that call it (or --no-libraries)" libcublasLt.so.13 libcublasLt.so.12 || missing=1
report cuDNN "to build and run plans that call it (or --no-libraries)" libcudnn.so.9 || missing=1
exit $missing
