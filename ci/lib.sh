# shellcheck shell=bash
# What the commands in this folder share: packages, toolchain, build, huge pages, and giving everything back.
# The commands themselves are `serve` and `test`; the end-to-end tests are in `e2e/`.

set -euo pipefail
export LC_ALL=C.UTF-8
# The build asks Git which commit it is. That must not leave root's files in a user's clone, nor look like a change.
export GIT_OPTIONAL_LOCKS=0
PATH=$PATH:/usr/sbin:/sbin

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command_name=ci/$(basename "$0")
target=${CARGO_TARGET_DIR:-$repository/target}

readonly packages_build=(build-essential pkg-config libclang-dev dpdk libdpdk-dev ca-certificates)
readonly packages_serve=(iproute2 python3 util-linux)
# wrk looks port names up in /etc/services, which a minimal system does not have without netbase.
readonly packages_check=(curl netbase wrk)
readonly packages_test=(
    apache2-utils arping ethtool hping3 iputils-ping ndisc6 netcat-openbsd nmap procps shellcheck tcpdump traceroute tshark valgrind
)
readonly huge_pages_wanted=512

say() { printf '%s: %s\n' "$command_name" "$*"; }
fail() {
    printf '%s: %s\n' "$command_name" "$*" >&2
    exit 1
}

# ---- giving everything back --------------------------------------------------------------------

cleanups=()
# Have a command run when this one ends, however it ends: the last one named runs first.
on_exit() { cleanups+=("$*"); }
run_cleanups() {
    local status=$? index
    trap '' INT TERM HUP
    set +e
    for ((index = ${#cleanups[@]} - 1; index >= 0; index--)); do
        eval "${cleanups[index]}"
    done
    exit "$status"
}
trap run_cleanups EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Ask a child of ours to end, and insist after ten seconds. Its own last words come first.
end_process() {
    local pid=$1 patience ended='' status=0
    kill -TERM "$pid" 2>/dev/null || return 0
    sleep 10 &
    patience=$!
    wait -n -p ended "$pid" "$patience" 2>/dev/null || status=$?
    if [[ $ended == "$patience" ]]; then
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || status=$?
    else
        # It came to be while this script ignores signals, and so ignores them too.
        kill -KILL "$patience"
        wait "$patience" 2>/dev/null || true
    fi
    return "$status"
}

# ---- the machine -------------------------------------------------------------------------------

require_root() {
    [[ $(uname -s) == Linux ]] || fail "runs on Linux only"
    [[ $(id -u) == 0 ]] || fail "needs root, for network namespaces and TAP devices; run: sudo $command_name"
    [[ -c /dev/net/tun ]] || fail "there is no /dev/net/tun; run: modprobe tun (in a container, pass the device in)"
}

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]; }

# Install those of the packages named that are missing, saying first which.
install_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || fail "installs what it needs with apt, so it needs Debian 12 or a relative"
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} == 0 ]] && return 0
    say "will install these Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Nothing that is there may go: a package in conflict (Debian's own rustc, say) is the user's to remove.
    { apt-get -q update && apt-get -qy --no-remove --no-install-recommends install "${missing[@]}"; } >&2 ||
        fail "could not install ${missing[*]}: apt-get says why above; install them by hand and try again"
}

# Have nginx to run in namespaces of tests. Installing its package would start a service on port 80, now and with each
# start of the machine, so without it the package is unpacked into the cache, once for each version.
prepare_nginx() {
    local version cache folder fresh
    command -v nginx >/dev/null && return 0
    install_packages libcrypt1 libpcre2-8-0 libssl3 zlib1g
    version=$(nginx_version)
    if [[ -z $version ]]; then
        apt-get -q update >&2 || true
        version=$(nginx_version)
    fi
    [[ -n $version ]] || fail "apt knows no package nginx"
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/corelane
    folder=$cache/nginx_$version
    if [[ ! -d $folder ]]; then
        say "will download the Debian package nginx to $cache"
        fresh=$(mktemp -d)
        # For the user as whom apt downloads.
        chmod 755 "$fresh"
        mkdir -p "$cache"
        (cd "$fresh" && apt-get -q download "nginx=$version" >&2) || fail "could not download nginx"
        dpkg-deb -x "$fresh"/nginx_*.deb "$fresh/files"
        # In one step: another test may be looking for it, or have put it there meanwhile.
        cp -r "$fresh/files" "$folder.$$"
        mv -T "$folder.$$" "$folder" 2>/dev/null || rm -rf "$folder.$$"
        rm -rf "$fresh"
    fi
    PATH=$PATH:$folder/usr/sbin
}

nginx_version() { apt-cache show --no-all-versions nginx 2>/dev/null | awk '/^Version:/ { print $2; exit }'; }

# Have the pinned toolchain found first: rustup's, or without rustup one of ours in the cache.
choose_toolchain() {
    local pinned home ours=${XDG_CACHE_HOME:-$HOME/.cache}/corelane/rust
    pinned=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$repository/rust-toolchain.toml")
    # Under sudo the toolchain is usually the calling user's.
    if [[ -n ${SUDO_USER:-} && $SUDO_USER != root ]]; then
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        if [[ -x $home/.cargo/bin/rustup && ! -x $HOME/.cargo/bin/rustup ]]; then
            export CARGO_HOME=$home/.cargo RUSTUP_HOME=$home/.rustup
        fi
    fi
    local cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
    [[ -x $cargo_bin/rustup ]] && PATH=$cargo_bin:$PATH
    if ! command -v rustup >/dev/null; then
        export CARGO_HOME=$ours/cargo RUSTUP_HOME=$ours/rustup
        PATH=$CARGO_HOME/bin:$PATH
        if ! command -v rustup >/dev/null; then
            say "will install rustup and Rust $pinned in $ours"
            install_packages python3-venv
            "$repository/ci/rust" "$ours"
        fi
    fi
    if ! rustup toolchain list | grep -q "^$pinned"; then
        say "will have rustup install Rust $pinned"
        rustup toolchain install --profile minimal --component clippy,rustfmt --no-self-update "$pinned" >&2 ||
            fail "could not install Rust $pinned: rustup says why above"
    fi
    say "builds with the pinned Rust $pinned"
}

