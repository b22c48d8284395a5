#!/bin/sh
# Runs the tests of the kernels as other CPUs would: without AVX (the portable path) and with AVX2, under QEMU's user-mode
# emulation; then under valgrind, which sees reads of memory that was never written and accesses out of bounds. None of
# this needs such a machine. AVX-512 cannot be emulated by either.
#
#   apt-get install qemu-user valgrind
#   scripts/test_cpus.sh
set -eu
cd "$(dirname "$0")/.."

for tool in qemu-x86_64 valgrind; do
    command -v "$tool" >/dev/null || { echo "test_cpus.sh: no $tool; hint: apt-get install qemu-user valgrind" >&2; exit 2; }
done

# "  Executable tests/parity.rs (target/release/deps/parity-…)"; the unit tests of the loops and those against references.
tests=$(cargo test --release --workspace --no-run 2>&1 | sed -n 's/.*(\(.*deps\/\(llm_kernels\|parity\)-[0-9a-f]*\)).*/\1/p')
for cpu in Nehalem Haswell; do
    for test in $tests; do
        echo "== $cpu: $test"
        qemu-x86_64 -cpu "$cpu" "$test" --quiet --test-threads 1
    done
done
for test in $tests; do
    echo "== valgrind: $test"
    valgrind --quiet --error-exitcode=1 --undef-value-errors=yes "$test" --quiet --test-threads 1
done
