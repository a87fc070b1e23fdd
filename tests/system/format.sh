#!/usr/bin/env bash
# Every tracked C file is as clang-format would write it.
set -euo pipefail
cd "$(dirname "$0")/../.."

mapfile -t files < <(git ls-files -- '*.c' '*.h' '*.cc')
[ ${#files[@]} -gt 0 ] || { echo "format: git tracks no C file here" >&2; exit 1; }

wrong=()
for file in "${files[@]}"; do
    clang-format --dry-run -Werror "$file" 2>/dev/null || wrong+=("$file")
done
if [ ${#wrong[@]} -gt 0 ]; then
    echo "error: not as clang-format writes it; mend with: clang-format -i ${wrong[*]}"
    exit 1
fi
echo "format: ${#files[@]} files"
