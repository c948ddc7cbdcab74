#!/usr/bin/env bash
# Follows the Dockerfile's steps on a machine without a container engine, and uses what they make:
# locked dependencies and wheel into a fresh /opt/venv, kernels compiled, then serve, answer and
# verify as user 10001 on a read-only file system, with the source out of sight.
#
# Everything happens in a mount namespace of its own and is gone afterwards. Needs root, uv, Python
# 3.11, and an environment with the extra `train` (make test) for the demonstration's model.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
export source_dir work
export uv=${UV:-$(command -v uv || echo "$source_dir/.uv/bin/uv")}
# Not one in somebody's home: the unprivileged user must be able to run it.
export python=${PYTHON:-/usr/bin/python3.11}

echo "== the demonstration's model"
(cd "$source_dir" && .venv/bin/python - "$work/models/housing-support" "$work/suppliers" <<'PY'
import sys
from pathlib import Path
from app.demo.show import POLICY
from models.demo.build import build_demo
from models.signing import make_key, sign_bundle
target, suppliers = Path(sys.argv[1]), Path(sys.argv[2])
build_demo(target / "bundle")
key, _ = make_key(suppliers, "check")
sign_bundle(target / "bundle", key=key)
key.unlink()
(target / "policy.yaml").write_bytes(POLICY.read_bytes())
PY
)
chmod 755 "$work"

unshare --mount bash -euo pipefail <<'INSIDE'
mount --make-rprivate /
echo "== the assets' and the build stage"
make --directory "$source_dir" --silent assets
(cd "$source_dir" && "$uv" build --quiet --wheel --out-dir "$work/dist" .)
mkdir "$work/opt" "$work/data" "$work/tmp" "$work/empty"
mount --bind "$work/opt" /opt
export VIRTUAL_ENV=/opt/venv
cd /
"$uv" venv --quiet --python "$python" /opt/venv
"$uv" pip sync --quiet --require-hashes "$source_dir/requirements.lock"
"$uv" pip install --quiet --no-deps "$work"/dist/*.whl
command=$(sed -n 's/^ *"\(from .* import warm_up.*\)"$/\1/p' "$source_dir/Dockerfile")
NUMBA_CACHE_DIR=/opt/compiled ORT_DISABLE_TELEMETRY=1 /opt/venv/bin/python -c "$command"
cp "$source_dir/deploy/container_start.py" /opt

echo "== the final stage: read-only, user 10001, no source"
chown 10001:10001 "$work/data"
chmod 700 "$work/data"
chmod 1777 "$work/tmp"
mount --bind "$work/data" "$work/data"
mount --bind "$work/tmp" "$work/tmp"
mount --options remount,ro,bind /opt
mount --options remount,ro,bind /
mount --bind "$work/empty" "$source_dir"
cd "$work/data"
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \
  env --ignore-environment PATH=/opt/venv/bin:/usr/bin:/bin HOME=/nonexistent TMPDIR="$work/tmp" \
  PYTHONDONTWRITEBYTECODE=1 GROUNDS_DATA_DIR="$work/data" GROUNDS_MODELS_DIR="$work/models" \
  GROUNDS_SUPPLIERS_DIR="$work/suppliers" \
  GROUNDS_PORT="${GROUNDS_PORT:-18080}" NUMBA_CACHE_DIR="$work/tmp/compiled" ORT_DISABLE_TELEMETRY=1 \
  source_dir="$source_dir" bash -euo pipefail <<'USER'
if touch /opt/written 2>/dev/null; then echo "the file system is not read-only"; exit 1; fi
if [ -e "$source_dir/app" ]; then echo "the source is in sight"; exit 1; fi

echo "== what serving imports"
python - <<'PY'
import sys
from importlib.metadata import packages_distributions
import app.checking, app.cli, app.main, app.server
for package in ("app", "models", "explainers", "audit"):
    owners = set(packages_distributions()[package])
    assert owners == {"grounds-decision-support"}, (package, owners)
    assert sys.modules[package].__file__.startswith("/opt/venv/"), package
unwanted = {"sklearn", "skl2onnx", "shap", "rfc8785", "pandas", "scipy"} & set(sys.modules)
assert not unwanted, unwanted
PY

echo "== serve, ask, stop, verify"
started=$(date +%s)
python /opt/container_start.py serve </dev/null 2>"$GROUNDS_DATA_DIR/service.log" &
service=$!
check() { python -c "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"GROUNDS_PORT\"]}/health/ready', timeout=4)" 2>/dev/null; }
# Its own word and not the port's alone, where something else may listen already.
until grep -q '"event":"ready"' "$GROUNDS_DATA_DIR/service.log" && check; do
  kill -0 "$service" 2>/dev/null || { tail -n 5 "$GROUNDS_DATA_DIR/service.log"; exit 1; }
  sleep 0.5
done
echo "ready after $(($(date +%s) - started)) s"
KEY=$(grounds key create --name check --role caseworker 2>/dev/null)
KEY=$KEY python - <<'PY'
import json, os, time
from urllib.request import Request, urlopen
from app.demo.asking import request_body
from models.demo.cases import DEMO_CASES
address = f"http://127.0.0.1:{os.environ['GROUNDS_PORT']}"
headers = {"Authorization": f"Bearer {os.environ['KEY']}", "Content-Type": "application/json"}
for name, case in DEMO_CASES.items():
    start = time.perf_counter()
    body = json.dumps(request_body(case)).encode()
    with urlopen(Request(f"{address}/v1/models/housing-support/decisions", body, headers)) as answer:
        decision = json.load(answer)
    taken = (time.perf_counter() - start) * 1000
    print(f"{name}: {decision['recommendation']['label']} ({taken:.0f} ms)")
import re
with urlopen(f"{address}/docs") as page:
    style = re.search(rb'"(/static/grounds-[0-9a-f]+\.css)"', page.read())
with urlopen(address + style[1].decode()) as sheet:
    assert sheet.status == 200
PY
kill -TERM "$service"
wait "$service" || [ $? = 143 ]
grounds verify | tail -n 1
grounds replay | tail -n 1
USER
INSIDE
