#!/bin/sh
# Compares training speed with a PyTorch peer on this machine: both run in turn, several rounds, since absolute
# figures drift with the machine and only the ratio of medians means something. Prints a Markdown table.
#
#   cargo build --release
#   scripts/bench_train.sh --peer torch_train.py --text input.txt
#
# The peer is a script that takes --preset, --modes, --steps and --text, and prints one JSON line
# with `mode`, `tokens_per_s`, `ms_per_step` and `peak_rss_mib` for each mode.
set -eu

usage() {
    cat <<'END'
usage: bench_train.sh --peer SCRIPT --text FILE [options] [-- ARGS...]

  --peer SCRIPT      PyTorch script to compare with
  --text FILE        text the peer trains on
  --presets LIST     comma-separated (default: small,baby)
  --precisions LIST  comma-separated precisions of ours (default: f32,bf16)
  --modes LIST       comma-separated modes of the peer (default: f32,bf16)
  --rounds N         runs of each (default: 3)
  --steps N          steps the peer measures (default: 20)
  --llm PATH         our binary (default: target/release/llm)
  --python PATH      Python with torch (default: python3)
  ARGS               passed on to `llm bench train`
END
}

die() {
    echo "bench_train.sh: $1" >&2
    exit 2
}

root=$(dirname "$0")/..
peer='' text='' presets=small,baby precisions=f32,bf16 modes=f32,bf16 rounds=3 steps=20
llm=$root/target/release/llm python=python3
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --) shift; break ;;
        --peer | --text | --presets | --precisions | --modes | --rounds | --steps | --llm | --python)
            [ $# -ge 2 ] || die "$1 needs a value"
            name=${1#--}
            eval "$name=\$2"
            shift 2
            ;;
        *) usage >&2; die "unknown argument $1" ;;
    esac
done
[ -f "$peer" ] || die "no peer script at '$peer'; hint: --peer PATH"
[ -f "$text" ] || die "no text at '$text'; hint: --text FILE"
[ -x "$llm" ] || die "no binary at '$llm'; hint: cargo build --release, or --llm PATH"

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
trap 'exit 130' INT TERM

split() { echo "$1" | tr ',' ' '; }

round=1
while [ "$round" -le "$rounds" ]; do
    for preset in $(split "$presets"); do
        for precision in $(split "$precisions"); do
            echo "round $round of $rounds, $preset: llm, $precision" >&2
            "$llm" bench train --preset "$preset" --precision "$precision" "$@" >>"$lines"
        done
        # One process a mode, because peak memory is that of the whole process.
        for mode in $(split "$modes"); do
            echo "round $round of $rounds, $preset: peer, $mode" >&2
            "$python" "$peer" --preset "$preset" --modes "$mode" --steps "$steps" --text "$text" >>"$lines"
        done
    done
    round=$((round + 1))
done

"$python" - "$lines" <<'END'
import json, statistics, sys

runs = {}  # (preset, who): list of results
for line in open(sys.argv[1]):
    r = json.loads(line)
    who = f"peer {r['mode']}" if "peer" in r else f"llm {r['precision']}"
    runs.setdefault((r["preset"], who), []).append(r)

precisions = sorted({who.split()[1] for _, who in runs if who.startswith("llm")}, reverse=True)


def median(key, field):
    return statistics.median(r[field] for r in runs[key])


def utilization(key):
    """Of the matrix-multiply peak that `llm` measures for the number type."""
    return f"{median(key, 'utilization'):.0%}" if "utilization" in runs[key][0] else "–"


print("| preset | program | tokens/s | lowest–highest | ms/step | of peak | peak MiB |"
      + "".join(f" llm {p} : this |" for p in precisions))
print("|---|---|---:|---:|---:|---:|---:|" + "---:|" * len(precisions))
for key in sorted(runs):
    speeds = [r["tokens_per_s"] for r in runs[key]]
    ratios = [median((key[0], f"llm {p}"), "tokens_per_s") / median(key, "tokens_per_s") for p in precisions]
    print(f"| {key[0]} | {key[1]} | {median(key, 'tokens_per_s'):,.0f} | {min(speeds):,.0f}–{max(speeds):,.0f} "
          f"| {median(key, 'ms_per_step'):,.1f} | {utilization(key)} | {median(key, 'peak_rss_mib'):,.0f} |"
          + "".join(f" {ratio:.2f} |" for ratio in ratios))
END
