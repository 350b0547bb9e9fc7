# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What quickstart needs from the distribution. Sourced by it.

build_packages=(
    bc bison busybox-static ca-certificates debootstrap flex gcc iproute2
    libc6-dev libelf-dev libseccomp-dev libssl-dev make pkg-config python3-venv
    xz-utils
)
engine_packages=(containerd docker-cli docker.io runc)
machine_packages=(linux-source-6.12 qemu-system-x86 virtiofsd)

have_package() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# at_least VERSION MINIMUM
at_least() { [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# A newer client without a daemon is not an engine: only dockerd counts.
have_engine() {
    local version program
    for program in docker dockerd containerd runc; do
        command -v "$program" >/dev/null || return 1
    done
    version=$(dockerd --version | sed -E 's/.*version ([0-9.]+).*/\1/')
    at_least "$version" 23
}

# Debian's engine would push out Docker's own packages: not for us to decide.
refuse_old_docker_ce() {
    if have_package docker-ce || have_package containerd.io; then
        echo "Docker's own packages are installed, but not all of docker, dockerd 23" >&2
        echo "or later, containerd and runc. Bring them up to date, then run" >&2
        echo "install/quickstart again: apt-get install docker-ce docker-ce-cli containerd.io" >&2
        exit 3
    fi
}

candidate() { apt-cache policy "$1" | sed -n 's/^  Candidate: //p'; }

# Debian 12 has engines too old for shims. Debian 13's install on it; the low
# priority keeps everything else of this host where it is.
use_trixie() {
    local sources=/etc/apt/sources.list.d/boxlite-trixie.sources
    local pin=/etc/apt/preferences.d/boxlite-trixie
    [[ -f $sources && -f $pin ]] && return
    cat >"$pin" <<'PIN'
Package: *
Pin: release n=trixie
Pin-Priority: 50
PIN
    cat >"$sources" <<'SOURCES'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    long apt-update "Reading the package lists of Debian 13" apt-get update
}

install_packages() {
    local missing=() newer=() package
    for package in "${build_packages[@]}"; do
        have_package "$package" || missing+=("$package")
    done
    for package in "${machine_packages[@]}"; do
        have_package "$package" || newer+=("$package")
    done
    if ! have_engine; then
        refuse_old_docker_ce
        newer+=("${engine_packages[@]}")
    fi
    ((${#missing[@]} + ${#newer[@]})) || return 0
    if ! command -v apt-get >/dev/null; then
        echo "This host has no apt-get. Install these, or what corresponds to" >&2
        echo "them, and run install/quickstart again:" "${missing[@]}" "${newer[@]}" >&2
        exit 3
    fi
    export DEBIAN_FRONTEND=noninteractive
    local get=(apt-get install --yes --no-install-recommends)
    long apt-update "Reading the package lists" apt-get update
    if ((${#missing[@]})); then
        long apt-build "Installing build tools" "${get[@]}" "${missing[@]}"
    fi
    ((${#newer[@]})) || return 0
    # docker-cli is a package of its own from the first usable docker.io on.
    if ! at_least "$(candidate qemu-system-x86 | sed 's/^[0-9]*://')" 8.2 ||
        ! at_least "$(candidate docker.io)" 23; then
        use_trixie
        get+=(--target-release trixie)
    fi
    long apt-engines "Installing engines and QEMU" "${get[@]}" "${newer[@]}"
}

# Rust of the version the workspace asks for; an older one is left alone.
install_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' shim-rs/Cargo.toml)
    have_rust "$wanted" && return
    command -v rustup >/dev/null ||
        long apt-rustup "Installing rustup" apt-get install --yes rustup
    long rustup "Installing Rust" \
        rustup toolchain install stable --profile minimal -c clippy -c rustfmt
    # Only for what follows: the default toolchain is the administrator's.
    export RUSTUP_TOOLCHAIN=stable
    if ! have_rust "$wanted"; then
        echo "cargo is still older than $wanted; see https://rustup.rs" >&2
        exit 3
    fi
}

have_rust() {
    local version
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
    [[ -n $version ]] && at_least "$version" "$1"
}
