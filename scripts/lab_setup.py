"""What scripts/lab compiles with: the newest Mesa of Debian, unpacked into a folder of its own. Nothing is installed on this
machine, and nothing needs root: apt downloads and checks the packages with a state of its own, dpkg-deb unpacks them.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wgpt" / "lab"
DEBIAN = "http://deb.debian.org/debian/"
# The newest Mesa first. Packages of sid can be missing or contradict each other for a while.
SUITES = ["sid", "trixie"]
PACKAGES = ["mesa-vulkan-drivers", "mesa-drm-shim", "libvulkan1"]
# How Debian names an architecture, its folder of libraries, and its loader.
LIBRARIES = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
# How QEMU and Rust name the one whose drivers are not all built elsewhere.
QEMU = {"arm64": "qemu-aarch64"}
TARGETS = {"arm64": "aarch64-unknown-linux-gnu"}
KEYRINGS = [Path(f"/usr/share/keyrings/debian-archive-keyring.{ending}") for ending in ("gpg", "pgp")]
# apt without this machine's packages and sources; its proxies and passwords for mirrors stay.
APT_CONF = """\
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""
# The newest source from which the stub of Intel's GPUs is known to build, and to serve the drivers of later versions. That of a
# stable release stays where it is, while mirrors may lack that of sid.
INTEL_SUITE = "trixie"
# What the stub is made of: itself, then the library from which it takes what it needs.
INTEL_STUB = ["src/drm-shim/device.c", "src/drm-shim/drm_shim.c", "src/intel/tools/intel_noop_drm_shim.c"]
INTEL_LIBRARY = ["src/util/*.c", "src/c11/impl/*.c", "src/intel/dev/*.c", "src/intel/dev/*/*.c", "generated/intel/dev/*.c"]
INTEL_GENERATED = {
    "gen_wa_helpers.py": ["src/intel/dev/mesa_defs.json", "generated/intel/dev/intel_wa.h", "generated/intel/dev/intel_wa.c"],
    "intel_device_info_gen_h.py": ["generated/intel/dev/intel_device_info_gen.h"],
    "intel_device_info_serialize_gen_c.py": ["generated/intel/dev/intel_device_info_serialize_gen.c"],
}
# The folders of Mesa's source that take part.
INTEL_SOURCES = ("include", "src/c11", "src/compiler", "src/drm-shim", "src/intel", "src/util")
INTEL_INCLUDE = ["generated", "generated/intel", "generated/intel/dev", "include", "src", "src/intel", "src/intel/dev", "src/util"]
# What Mesa's build finds out about every Linux with glibc.
INTEL_DEFINE = ["_GNU_SOURCE", "NDEBUG"]
INTEL_DEFINE += [f"HAVE_{name}" for name in ("PTHREAD", "STRUCT_TIMESPEC", "ENDIAN_H", "MEMFD_CREATE", "SECURE_GETENV", "THRD_CREATE")]


class Unavailable(Exception):
    """Why a part of the laboratory cannot be had on this machine."""


class Unreachable(Unavailable):
    """A server does not answer, so it is not asked again."""


class Behind(Unavailable):
    """A mirror's list of packages has expired."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Progress:
    """A line that is rewritten on a terminal; elsewhere a line now and then."""

    def __init__(self, words):
        self.words, self.terminal, self.shown, self.text = words, sys.stderr.isatty(), time.monotonic(), None

    def show(self, percent):
        text, now = f"{self.words}: {percent:.0f} %", time.monotonic()
        if text == self.text or now < self.shown + (0.1 if self.terminal else 4):
            return
        self.text, self.shown = text, now
        print(f"\r{text}" if self.terminal else text, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def end(self):
        if self.terminal and self.text:
            print(f"\r{' ' * len(self.text)}\r", end="", file=sys.stderr, flush=True)


def call(*command, **options):
    """A program's output; Unavailable with its last message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", **options)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}").splitlines()
        raise Unavailable(f"{Path(command[0]).name}: {said[-1]}")
    return done.stdout


def architecture():
    """This machine's, as Debian names it."""
    for program in ("apt-get", "dpkg", "dpkg-deb"):
        if not shutil.which(program):
            raise Unavailable(f"{program} is missing: this needs Debian, Ubuntu or a relative")
    found = call("dpkg", "--print-architecture").strip()
    if found not in LIBRARIES:
        raise Unavailable(f"this machine's architecture is {found}, and it needs {' or '.join(LIBRARIES)}")
    return found


