#!/usr/bin/env bash
# rustc 1.95 (LLVM 22.1), llvm-profdata 22.1.8: a profile of `-C profile-generate` that is written all the time (`%c` in the
# name of LLVM_PROFILE_FILE, with `-C llvm-args=-runtime-counter-relocation`, which that wants on Linux) cannot be read as soon as
# the program calls through one pointer: "truncated profile data", also when the program has ended in the ordinary way.
# The values that such calls are profiled by are announced in the file and never written. Nothing says so before the
# merge; with `-C llvm-args=-disable-vp`, which gives those values up, the same profile is whole.
#
# Where it matters: who builds an extension profile-guided wants `%c`, since workers of process pools end by _exit(2),
# where a profile is not written. aioxide's training (scripts/training) has them end by exit(3) instead.
#
# Seen:
#   as it comes: error: no profile can be merged
#   without values: merged
#
# It needs rustc with profiler_builtins and the llvm-profdata of its LLVM: LLVM_PROFDATA, or llvm-profdata-22 on Debian.
set -euo pipefail
profdata=${LLVM_PROFDATA:-llvm-profdata-$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')}
command -v "$profdata" >/dev/null || { echo "$profdata is not here"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >program.rs <<'RUST'
fn main() {
    let call: fn(u64) -> u64 = if std::env::args().count() > 1 { |x| x + 1 } else { |x| x * 3 };
    assert!((0..1000).map(call).sum::<u64>() > 0);
}
RUST

merged() { # FLAG...
  rm -rf raw
  rustc -O program.rs -C profile-generate=raw -C llvm-args=-runtime-counter-relocation "$@" -o program
  LLVM_PROFILE_FILE='raw/%p%c.profraw' ./program
  if "$profdata" merge -o merged.profdata raw/*.profraw 2>errors; then echo merged; else grep ^error: errors; fi
}

with=$(merged) without=$(merged -C llvm-args=-disable-vp)
echo "as it comes: $with"
echo "without values: $without"
[ "$with" = 'error: no profile can be merged' ] && [ "$without" = merged ]
