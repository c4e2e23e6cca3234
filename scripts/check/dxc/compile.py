"""Compiles the output of `wgpt shaders --for dx12 --dump FOLDER` with DXC, Microsoft's HLSL compiler, with wgpu's
options.

    compile.py LIBRARY FOLDER/dx12

LIBRARY is libdxcompiler.so. Shaders for model 5.1, which FXC compiles on Windows, are compiled as model 6.0, a superset
of 5.1. The exit status is not 0 if a shader is rejected.
"""

import ctypes
import multiprocessing
import pathlib
import sys
import uuid

CLASS, COMPILER, RESULT = (
    uuid.UUID(text).bytes_le
    for text in (
        "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0",
        "228b4687-5a6a-4730-900c-9702b2203f54",
        "58346cda-dde7-4497-9461-6f87af5e0659",
    )
)
OPTIONS = ["-E", "main", "-HV", "2018", "-no-warnings", "-Od"]
MODELS = {"hlsl-5.1": ["-T", "cs_6_0"], "hlsl-6.2": ["-T", "cs_6_2", "-enable-16bit-types"]}
UTF8 = 65001
# Methods come after IUnknown's three and, in libraries of this age outside Windows, after two destructors.
FIRST = 5


class Buffer(ctypes.Structure):
    """DxcBuffer"""

    _fields_ = [("pointer", ctypes.c_char_p), ("size", ctypes.c_size_t), ("encoding", ctypes.c_uint32)]


def call(thing, place, *arguments, result=ctypes.c_int32):
    """Calls the method at an index of a COM object's table."""
    table = ctypes.cast(thing, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    kinds = [ctypes.c_void_p] * (1 + len(arguments))
    return ctypes.CFUNCTYPE(result, *kinds)(table[place])(thing, *arguments)


def blob(thing):
    """The bytes of an IDxcBlob."""
    if not thing:
        return b""
    size = call(thing, FIRST + 1, result=ctypes.c_size_t)
    return ctypes.string_at(call(thing, FIRST, result=ctypes.c_void_p), size) if size else b""


def release(*things):
    """Releases COM objects."""
    for thing in things:
        if thing:
            call(thing, 2, result=ctypes.c_uint32)


def compile_shader(job):
    """DXC's errors for a file; None if it compiles."""
    library, path = job
    compiler, result, errors = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    create = ctypes.CDLL(library).DxcCreateInstance
    if create(CLASS, COMPILER, ctypes.byref(compiler)) != 0:
        raise SystemExit(f"{library} makes no compiler")
    text = path.read_bytes()
    options = OPTIONS + MODELS[path.parent.name]
    words = (ctypes.c_wchar_p * len(options))(*options)
    source = Buffer(text, len(text), UTF8)
    count = ctypes.c_void_p(len(options))
    call(compiler, FIRST, ctypes.byref(source), words, count, None, ctypes.c_char_p(RESULT), ctypes.byref(result))
    status = ctypes.c_int32(-1)
    call(result, FIRST, ctypes.byref(status))
    call(result, FIRST + 2, ctypes.byref(errors))
    said = blob(errors).decode(errors="replace").strip(" \n\0")
    release(errors, result, compiler)
    return None if status.value == 0 else f"{path}\n  {said}"


def main():
    """Compiles all shaders."""
    library, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    jobs = [(library, path) for model in MODELS for path in sorted((folder / model).glob("*.hlsl"))]
    with multiprocessing.Pool() as pool:
        complaints = [complaint for complaint in pool.imap_unordered(compile_shader, jobs, 16) if complaint]
    for complaint in complaints[:10]:
        print(complaint, file=sys.stderr)
    print(f"{len(jobs) - len(complaints)} of {len(jobs)} shaders compiled")
    sys.exit(bool(complaints) or not jobs)


if __name__ == "__main__":
    main()
