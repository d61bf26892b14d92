#!/usr/bin/env bash
# Build wheel and sdist, install the wheel in a clean environment without torch, and run the
# README's commands there, the endpoint being a small local one.
#   scripts/check_release.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
room=$(mktemp -d)
endpoint=
trap '[ -z "$endpoint" ] || kill "$endpoint"; rm -rf "$room"' EXIT

echo "== build"
"$python" -m venv "$room/build"
"$room/build/bin/pip" install --quiet --disable-pip-version-check build
"$room/build/bin/python" -m build --outdir "$room/dist" . > "$room/build.log"
ls -l "$room/dist"

for package in "$room"/dist/*.whl "$room"/dist/*.tar.gz; do
  echo "== install $(basename "$package")"
  "$python" -m venv --clear "$room/clean"
  "$room/clean/bin/pip" install --quiet --disable-pip-version-check \
    --constraint constraints.txt "$package"
  ! "$room/clean/bin/python" -c 'import torch' 2> /dev/null || { echo "torch came along"; exit 1; }
  "$room/clean/bin/evenhand" --version
done

echo "== the README's commands"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$room/clean/bin/python" benchmarks/fixed_endpoint.py "$port" & endpoint=$!
cd "$room"
export OPENAI_API_KEY=not-a-real-key
evenhand=$room/clean/bin/evenhand
study=(-b demo_safety -b demo_over_refusal -b demo_arithmetic --limit 20 -i religion --placebos)
$evenhand --help > /dev/null
$evenhand identities > /dev/null
$evenhand cues > /dev/null
$evenhand benchmarks > /dev/null
$evenhand plan openai/gpt-4o-mini "${study[@]}" --price 0.15/0.60
$evenhand audit openai/my-model --base-url "http://127.0.0.1:$port/v1" "${study[@]}" --out runs/first
$evenhand audit openai/my-model --base-url "http://127.0.0.1:$port/v1" "${study[@]}" --out runs/first \
  | tail -n 1   # nothing is asked again
for format in html text json markdown latex csv svg; do
  $evenhand report runs/first --format "$format" --out "first.$format" > /dev/null
done
$evenhand audit openai/other --base-url "http://127.0.0.1:$port/v1" "${study[@]}" --out runs/second \
  > /dev/null
$evenhand compare runs/first runs/second --out compare.html > /dev/null
$evenhand score runs/first > /dev/null
$evenhand audit organism 2>&1 | grep -q "pip install" && echo "local weights: says what to install"
python_api='import evenhand; from evenhand import stats; print(evenhand.__version__)'
"$room/clean/bin/python" -c "$python_api"
echo "== done"
