#!/bin/sh
# Tests fetch_corpora.sh against a file server on this machine; needs no network. Usage: scripts/test_fetch_corpora.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

fail() { printf 'FAILED: %s\n' "$1" >&2; cat "$work/log" >&2; exit 1; }

# A mirror with one good file, one that is not what its name says, and nothing else.
mkdir -p "$work/mirror/tinystories-v2-valid" "$work/mirror/tinyshakespeare"
good="$work/mirror/tinystories-v2-valid/TinyStoriesV2-GPT4-valid.txt"
i=0
while [ $i -lt 2000 ]; do printf 'Once upon a time there was line %d.\n' $i; i=$((i + 1)); done >"$good"
printf 'This is not Shakespeare.\n' >"$work/mirror/tinyshakespeare/input.txt"

# Python's file server, taught to answer range requests so that resuming can be seen.
cat >"$work/server.py" <<'PY'
import http.server, os, sys

class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        start, path = self.headers.get("Range", ""), self.translate_path(self.path)
        if not start.startswith("bytes=") or not os.path.isfile(path):
            return super().do_GET()
        first, data = int(start[6:].split("-")[0]), open(path, "rb").read()
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        self.wfile.write(data[first:])

os.chdir(sys.argv[1])
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[2], "w") as port:
    print(server.server_port, file=port, flush=True)
server.serve_forever()
PY
python3 "$work/server.py" "$work/mirror" "$work/port" 2>/dev/null &
server=$!
tries=0
while [ ! -s "$work/port" ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "FAILED: the file server did not start" >&2; exit 1; }
    sleep 0.1
done
mirror="http://127.0.0.1:$(cat "$work/port")"

run() { sh "$here/fetch_corpora.sh" --out "$work/out" --mirror "$mirror" "$@" >"$work/log" 2>&1; }
says() { grep -q -e "$1" "$work/log" || fail "expected the message '$1'"; }

got="$work/out/tinystories-v2-valid/TinyStoriesV2-GPT4-valid.txt"
run tinystories-v2-valid || fail "a good file is fetched"
cmp -s "$got" "$good" || fail "the fetched file has the bytes of the mirror"
says 'NOT verified'
[ -s "$got.sha256" ] || fail "the checksum of a first download is recorded"
[ ! -e "$got.part" ] || fail "no part is left behind"
echo "ok: a good file is fetched and its checksum recorded"

run tinystories-v2-valid || fail "a second run succeeds"
says 'is there, SHA-256 verified'
echo "ok: a second run verifies and fetches nothing"

rm "$got"
head -c 30000 "$good" >"$got.part"
run tinystories-v2-valid || fail "a download is resumed"
says 'resuming after 30000 bytes'
says 'v2-valid: SHA-256 verified'
cmp -s "$got" "$good" || fail "the resumed file has the bytes of the mirror"
echo "ok: a download that stopped is resumed"

printf 'tampered\n' >>"$got"
run tinystories-v2-valid && fail "a changed file is refused"
says 'expected'
rm "$got"
cp "$good" "$work/saved"
printf 'tampered\n' >>"$good"
run tinystories-v2-valid && fail "a changed download is refused"
says 'the download was deleted'
[ ! -e "$got" ] && [ ! -e "$got.part" ] || fail "nothing is left of a changed download"
cp "$work/saved" "$good"
echo "ok: a file that differs from the recorded checksum is refused"

run tinyshakespeare && fail "a corrupted file is refused"
says 'expected 86c4e6aa'
[ ! -e "$work/out/tinyshakespeare/input.txt" ] || fail "a corrupted file is not put in place"
echo "ok: a corrupted file is refused"

run wikitext-2 && fail "a missing file is an error"
says 'error: .*wikitext-2-raw-v1.zip cannot be downloaded'
says 'hint: '
run nonsense && fail "an unknown name is an error"
says "no corpus is named 'nonsense'"
run --out && fail "a flag without value is an error"
run --list || fail "--list works"
says 'wikitext-103'
run --help || fail "--help works"
says 'usage: '
echo "ok: a missing file, an unknown name and a missing value give clear errors"
