#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Style checks that need no build: `./dev lint`. With --all also clang-tidy, which reads build/compile_commands.json.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
fail() {
  echo "lint: $1" >&2
  status=1
}
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

# Paths of somebody's machine. The pattern does not match itself.
bad=$(files . | grep -v '^LICENSE$' | xargs grep -nIE '(^|[^a-zA-Z0-9_.}/-])/(root|work|home/[a-z]+)/' || true)
[ -z "$bad" ] || fail "paths of one machine:
$bad"

mapfile -t sources < <(files '*.cc' '*.h' '*.inc' '*.cu' '*.cuh')
mapfile -t scripts < <(files dev .ci/run '*.sh')
mapfile -t python < <(files '*.py')

for f in "${sources[@]}" "${python[@]}"; do
  lines=$(wc -l <"$f")
  [ "$lines" -le 600 ] || fail "$f has $lines lines; a file over 600 wants to be two"
done
for f in "${sources[@]}"; do
  case $f in *.inc) continue ;; esac
  head -n 1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || fail "$f: the first line is no SPDX line"
done
bad=$(grep -nE '\b(TODO|FIXME|XXX)\b' "${sources[@]}" "${python[@]}" "${scripts[@]}" | grep -v '^scripts/lint.sh:' || true)
[ -z "$bad" ] || fail "unfinished marks:
$bad"
for f in "${scripts[@]}"; do
  bash -n "$f" || fail "$f does not parse"
done

if [ -x .venv/bin/clang-format ]; then
  mapfile -t cpp < <(files '*.cc' '*.h')
  .venv/bin/clang-format --dry-run -Werror "${cpp[@]}" 2>/dev/null ||
    fail "C++ format (run: git ls-files '*.cc' '*.h' | xargs .venv/bin/clang-format -i)"
else
  fail ".venv/bin/clang-format is missing (run: ./dev setup)"
fi
if [ -x .venv/bin/ruff ]; then
  .venv/bin/ruff check -q "${python[@]}" || fail "ruff check (many are mended by .venv/bin/ruff check --fix)"
  .venv/bin/ruff format -q --check "${python[@]}" || fail "Python format (run: .venv/bin/ruff format .)"
else
  fail ".venv/bin/ruff is missing (run: ./dev setup)"
fi

if [ "${1:-}" = --all ]; then
  if ! command -v run-clang-tidy >/dev/null; then
    fail "clang-tidy is missing (run: apt-get install clang-tidy)"
  elif [ ! -f build/compile_commands.json ]; then
    fail "build/compile_commands.json is missing (run: ./dev build)"
  else
    run-clang-tidy -quiet -extra-arg=-Wno-unknown-warning-option -p build -j "$(nproc)" "^$PWD/(src|zoo|tools)/.*\.cc$" >build/clang-tidy.log 2>/dev/null ||
      fail "clang-tidy:
$(grep -E '(warning|error):' build/clang-tidy.log | sort -u | head -50)"
  fi
fi
[ $status = 0 ] && echo "lint: ${#sources[@]} sources, ${#python[@]} Python files, ${#scripts[@]} scripts are clean"
exit $status
