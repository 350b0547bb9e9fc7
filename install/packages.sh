# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What quickstart and test need from the distribution. Sourced by them.

build_packages=(
    bc bison busybox-static ca-certificates debootstrap flex gcc iproute2
    libc6-dev libelf-dev libseccomp-dev libssl-dev make patch pkg-config
    python3-venv xz-utils
)
engine_packages=(containerd docker-cli docker.io runc)
machine_packages=(linux-source-6.12 qemu-system-x86 virtiofsd)
# What tests fail or are skipped without: docker top runs ps, an emulated host loads
# its kernel's modules, and only some releases have the older kernel.
test_packages=(cpio git kmod linux-source-6.1 procps)

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

# Whether the distribution has a package.
offered() {
    local version
    version=$(candidate "$1")
    [[ -n $version && $version != '(none)' ]]
}

# Once a run: lists that were read before a package moved name what is gone.
update_lists() {
    [[ -z ${lists_are_read:-} ]] || return 0
    long apt-update "Reading the package lists" apt-get update
    lists_are_read=yes
}

is_ubuntu() (
    # shellcheck source=/dev/null
    . /etc/os-release && [[ " $ID ${ID_LIKE:-} " == *" ubuntu "* ]]
)

# Debian 12 has engines too old for shims. Debian 13's install on it; the low
# priority keeps everything else of this host where it is.
use_trixie() {
    local sources=/etc/apt/sources.list.d/boxlite-trixie.sources
    local pin=/etc/apt/preferences.d/boxlite-trixie
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [[ -f $sources && -f $pin ]] && return
    [[ -f $keyring ]] || long apt-keyring "Installing Debian's keys" \
        apt-get install --yes debian-archive-keyring
    cat >"$pin" <<'PIN'
Package: *
Pin: release n=trixie
Pin-Priority: 50
PIN
    cat >"$sources" <<SOURCES
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: $keyring
SOURCES
    long apt-trixie "Reading the package lists of Debian 13" apt-get update
}

# Debian's programs would bring Debian's libc with them.
refuse_old_ubuntu() {
    is_ubuntu || return 0
    echo "This release has QEMU $(candidate qemu-system-x86) and docker.io" >&2
    echo "$(candidate docker.io); 8.2 and 23 are the oldest that will do." >&2
    echo "Ubuntu has them from 24.04 on." >&2
    exit 3
}

# install_newer PACKAGE...: of the host's own release where that will do, else of
# Debian 13.
install_newer() {
    local package wanted=() get=(apt-get install --yes --no-install-recommends)
    for package in "$@"; do
        # A package of its own in Debian, from the first usable docker.io on.
        [[ $package == docker-cli ]] && is_ubuntu && continue
        wanted+=("$package")
    done
    if ! at_least "$(candidate qemu-system-x86 | sed 's/^[0-9]*://')" 8.2 ||
        ! at_least "$(candidate docker.io)" 23; then
        refuse_old_ubuntu
        use_trixie
        get+=(--target-release trixie)
    fi
    # Each release has a kernel of its own. Source is source: any can hold it.
    offered linux-source-6.12 || use_trixie
    long apt-engines "Installing engines and QEMU" "${get[@]}" "${wanted[@]}"
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
    update_lists
    if ((${#missing[@]})); then
        long apt-build "Installing build tools" \
            apt-get install --yes --no-install-recommends "${missing[@]}"
    fi
    ((${#newer[@]} == 0)) || install_newer "${newer[@]}"
}

# What tests would be skipped without, as far as this host can have it. Without
# root or a network they are skipped; in CI that is a failure.
install_test_packages() {
    local missing=() package
    command -v apt-get >/dev/null || return 0
    for package in "${test_packages[@]}"; do
        have_package "$package" || ! offered "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    export DEBIAN_FRONTEND=noninteractive
    if ((EUID == 0)); then
        begin apt-tests "Installing what tests need" bash -c 'apt-get update &&
            apt-get install --yes --no-install-recommends "$@"' apt-get "${missing[@]}"
        finish apt-tests && return
    fi
    echo "Not installed, so tests may be skipped: ${missing[*]}" >&2
    [[ ${CI:-} != true ]] || exit 3
}

# Installed where cargo is too old or missing. Pinned, as Python's linters are:
# lints that are new overnight must not fail a build.
rust_toolchain=1.95.0

# Rust of the version the workspace asks for; an older one is left alone.
install_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' shim-rs/Cargo.toml)
    have_rust "$wanted" && return
    if ! command -v rustup >/dev/null; then
        update_lists
        long apt-rustup "Installing rustup" apt-get install --yes rustup
    fi
    rustup toolchain list | grep "^$rust_toolchain-" >/dev/null ||
        long rustup "Installing Rust $rust_toolchain" rustup toolchain install \
            "$rust_toolchain" --profile minimal -c clippy -c rustfmt
    # Only for what follows: the default toolchain is the administrator's.
    export RUSTUP_TOOLCHAIN=$rust_toolchain
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
