#!/bin/sh
# Fetches well-known public corpora for real training runs.
#
# usage: scripts/fetch_corpora.sh [--out DIR] [--mirror URL] [--list] [NAME…]
#
#   NAME          tinyshakespeare (default) | tinystories | tinystories-valid | tinystories-v2 | tinystories-v2-valid |
#                 wikitext-2 | wikitext-103
#   --out DIR     where the files go (default: corpora; one folder per corpus)
#   --mirror URL  fetch URL/NAME/FILE instead of the public address
#   --list        print names, files, sizes and addresses, fetch nothing
#
# Downloads are written beside their place (FILE.part), resumed where they stopped, checked, and then renamed. A file
# whose SHA-256 is not known here is recorded in FILE.sha256 on its first download and held to that ever after.
# Needs curl and sha256sum (or shasum), and unzip for WikiText. Mind the licence of each corpus.
set -eu

# name | file | SHA-256 or - | size | address | licence
CATALOG='
tinyshakespeare|input.txt|86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed|1.1 MB|https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt|public domain
tinystories-valid|TinyStories-valid.txt|94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4|19 MB|https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/TinyStories-valid.txt|CDLA-Sharing-1.0
tinystories|TinyStories-train.txt|c5cf5e22ff13614e830afbe61a99fbcbe8bcb7dd72252b989fa1117a368d401f|1.9 GB|https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/TinyStories-train.txt|CDLA-Sharing-1.0
tinystories-v2-valid|TinyStoriesV2-GPT4-valid.txt|-|22 MB|https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/TinyStoriesV2-GPT4-valid.txt|CDLA-Sharing-1.0
tinystories-v2|TinyStoriesV2-GPT4-train.txt|-|2.2 GB|https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/TinyStoriesV2-GPT4-train.txt|CDLA-Sharing-1.0
wikitext-2|wikitext-2-raw-v1.zip|ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11|4.7 MB|https://wikitext.smerity.com/wikitext-2-raw-v1.zip|CC BY-SA 3.0
wikitext-103|wikitext-103-raw-v1.zip|91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794|192 MB|https://wikitext.smerity.com/wikitext-103-raw-v1.zip|CC BY-SA 3.0
'

fail() { # MESSAGE [HINT]
    printf 'error: %s\n' "$1" >&2
    if [ -n "${2-}" ]; then printf 'hint: %s\n' "$2" >&2; fi
    exit 1
}

note() { printf '%s\n' "$*" >&2; }

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$1" | cut -d ' ' -f 1; else shasum -a 256 "$1" | cut -d ' ' -f 1; fi
}

entry() { printf '%s' "$CATALOG" | grep "^$1|" || true; }

# The checksum a file must have, or nothing if this is its first download.
expected_sha256() { # PATH CATALOG_VALUE
    if [ "$2" != - ]; then
        printf '%s' "$2"
    elif [ -s "$1.sha256" ]; then
        cut -d ' ' -f 1 "$1.sha256"
    fi
}

get() { # URL PART [CURL OPTIONS]
    get_url=$1 get_part=$2
    shift 2
    curl --fail --location --silent --show-error --retry 3 --connect-timeout 20 "$@" --output "$get_part" "$get_url"
}

# Resumes FILE.part where it stopped, or starts again where the server cannot resume.
download() { # URL PART
    status=0
    if [ -s "$2" ]; then
        note "resuming after $(wc -c <"$2" | tr -d ' ') bytes"
        get "$1" "$2" --continue-at - || status=$?
        case $status in
            22 | 33 | 36)
                note "the server cannot resume this download, starting again"
                rm -f "$2"
                ;;
        esac
    fi
    if [ ! -s "$2" ]; then
        status=0
        get "$1" "$2" || status=$?
    fi
    case $status in
        0) ;;
        22) fail "$1 cannot be downloaded: the server refused it (curl exit code 22)" "check the address, or pass --mirror URL" ;;
        *) fail "$1 cannot be downloaded (curl exit code $status)" "run the same command again to resume, or pass --mirror URL" ;;
    esac
}

fetch() { # NAME
    line=$(entry "$1")
    [ -n "$line" ] || fail "no corpus is named '$1'" "scripts/fetch_corpora.sh --list"
    file=$(printf '%s' "$line" | cut -d '|' -f 2)
    known=$(printf '%s' "$line" | cut -d '|' -f 3)
    url=$(printf '%s' "$line" | cut -d '|' -f 5)
    [ -z "$mirror" ] || url="${mirror%/}/$1/$file"
    mkdir -p "$out/$1" || fail "the folder $out/$1 cannot be made"
    path="$out/$1/$file"
    want=$(expected_sha256 "$path" "$known")

    if [ -s "$path" ] && [ -n "$want" ]; then
        have=$(sha256 "$path")
        [ "$have" = "$want" ] || fail "$path has SHA-256 $have, expected $want" "delete it and run the same command again"
        note "$1: $path is there, SHA-256 verified"
    else
        # A file without any checksum is not trusted: it may be half of a copy.
        note "$1: fetching $url"
        # A part that is already whole needs no download.
        if [ -z "$want" ] || [ ! -s "$path.part" ] || [ "$(sha256 "$path.part")" != "$want" ]; then
            download "$url" "$path.part"
        fi
        have=$(sha256 "$path.part")
        if [ -n "$want" ] && [ "$have" != "$want" ]; then
            rm -f "$path.part"
            fail "$url has SHA-256 $have, expected $want; the download was deleted" "try again, or another --mirror URL"
        fi
        if [ -z "$want" ]; then
            printf '%s  %s\n' "$have" "$file" >"$path.sha256"
            note "$1: no published SHA-256 is known here, so this first download was NOT verified; recorded $have in $path.sha256"
        else
            note "$1: SHA-256 verified"
        fi
        mv "$path.part" "$path"
    fi
    case $file in *.zip) unpack "$1" "$path" ;; *) printf '%s\n' "$path" ;; esac
}

unpack() { # NAME ZIP
    command -v unzip >/dev/null || fail "unzip is not installed, $2 stays packed" "install unzip, or unpack it by hand"
    unzip -o -q "$2" -d "$out/$1" || fail "$2 cannot be unpacked"
    # `llm` knows text by the ending .txt.
    find "$out/$1" -name '*.raw' | while read -r raw; do mv "$raw" "${raw%.raw}.txt"; done
    find "$out/$1" -name '*.txt' | sort
}

out=corpora
mirror=
names=
while [ $# -gt 0 ]; do
    case $1 in
        --out | --mirror)
            [ $# -ge 2 ] || fail "$1 needs a value"
            case $1 in --out) out=$2 ;; *) mirror=$2 ;; esac
            shift
            ;;
        --list)
            printf '%s' "$CATALOG" | sed '/^$/d' | awk -F '|' '{ printf "%-18s %-8s %-17s %s\n", $1, $4, $6, $5 }'
            exit 0
            ;;
        -h | --help)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
            exit 0
            ;;
        -*) fail "unknown flag $1" "scripts/fetch_corpora.sh --help" ;;
        *) names="$names $1" ;;
    esac
    shift
done
command -v curl >/dev/null || fail "curl is not installed"
for name in ${names:-tinyshakespeare}; do fetch "$name"; done
