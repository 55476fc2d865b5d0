#!/usr/bin/env bash
# Compiles every folder of Swift in FOLDER as a module of its own, with strict concurrency and without warnings: as Swift 5 for a Mac and as
# Swift 6 for a phone, which has UIKit. Usage: `check.sh FOLDER`. Core ML, Core Video and UIKit are the declarations beside this script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/.declarations"
cp "$here"/CoreML.swift "$here"/CoreVideo.swift "$here"/UIKit.swift "$1/.declarations/"

exec "$here/toolchain.sh" "$1" '
set -eu
module() { swiftc -swift-version 6 -warnings-as-errors -parse-as-library -emit-module -module-name "$1" -I "$2" -o "$2/$1.swiftmodule" ".declarations/$1.swift"; }
mkdir -p .declarations/mac .declarations/phone
module CoreVideo .declarations/mac && module CoreML .declarations/mac
cp .declarations/mac/* .declarations/phone/ && module UIKit .declarations/phone
status=0
compile() {
    # Data races are found in SIL, so checking types alone is not enough.
    if ! swiftc -swift-version "$2" -strict-concurrency=complete -warnings-as-errors -parse-as-library -wmo -emit-sil -module-name App \
        -I ".declarations/$3" "$1"/*.swift -o /dev/null; then
        echo "error: $1 does not compile as Swift $2 ($3)" >&2
        status=1
    fi
}
for folder in */; do
    compile "$folder" 5 mac
    compile "$folder" 6 phone
done
exit $status'