def mirrors():
    """Where this machine gets packages of Debian, as far as it does, then Debian's own server."""
    try:
        uris = call("apt-get", "indextargets", "--format", "$(REPO_URI)").split()
    except Unavailable:
        uris = []
    return list(dict.fromkeys([*(uri for uri in uris if uri.endswith("/debian/")), DEBIAN]))


def keyring():
    """The keys with which Debian signs its lists of packages."""
    found = next((path for path in KEYRINGS if path.exists()), None)
    if found is None:
        raise Unavailable("Debian's keys are missing: apt-get install debian-archive-keyring")
    return found


def megabytes(size):
    return f"{max(1, round(size / 1e6))} MB"


class Apt:
    """Another system's packages: downloaded, and checked with Debian's keys, with a state of its own."""

    def __init__(self, uri, suite, architecture, source=False):
        self.folder = FOLDER / "apt" / f"{suite}-{architecture}"
        self.place = f"Debian {suite}, {uri}"
        for name in ("state/lists/partial", "cache/archives/partial", "none/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "state" / "status").touch()
        line = f"[signed-by={keyring()}] {uri} {suite} main\n"
        (self.folder / "sources.list").write_text(f"deb {line}" + (f"deb-src {line}" if source else ""))
        # Proxies and the like.
        own = re.findall(r"^Acquire::https?::.*;$", call("apt-config", "dump"), re.M)
        conf = "\n".join(own) + "\n" + APT_CONF.format(folder=self.folder, architecture=architecture)
        (self.folder / "apt.conf").write_text(conf)
        self.options = []
        self.update()

    def run(self, words, *arguments, cwd=None):
        """apt-get's output, with its progress."""
        environment = os.environ | {"APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        progress = Progress(words)
        status, write = os.pipe()
        with tempfile.TemporaryFile("w+") as output:
            command = ["apt-get", "-y", "-q", "-o", f"APT::Status-Fd={write}", *self.options, *arguments]
            process = subprocess.Popen(command, env=environment, cwd=cwd, pass_fds=[write], stdout=output, stderr=subprocess.STDOUT)
            os.close(write)
            with os.fdopen(status) as lines:
                for line in lines:
                    if line.startswith("dlstatus:"):
                        progress.show(float(line.split(":")[2]))
            failed = process.wait()
            progress.end()
            output.seek(0)
            text = output.read()
        if failed:
            raise self.reason(text)
        return text

    def reason(self, text):
        if expired := re.search(r"is expired \(invalid since ([\w ]+)\)", text):
            return Behind(f"{self.place}: expired {expired[1]} ago")
        errors = re.findall(r"^(?:E: |Err:.*\n  )(.*)", text, re.M) or text.strip().splitlines()[-1:] or ["apt-get failed"]
        silent = re.search(r"Temporary failure|Could not (resolve|connect)|Cannot initiate|Unable to connect|timed out", text)
        return (Unreachable if silent else Unavailable)(f"{self.place}: {errors[0]}")

    def update(self):
        words = f"the list of packages of {self.place}"
        try:
            self.run(words, "update")
        except Behind as reason:
            say(f"a mirror is behind, and used all the same ({reason})")
            self.options = ["-o", "Acquire::Check-Valid-Until=false"]
            self.run(words, "update")

    def download(self, what, *arguments):
        """Downloads what a command of apt-get needs, as far as it isn't there yet, and returns the files."""
        archives = self.folder / "cache" / "archives"
        # apt leaves out of this list what it finds in the folder, so it is asked once with an empty one.
        listed = r"^'\S+' (\S+) (\d+)"
        everything = self.ask(listed, "-o", f"Dir::Cache::archives={self.folder}/none", *arguments, cwd=self.folder / "none")
        missing = self.ask(listed, *arguments, cwd=archives)
        if missing:
            say(f"downloading {what}: {len(missing)} files, {megabytes(sum(int(size) for _, size in missing))} ({self.place})")
            self.run(f"downloading {what}", *arguments, cwd=archives)
        return [archives / name for name, _ in everything]

    def ask(self, listed, *arguments, cwd):
        return re.findall(listed, self.run("", "--print-uris", *arguments, cwd=cwd), re.M)

    def install(self, what, *packages):
        """The files of packages and of all that they depend on."""
        return self.download(what, "--download-only", "install", *packages)

    def source(self, what, package):
        """The files of a source package."""
        return self.download(what, "--download-only", "source", package)

    def only(self, what, *packages):
        """The files of packages without what they depend on."""
        return self.download(what, "download", *packages)

    def clean(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()


def unpack(files, folder):
    for file in files:
        call("dpkg-deb", "-x", str(file), str(folder))


def newest(part, suites, make, *more):
    """What MAKE returns for the first suite and mirror with which it fills the folder PART."""
    keyring()
    found, reasons = mirrors(), []
    for suite in suites:
        for uri in list(found):
            if reasons:
                say(f"{reasons[-1]}; trying Debian {suite}, {uri}")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                return make(part, uri, suite, *more)
            except Unavailable as reason:
                reasons.append(reason)
                if isinstance(reason, Unreachable):
                    found.remove(uri)
    raise reasons[0]


class Setup:
    """The laboratory's folders, made when they are asked for. AGAIN renews each of them once."""

    def __init__(self, again=False):
        self.again = again
        self.known = {}
        self.host = architecture()

    def folder(self, name, suites, make, *more):
        """A folder of the laboratory, with a file `versions` that is written when it is complete. A renewal that fails keeps the
        old one; what could not be made is not tried twice."""
        if name not in self.known:
            try:
                self.known[name] = self.made(name, suites, make, *more)
            except (Unavailable, OSError) as reason:
                self.known[name] = Unavailable(str(reason))
        if isinstance(self.known[name], Unavailable):
            raise self.known[name]
        return self.known[name]

    def made(self, name, *how):
        folder, part, start = FOLDER / name, FOLDER / f"{name}.part", time.monotonic()
        stamp = folder / "versions"
        if stamp.exists() and not self.again:
            return folder
        FOLDER.mkdir(parents=True, exist_ok=True)
        with (FOLDER / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say("waiting for another scripts/lab, which is setting up the laboratory")
                fcntl.flock(lock, fcntl.LOCK_EX)
                if stamp.exists():
                    return folder
            try:
                versions = newest(part, *how)
            except (Unavailable, OSError) as reason:
                shutil.rmtree(part, ignore_errors=True)
                if not stamp.exists():
                    raise
                say(f"{name} could not be renewed, so the old one stays: {reason}")
                return folder
            (part / "versions").write_text("".join(f"{line}\n" for line in versions))
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        size = sum(path.lstat().st_size for path in folder.rglob("*"))
        say(f"set up in {time.monotonic() - start:.0f} s: {folder} ({megabytes(size)})")
        return folder

    def mesa(self, architecture):
        """A system's folder with Mesa's drivers, its stubs of GPUs, and all that they depend on."""
        return self.folder(f"mesa-{architecture}", SUITES, mesa, architecture, self.host)

    def intel(self):
        """The stub of Intel's GPUs, which Debian does not build."""
        root = self.mesa(self.host)
        return self.folder(f"intel-{self.host}", [INTEL_SUITE], intel, self.host, root) / "libintel_noop_drm_shim.so"

    def emulator(self, architecture):
        """The words before a command of another architecture."""
        if architecture == self.host:
            return []
        return [str(self.folder(f"qemu-{architecture}", SUITES, qemu, self.host, architecture) / QEMU[architecture])]

    def cross(self, architecture):
        """cargo's options for another architecture, and rustc's."""
        if architecture == self.host:
            return [], []
        target, root = TARGETS[architecture], self.mesa(architecture)
        add_target(target)
        libraries = root / "usr/lib" / LIBRARIES[architecture]
        # The linker that comes with Rust needs only to be told what a C compiler would tell it.
        link = [f"--sysroot={root}", f"-L{libraries}", f"--dynamic-linker=/lib/{LOADERS[architecture]}"]
        link += [str(libraries / "Scrt1.o"), str(libraries / "crti.o"), "-lc", str(libraries / "crtn.o")]
        flags = ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld", *(f"-Clink-arg={word}" for word in link)]
        return ["--target", target], flags

    def version(self, architecture):
        """Of Mesa, with the suite."""
        suite, *packages = (self.mesa(architecture) / "versions").read_text().splitlines()
        return f"Mesa {next(line.split()[1] for line in packages if line.startswith(PACKAGES[0]))} of Debian {suite}"


def versions(suite, files):
    return [suite, *sorted(" ".join(unquote(file.stem).split("_")[:2]) for file in files)]


def mesa(part, uri, suite, architecture, host):
    apt = Apt(uri, suite, architecture)
    files = apt.install(f"Mesa for {architecture}", *PACKAGES)
    libraries = part / "usr/lib" / LIBRARIES[architecture]
    if architecture != host:
        # What programs are linked with.
        files += apt.only("the C library's part for linking", "libc6-dev")
        (part / "lib").symlink_to("usr/lib")
    say(f"unpacking {len(files)} packages")
    unpack(files, part)
    if architecture != host:
        (libraries / "libgcc_s.so").symlink_to("libgcc_s.so.1")
    # Manifests name a library of the system; with a path they name one relative to themselves.
    for manifest in (part / "usr/share/vulkan/icd.d").glob("*.json"):
        text = manifest.read_text()
        manifest.write_text(re.sub(r'("library_path": ")(?:.*/)?', rf"\1../../../lib/{LIBRARIES[architecture]}/", text))
    apt.clean()
    return versions(suite, files)


def qemu(part, uri, suite, host, architecture):
    apt = Apt(uri, suite, host)
    files = apt.only("QEMU", "qemu-user")
    unpack(files, part / "package")
    # It has one program for each of twenty architectures.
    shutil.move(part / "package/usr/bin" / QEMU[architecture], part)
    shutil.rmtree(part / "package")
    apt.clean()
    return versions(suite, files)


def add_target(target):
    """Rust's standard library for another architecture."""
    sysroot = Path(call("rustc", "--print", "sysroot").strip())
    if not (sysroot / "lib/rustlib" / target / "lib").exists():
        if not shutil.which("rustup"):
            raise Unavailable(f"Rust's standard library for {target} is missing (rustup target add {target})")
        say(f"adding rustup's target {target}")
        call("rustup", "target", "add", target)


def intel(part, uri, suite, architecture, root):
    """Compiles the stub from the few files of Mesa's source that it consists of, which takes seconds; Mesa's own build would need
    a dozen further packages."""
    if not shutil.which("cc"):
        raise Unavailable("cc is missing, with which the stub of Intel's GPUs is compiled (apt-get install gcc libc6-dev)")
    apt = Apt(uri, suite, architecture, source=True)
    source = apt.source("Mesa's source", "mesa")
    tools = apt.only("what it is built with", "libdrm-dev", "python3-mako", "python3-markupsafe")
    unpack(tools, part / "tools")
    archive = next(file for file in source if re.search(r"\.orig\.tar\.\w+$", file.name))
    description = [file for file in source if file.suffix == ".dsc"]
    say("unpacking Mesa's source and compiling the stub of Intel's GPUs")
    with tarfile.open(archive) as tar:
        for member in tar:
            # Below the archive's only folder.
            member.name = member.name.partition("/")[2]
            if member.isfile() and member.name.startswith(INTEL_SOURCES):
                tar.extract(member, part / "mesa")
    library = part / "libintel_noop_drm_shim.so"
    compile_intel(part / "mesa", part / "tools" / "usr", library)
    check_loads(library, root, architecture)
    shutil.rmtree(part / "mesa")
    shutil.rmtree(part / "tools")
    apt.clean()
    return versions(suite, description)


def compile_intel(mesa, tools, library):
    (mesa / "generated/intel/dev").mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(tools / "lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE": "1"}
    for script, arguments in INTEL_GENERATED.items():
        call(sys.executable, f"src/intel/dev/{script}", *arguments, cwd=mesa, env=environment)
    include = [*INTEL_INCLUDE, tools / "include", tools / "include/libdrm"]
    flags = ["-w", "-O1", "-std=gnu11", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffunction-sections", "-fdata-sections"]
    flags += [f"-D{name}" for name in INTEL_DEFINE] + [f"-I{folder}" for folder in include]

    def compiled(file):
        target = f"{str(file).replace('/', '_')}.o"
        call("cc", *flags, "-c", str(file), "-o", target, cwd=mesa)
        return target

    def compiled_if_possible(file):
        try:
            return compiled(file)
        except Unavailable:
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        stub = list(pool.map(compiled, INTEL_STUB))
        # Files of the library that want more of this machine are left out: what the stub uses does not, or else linking fails.
        files = [path.relative_to(mesa) for pattern in INTEL_LIBRARY for path in sorted(mesa.glob(pattern))]
        objects = [target for target in pool.map(compiled_if_possible, files) if target]
    call("ar", "rcs", "library.a", *objects, cwd=mesa)
    call("cc", "-shared", "-Wl,--gc-sections,-z,defs", "-o", str(library), *stub, "library.a", "-ldl", "-lpthread", "-lm", cwd=mesa)


def check_loads(library, root, architecture):
    """Whether it finds all that it needs in a folder's C library, which can be older than this machine's."""
    checked = subprocess.run([*loader(root, architecture), "--list", str(library)], capture_output=True, text=True)
    # The loader reports a missing version of a function without failing.
    if checked.returncode or checked.stderr:
        raise Unavailable(f"the stub of Intel's GPUs does not load: {checked.stderr.strip()}")


def loader(root, architecture):
    """The command that runs a program of this machine with the libraries of a folder."""
    libraries = root / "usr/lib" / LIBRARIES[architecture]
    return [str(libraries / LOADERS[architecture]), "--library-path", str(libraries)]