# The profile that the programs are built with, and the folder in which they lie then.
profile=${CORELANE_PROFILE:-release}
programs=$target/$profile

# What to build beside the programs, for cargo.
programs_beside=()

# Build the programs, optimised. What root compiles in a user's folder is handed back to that user.
build_programs() {
    local owner
    [[ -z ${CORELANE_PROGRAMS_BUILT:-} ]] || return 0
    owner=$(stat -c %u:%g "$repository")
    [[ $owner == 0:0 ]] || on_exit "chown -R --from=0:0 '$owner' '$target' 2>/dev/null"
    say "builds the programs ($profile)"
    cd "$repository"
    cargo build --profile "$profile" --locked --quiet -p apps "${programs_beside[@]}"
}

# Build the programs, and those of the benches, as a run of them advises: they are built to count which way they go, run in a
# hurry, and built again with what was counted. Sets programs to where they lie.
build_guided() {
    local triple major trained=$target/trained guided=$target/guided owner counting file inputs=()
    # The compiler of the repository, which its own folder chooses.
    cd "$repository"
    triple=$(rustc -vV | sed -n 's/^host: //p') major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    # What was counted is read by the tools of the same LLVM.
    install_packages "llvm-$major"
    owner=$(stat -c %u:%g "$repository")
    [[ $owner == 0:0 ]] || on_exit "chown -R --from=0:0 '$owner' '$target' 2>/dev/null"
    rm -rf "$trained/counts" "$trained/engine"
    say "builds programs that count which way they go"
    guided_cargo "$trained" "-Cprofile-generate=$trained/counts" "$triple"
    counting=$trained/$triple/release
    say "runs them for some two minutes"
    PYTHONPATH=$repository/ci/e2e python3 "$repository/ci/bench.d/main.py" --quick --gently --only 'echo|web|bulk|loss' \
        --out "$trained/bench" "$counting" >"$trained/bench.log" 2>&1 || fail "that run failed: see $trained/bench.log"
    train_engine "$counting/engine" "$trained/engine" >"$trained/engine.log"
    # What connections do rarely counts too: beside a lane that asks an idle port it would seem never to be done.
    for file in "$trained"/counts/*.profraw; do inputs+=("--weighted-input=1,$file"); done
    for file in "$trained"/engine/*.profraw; do inputs+=("--weighted-input=30,$file"); done
    "llvm-profdata-$major" merge -o "$trained/all.profdata" "${inputs[@]}" ||
        fail "what they counted cannot be read: see above"
    say "builds the programs as that run advises"
    guided_cargo "$guided" "-Cprofile-use=$trained/all.profdata" "$triple"
    programs=$guided/$triple/release
}

# Every case of the engine's bench, as often.
train_engine() {
    local engine=$1 sums
    export LLVM_PROFILE_FILE=$2/%m.profraw
    for sums in '' --software-checksums; do
        "$engine" --transactions 60000 $sums \
            --cases rr_64,rx_data,ack_only,connect_close,ooo_one_hole,rto_fire,bulk_rx
        "$engine" --transactions 60000 $sums --cases bulk_tx --flows 4
    done
    unset LLVM_PROFILE_FILE
}

guided_cargo() {
    CARGO_TARGET_DIR=$1 CARGO_ENCODED_RUSTFLAGS=$2 \
        cargo build --release --locked --quiet --target "$3" -p apps -p benches
}

# Build packetdrill's plug-in beside them: by itself, for it has no DPDK in it.
build_plugin() {
    say "builds packetdrill's plug-in ($profile)"
    cargo build --profile "$profile" --locked --quiet -p packetdrill
}

# Set huge_pages to yes or no, and huge_options to what a program of ours needs to run so.
prepare_huge_pages() {
    local setting=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    local unused=/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages before
    huge_pages=no huge_options=(--no-huge)
    if [[ -e $setting ]]; then
        before=$(<"$setting")
        if ((before < huge_pages_wanted)) && echo "$huge_pages_wanted" 2>/dev/null >"$setting"; then
            say "raised the number of 2 MiB huge pages from $before to $(<"$setting")" \
                "(it stays so; undo with: echo $before > $setting)"
        fi
        if (($(<"$setting") >= huge_pages_wanted && $(<"$unused") >= huge_pages_wanted / 4)) && mount_huge_pages; then
            huge_pages=yes huge_options=()
        fi
    fi
    [[ $huge_pages == yes ]] || say "found no $huge_pages_wanted huge pages to use: runs with --no-huge, which is slower"
}

mount_huge_pages() {
    grep -q ' hugetlbfs ' /proc/mounts && return 0
    mkdir -p /dev/hugepages && mount -t hugetlbfs hugetlbfs /dev/hugepages 2>/dev/null || return 1
    say "mounted a hugetlbfs at /dev/hugepages (it stays)"
}
