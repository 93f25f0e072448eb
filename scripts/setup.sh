#!/usr/bin/env bash
# setup.sh [run|test|bench|lint|install|all]: checks for what that target needs, installs what is missing.
#
# Nothing missing is the usual case and must cost nothing that is felt: one
# look per program in $PATH, no package manager. As root on Debian the missing
# packages are installed; any other user is told, in one line, what to install.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

minor=88 # Rust 1.88: edition 2024, naked functions. Cargo.toml says the same.

# program, Debian package, what needs it
needs=(
    "cc gcc run test bench lint install"      # rustc links with it
    "git git lint"                            # the gates look at tracked files
    "g++ g++ test"                            # libFuzzer is built with it
    "python3 python3 run lint"                 # the demonstration, the gates
    "lowdown lowdown lint install"            # man pages from docs/
    "man man-db lint"                         # they must render without a warning
    "shellcheck shellcheck lint"
    "strace strace test"                      # the plan against the calls really made
    "zsh zsh test"                            # it completes words of fly
    "fish fish test"
    "newuidmap uidmap test"                   # ids for pods of other users than root
    "podman podman test"                      # a container to be in
    "busybox busybox-static test bench"       # a small real root file system
    "mmdebstrap mmdebstrap test"              # a real Debian root
    "qemu-system-x86_64 qemu-system-x86 test" # the same starts under another kernel
    "tini-static tini test bench"              # small inits of somebody else's
    "dumb-init dumb-init test bench"
    "catatonit catatonit test bench"
    "xz xz-utils test"                        # its kernel image
    "mke2fs e2fsprogs test"                   # a root disk for it
    "zstd zstd test"                          # a compressed initramfs
    "systemd-nspawn systemd-container test"    # boots a systemd that keeps pods
    "openrc-run openrc test"                   # keeps one, too
    "socat socat test"                        # hears what it says by vsock
    "unshare util-linux test bench"
    "crun crun test bench"                    # the peers
    "runc runc bench"
    "bwrap bubblewrap bench"
)

die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

check_rust() {
    local tool version
    for tool in rustc cargo; do
        command -v "$tool" >/dev/null ||
            die "$tool is missing: Rust 1.$minor or newer is needed (https://rustup.rs, or your distribution's rustc and cargo)"
    done
    version=$(rustc --version | cut -d' ' -f2)
    [[ $version =~ ^1\.([0-9]+)\. && ${BASH_REMATCH[1]} -ge $minor ]] ||
        die "rustc $version is too old: Rust 1.$minor or newer is needed (rustup update stable)"
    [[ $(uname -m) == x86_64 ]] ||
        die "this machine is $(uname -m): x86_64 is the one architecture that is built and tested today"
    if [[ $1 == lint || $1 == all ]]; then
        for tool in cargo-fmt cargo-clippy; do
            command -v "$tool" >/dev/null ||
                die "$tool is missing (rustup component add rustfmt clippy)"
        done
    fi
}

# Prints the packages that the target $1 needs and the machine lacks.
missing_packages() {
    local line program package targets
    for line in "${needs[@]}"; do
        read -r program package targets <<<"$line"
        [[ $1 == all || " $targets " == *" $1 "* ]] || continue
        command -v "$program" >/dev/null || printf '%s\n' "$package"
    done
    # The table of system calls is compared with the kernel's headers.
    if [[ $1 =~ ^(lint|all)$ ]]; then
        compgen -G '/usr/include/*/asm/unistd_64.h' >/dev/null || [[ -e /usr/include/asm/unistd_64.h ]] || echo linux-libc-dev
    fi
    # Another package's busybox may be linked dynamically: no use in an empty
    # root. A program's interpreter is named in its first page.
    if [[ $1 =~ ^(test|bench|all)$ ]] && command -v busybox >/dev/null; then
        ! head -c 4096 "$(command -v busybox)" | grep -qa '/ld-linux' || echo busybox-static
    fi
}

install_packages() {
    local hint="apt-get install $*"
    command -v apt-get >/dev/null ||
        die "missing: $* (these are Debian's package names; this machine has no apt-get)"
    [[ $(id -u) == 0 ]] || die "missing: $* (as root: $hint)"
    echo "setup: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    # Old lists name packages that the mirrors no longer have.
    apt-get update -qq || echo "setup: apt-get update failed; trying with the lists that are here" >&2
    apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null ||
        die "apt-get could not install: $* ($hint)"
}

# The tests fetch a kernel and a root by apt-get: that needs lists.
fetch_lists() {
    [[ $1 =~ ^(test|all)$ && $(id -u) == 0 ]] && command -v apt-get >/dev/null || return 0
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || apt-get update -qq || true
}

target=${1:-all}
[[ $target =~ ^(run|test|bench|lint|install|all)$ ]] ||
    die "no such target: $target (one of run test bench lint install all)"
check_rust "$target"
mapfile -t packages < <(missing_packages "$target" | sort -u)
if ((${#packages[@]})); then
    install_packages "${packages[@]}"
    mapfile -t packages < <(missing_packages "$target" | sort -u)
    ((${#packages[@]} == 0)) || die "installed, but still not found in \$PATH: ${packages[*]}"
fi
fetch_lists "$target"
