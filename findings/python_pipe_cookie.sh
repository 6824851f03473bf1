#!/usr/bin/env bash
# A program that says how it is encoded (PEP 263) cannot be run by CPython from a pipe, unless it says utf-8.
#
# Seen with: CPython 3.11.7, 3.12.1, 3.13.0, 3.14.10, 3.15.2, on Linux.
# Input:     printf '# coding: latin-1\nprint(1)\n', valid by PEP 263. From a file, also as standard input, it prints 1.
# Behaviour: `... | python -`, `... | python` and `python <(...)` end with status 1. The reader of files opens the text anew
#            with the codec that it has found, and seeks back to the start to do so, which a pipe cannot do.
# Output:    SyntaxError: encoding problem: iso-8859-1        up to 3.13
#            OSError: [Errno 29] Illegal seek                 on 3.14 and 3.15
# Aioxide:   `python -m aioxide -` reads a pipe to its end first, and runs it (tests/package/test_main_input.py).
set -uo pipefail
python=${PYTHON:-python3}
program='# coding: latin-1\nprint(1)\n'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" --version
printf "$program" >"$folder/program.py"
[ "$("$python" "$folder/program.py")" = 1 ] && [ "$("$python" - <"$folder/program.py")" = 1 ] || { echo 'a file does not run'; exit 1; }
echo 'from a file, and from a file as standard input: 1'
said=$(printf "$program" | "$python" - 2>&1) && { echo "changed: a pipe runs, too: $said"; exit 1; }
echo "from a pipe: $said"
grep -qE 'encoding problem: iso-8859-1|Illegal seek' <<<"$said" || { echo 'changed: another error'; exit 1; }
[ "$(printf '# coding: utf-8\nprint(1)\n' | "$python" -)" = 1 ] || { echo 'changed: utf-8 does not run either'; exit 1; }
echo 'from a pipe, with utf-8: 1'
