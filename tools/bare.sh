#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Tries the two commands on a bare Debian; takes root, and a Debian to run on:
#   tools/bare.sh [SUITE [FOLDER [TARGET...]]]     (bookworm, /var/tmp/gr-lighttune-SUITE, demo and test)
#
# A minimal Debian is installed into FOLDER/base, once, and copied to FOLDER/root for every try. There a new user, who
# may sudo, has a clone of this tree's HEAD and calls make for each target, which may set variables of make's too
# ('test TORCH=no'); what make says goes to FOLDER/TARGET.log.
# With RESUME=1 the copy is that of the last try, brought to HEAD. Debian's mirror and pip's settings are this machine's.
#
# All mounts are in a namespace that ends with this script, and so do all processes. The network is this machine's:
# set-up, and some tests, need a mirror and a package index.
set -uo pipefail

fail() {
    echo "bare: $*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")/.." && pwd)
suite=${1:-bookworm}
folder=$(realpath -m "${2:-/var/tmp/gr-lighttune-$suite}")
targets=("${@:3}")
[ ${#targets[@]} -gt 0 ] || targets=(demo test)
base=$folder/base root=$folder/root
tree=/home/user/gr-lighttune

[ "$(id -u)" -eq 0 ] || fail "this makes and mounts a system of its own: run it as root"
command -v debootstrap >/dev/null || fail "no debootstrap here: 'apt-get install debootstrap'"
if [ -z "${BARE_NAMESPACE-}" ]; then
    # Read at once: this file may be edited while it runs.
    exec env BARE_NAMESPACE=1 unshare --mount --pid --fork --kill-child --mount-proc \
        bash -c "$(<"$0")" "$0" "$suite" "$folder" "${targets[@]}"
fi
trap 'exit 130' INT TERM # the first process of a namespace ignores what it has no trap for
mkdir -p "$folder"
exec 9>"$folder/lock"
flock -n 9 || fail "$folder is in use by another run"

archive() { # archive SUFFIX: the URL from which apt has Debian's main of this machine's release, or -security of it
    local release
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v r="$release$1" -v s="stable$1" '($1 == r || $1 == s) && $2 == "main" { print $3; exit }'
}

pip_settings() { # PIP_NAME=VALUE, zero-terminated: what pip's variables and files say on this machine
    python3 -m pip config list 2>/dev/null | python3 -c '
import ast, re, sys
said, found = sys.stdin.readlines(), {}
for section in (":env:", "install", "global"):  # the first that says something is right
    for line in said:
        if match := re.match(re.escape(section) + r"\.([a-z-]+)=(.*)", line):
            found.setdefault("PIP_" + match[1].upper().replace("-", "_"), ast.literal_eval(match[2]))
sys.stdout.write("".join(f"{name}={value}\0" for name, value in found.items()))'
}

mirror=$(archive "")
[ -n "$mirror" ] || fail "apt knows no mirror of Debian here: see /etc/apt/sources.list"
security=$(archive -security)
if [ ! -e "$base.done" ]; then
    rm -rf --one-file-system "$base"
    echo "bare: install a minimal $suite into $base"
    debootstrap --variant=minbase --include=ca-certificates,make,sudo "$suite" "$base" "$mirror" >"$folder/debootstrap.log" ||
        fail "debootstrap failed (details: $folder/debootstrap.log, $base/debootstrap/debootstrap.log)"
    touch "$base.done"
fi

if [ -z "${RESUME-}" ] || [ ! -d "$root$tree" ]; then
    echo "bare: copy it to $root"
    rm -rf --one-file-system "$root"
    cp -a --reflink=auto "$base" "$root"
    {
        echo "deb $mirror $suite main"
        echo "deb $mirror $suite-updates main"
        [ -z "$security" ] || echo "deb $security $suite-security main"
    } >"$root/etc/apt/sources.list"
    chroot "$root" useradd --create-home --shell /bin/bash user
    echo 'user ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/user"
fi
apt-config dump | grep -E '^Acquire::(https?|Check-)' >"$root/etc/apt/apt.conf.d/10bare"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts"

# A clone with nothing in it but what is committed; when resumed, what the targets made stays.
# By way of a bundle, as git clones nothing that is another user's, not even for root.
rm -rf "$folder/clone"
git -C "$here" -c safe.directory='*' bundle create --quiet "$folder/bundle" HEAD || fail "cannot read $here"
git -c advice.detachedHead=false clone --quiet "$folder/bundle" "$folder/clone" || fail "cannot clone $here"
head=$(git -C "$folder/clone" rev-parse --short HEAD)
mkdir -p "$root$tree"
(cd "$root$tree" && find . -mindepth 1 -maxdepth 1 ! -name .venv ! -name build ! -name out -exec rm -rf {} +)
cp -a "$folder/clone/." "$root$tree"
rm -rf "$folder/clone" "$folder/bundle"
chroot "$root" chown -R user: "$tree"

mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${number%:*}" "$root/dev/${number#*:}"
done

inside() { # inside COMMAND...: with the new system as the root itself; in a chroot no user may have namespaces
    # shellcheck disable=SC2016
    unshare --mount bash -c 'cd "$0" && pivot_root . . && umount -l . && exec "$@"' "$root" "$@"
}

# What pip's settings name on this machine's disk is seen there too: folders, an index with what it links to beside it,
# and files, which are few and small.
mapfile -d '' -t settings < <(pip_settings)
for name in http_proxy https_proxy no_proxy; do
    [ -z "${!name-}" ] || settings+=("$name=${!name}")
done
for path in $(printf '%s\n' "${settings[@]#*=}" | grep -oE '(file://)?/[^[:space:],]+'); do
    case $path in
        file://*) path=$(dirname "${path#file://}") ;;
    esac
    if [ -d "$path" ]; then
        mkdir -p "$root$path"
        mount --bind -o ro "$path" "$root$path"
    elif [ -f "$path" ]; then
        mkdir -p "$root$(dirname "$path")"
        cp -L "$path" "$root$path"
    fi
done

failed=0
results=()
for target in "${targets[@]}"; do
    log=$folder/${target%% *}.log
    echo "bare: make $target as a new user of $suite, at $head"
    start=$SECONDS
    inside /usr/sbin/runuser -u user -- env -i HOME=/home/user USER=user LOGNAME=user SHELL=/bin/bash TERM=dumb \
        PATH=/usr/local/bin:/usr/bin:/bin "${settings[@]}" bash -c "cd $tree && exec make $target" \
        </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]} took=$((SECONDS - start))
    [ "$status" -eq 0 ] && said=passed || said="FAILED (status $status)" failed=1
    counts=$(grep -E '^=+ .* in [0-9.]+s.* =+$' "$log" | tail -n 1 | sed 's/ *=*$//; s/^=*//')
    took="$((took / 60)) min $((took % 60)) s"
    results+=("bare: $suite at $head: make $target $said after $took${counts:+:$counts} ($log)")
done
echo
for target in "${targets[@]}"; do
    grep -E '^(SKIPPED|FAILED|ERROR) ' "$folder/${target%% *}.log"
done
printf '%s\n' "${results[@]}"
exit $failed
