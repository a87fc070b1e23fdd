#!/usr/bin/env bash
# The shared library exports the functions that exports.txt lists, the public header declares the same,
# and there is nothing else in either.
#
# usage: exported_symbols.sh LIBRARY HEADER EXPORTS [PREFIX]
set -euo pipefail
export LC_ALL=C

library=$1 header=$2 exports=$3 prefix=${4:-}

listed=$(sort "$exports")
declared=$(sed -n '/^ARENA_EXPORT /s/^[^(]*[ *]\(arena_[a-z0-9_]*\)(.*/\1/p' "$header" | sort)
defined=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sed "s/^$prefix//" | sort)

status=0
diff <(echo "$listed") <(echo "$declared") || { echo "^ exports.txt < > declared in arena.h"; status=1; }
diff <(echo "$listed") <(echo "$defined") || { echo "^ exports.txt < > exported by the library"; status=1; }
exit $status
