# lib.sh - what demo, test and chaos share: installing what is missing, Kafka's jars, building a preset.
# Sourced; `top` is the root of the checkout.

# Debian packages. build: to compile and run; test: what the tests need besides.
packages_build="gcc libc6-dev cmake ninja-build pkg-config librdkafka-dev libhiredis-dev libmsgpack-dev
 libuv1-dev libjansson-dev libyaml-dev libmicrohttpd-dev libcurl4-openssl-dev libsodium-dev redis-server python3"
packages_test="chromium clang iproute2 libclang-rt-dev libcmocka-dev maven default-jre-headless npm openssl kcat
 man-db python3-numpy python3-confluent-kafka python3-redis python3-msgpack python3-yaml systemd
 prometheus"

say() { printf '\n== %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

have_package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# Installs those of the named packages that are not there. A tool that came from elsewhere counts.
install_packages() {
    missing=
    for p in "$@"; do
        case $p in
            npm) command -v npm >/dev/null && continue ;;
            maven) command -v mvn >/dev/null && continue ;;
            default-jre-headless) command -v java >/dev/null && continue ;;
            libclang-rt-dev) p=$(clang_runtime) || continue ;;
        esac
        have_package "$p" || missing="$missing $p"
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    command -v apt-get >/dev/null || { echo "needs Debian's packages:$missing" >&2; return 1; }
    as_root apt-get update -q >&2
    # policy-rc.d is not ours to touch: RUNLEVEL=1 keeps packages from starting their services
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -q -y --no-install-recommends $missing >&2
}

# The sanitizer runtime of the default clang: its name carries the version.
clang_runtime() {
    version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)
    [ -n "$version" ] && echo "libclang-rt-$version-dev"
}

# Kafka's jars, fetched once; MR_KAFKA_LIBS says where they are.
kafka_jars() {
    export MR_KAFKA_LIBS=${MR_KAFKA_LIBS:-$top/build/kafka-libs}
    [ -e "$MR_KAFKA_LIBS/.complete" ] && return
    say "fetching Kafka's jars"
    mvn -q -B -f "$top/tests/rig/pom.xml" dependency:copy-dependencies -DoutputDirectory="$MR_KAFKA_LIBS" >&2
    touch "$MR_KAFKA_LIBS/.complete"
}

# build PRESET [cmake argument...]: quiet, unless it fails.
build() {
    preset=$1; shift
    log=$top/build/$preset.log
    mkdir -p "$top/build"
    begin_build=$(date +%s)
    { cmake --preset "$preset" -S "$top" "$@" && cmake --build "$top/build/$preset"; } >"$log" 2>&1 ||
        { cat "$log" >&2; return 1; }
    echo "built $preset in $(($(date +%s) - begin_build)) s" >&2
}
