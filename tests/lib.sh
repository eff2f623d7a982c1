# Shared by ./run and ./quickstart: Debian's packages, building, and saying what happens. Sourced by bash.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Debian's own tools and Python, whatever else the user has in front of them.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH LC_ALL=C.UTF-8

packages_build=(gcc libc6-dev libevent-dev libinih-dev libpython3-dev meson musl-tools ninja-build pkg-config)
packages_try=(python3-torch)
packages_test=(bash-completion clang clang-format clang-tidy fish hyperfine libcmocka-dev prometheus python3-numpy
               python3-pandas python3-pexpect python3-pytest scdoc strace systemd tmux
               user-mode-linux valgrind zsh)
packages_bench=(libcmocka-dev python3-matplotlib python3-numpy python3-pandas)
packages_conformance=(ipython3 less libpython3.11-testsuite python3-matplotlib python3-pip vim-tiny)

say() {
        printf '\n=== %s\n' "$*"
}

die() {
        printf '%s: %s\n' "$(basename "$0")" "$*" >&2
        exit 1
}

as_root() {
        if [ "$(id -u)" = 0 ]; then
                "$@"
        else
                sudo -- "$@"
        fi
}

is_installed() {
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs those of the packages $@ that are missing. Asks for nothing, and needs no network, if none is.
need_packages() {
        local package absent=()
        for package; do
                is_installed "$package" || absent+=("$package")
        done
        [ ${#absent[@]} -gt 0 ] || return 0

        say "installing ${absent[*]}"
        command -v apt-get >/dev/null || die "these packages are missing, and this is no Debian: ${absent[*]}"
        [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "not root and no sudo; please install: ${absent[*]}"
        as_root apt-get update -qq &&
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
                        -o DPkg::Lock::Timeout=300 "${absent[@]}" >/dev/null
}

# build SOURCE DIR [SETUP-OPTION]...: configures unless that was done, and builds. What it installs goes to DIR/prefix.
build() {
        local source=$1 dir=$2
        shift 2
        if ! [ -e "$dir/build.ninja" ]; then
                rm -rf "$dir"
                meson setup "$dir" "$source" --prefix="$dir/prefix" "$@" || return
        fi
        meson compile -C "$dir"
}
