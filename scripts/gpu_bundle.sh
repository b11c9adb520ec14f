#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs what a bare GPU machine needs to test and measure this build into one folder: programs, the libraries it may
# lack, golden files, scripts. No weights: they are made there. Usage: scripts/gpu_bundle.sh FOLDER [BUILD]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: scripts/gpu_bundle.sh FOLDER [BUILD]}
build=${2:-build}
programs=("$build/vitrail" "$build/src/kernels/kernels_test" "$build/src/runtime/runtime_test")
for test in conformance runtime; do programs+=("$build/tests/gpu/vitrail_gpu_$test"); done
python=${VITRAIL_PYTHON:-python3}  # with onnx, onnxruntime and pytest: for the model with branches and loops
mkdir -p "$folder/bin" "$folder/lib" "$folder/tests/golden" "$folder/tests/python"
for program in "${programs[@]}"; do
  [ -x "$program" ] || { echo "gpu_bundle: $program is missing: build first" >&2; exit 1; }
  strip -o "$folder/bin/$(basename "$program")" "$program"
  # The C and C++ runtimes are the machine's own: a newer one runs older programs.
  ldd "$program" | awk '$3 ~ /^\// {print $3}' | grep -vE '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so' |
    xargs -r -I{} cp -Lu {} "$folder/lib/"
done
cp -u tests/golden/* "$folder/tests/golden/"
cp -u tests/python/golden.py tests/python/vitrail_weights.py "$folder/tests/python/"
cp -u bench/gpu/{run_all,checks,host,runtime,traces,tuning}.py "$folder/"
mkdir -p "$folder/bench/gpu"
cp -u bench/gpu/torch_peers.py "$folder/bench/gpu/"
cp -ru tests/python/twins "$folder/tests/python/"
PYTHONPATH=tests/python "$python" -c "
import sys, onnx, test_control_flow
onnx.save(test_control_flow.model(), sys.argv[1])" "$folder/control.onnx"
megabytes=$(du -sm "$folder" | cut -f1)
[ "$megabytes" -le 60 ] || { echo "gpu_bundle: $megabytes MB, more than 60" >&2; exit 1; }
echo "$folder: $megabytes MB"
