#!/usr/bin/env python3
"""Checks the layering: no file includes a header of a higher layer.

usage: include_order.py ROOT LAYERS

Every .c and .h of arena/, tcache/ and preload/ must stand in LAYERS, and every quoted #include must name
one of them or the public header, which lies below all. A name in LAYERS stands for the .c and the .h,
unless name.c stands there by itself. Folders are layers too, in the order above.
"""
import pathlib
import re
import sys

FOLDERS = ("arena", "tcache", "preload")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def read_layers(path):
    """Name -> number of its line, lowest first."""
    layers = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for name in line.split("#")[0].split():
            if name in layers:
                sys.exit(f"{path}:{number}: {name} stands there twice")
            layers[name] = number
    return layers


def main():
    root, layers_path = map(pathlib.Path, sys.argv[1:])
    layers = read_layers(layers_path)
    files = [p for f in FOLDERS for p in sorted((root / f).glob("**/*.[ch]"))]
    headers = {p.name: p for p in files if p.suffix == ".h"}
    errors = []

    if not files:
        sys.exit(f"no sources below {root}")
    for path in files:
        shown = path.relative_to(root)
        layer = layers.get(path.name, layers.get(path.stem))
        if layer is None:
            errors.append(f"{shown}: is in no layer of {layers_path.name}")
            continue
        if path.suffix == ".h" and headers[path.name] != path:
            errors.append(f"{shown}: there is another {path.name}")
        for include in INCLUDE.findall(path.read_text()):
            name = pathlib.PurePath(include).name
            if name == "arena.h" and name not in headers:
                continue
            if name not in headers:
                errors.append(f"{shown}: includes {include}, which is in none of {', '.join(FOLDERS)}")
                continue
            target = headers[name]
            if FOLDERS.index(target.relative_to(root).parts[0]) > FOLDERS.index(shown.parts[0]):
                errors.append(f"{shown}: includes {include} of a higher folder")
            elif layers.get(target.name, layers.get(target.stem, 0)) > layer:
                errors.append(f"{shown}: includes {include} of a higher layer")

    sys.exit("\n".join(errors) or None)


if __name__ == "__main__":
    main()
