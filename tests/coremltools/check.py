#!/usr/bin/env python3
"""Lets Apple's coremltools read packages: `check.py X.mlpackage ...`, exit status 1 when it finds anything wrong.

coremltools' own loader rebuilds every operation with type inference and fails where a declared type differs from the inferred one. What it
does not look at is checked here: the pairing of specification and opset, names, literal arguments, parameters left out, ranks, the
description against the program, and that every byte of a weight file belongs to a constant that the program uses.
"""
import collections
import logging
import pathlib
import re
import struct
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import coremltools
from coremltools import _OPSET, proto
from coremltools.converters.mil.frontend.milproto import load as frontend
from coremltools.libmodelpackage import ModelPackage

FEATURE = {"FLOAT32": 65568, "FLOAT16": 65552, "INT32": 131104, "INT8": 131080}


def tensor(value_type):
    """(dtype name, shape) of a tensor or state type; unknown lengths are None."""
    kind = value_type.WhichOneof("type")
    t = value_type.stateType.wrappedType.tensorType if kind == "stateType" else value_type.tensorType
    shape = [d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in t.dimensions]
    return proto.MIL_pb2.DataType.Name(t.dataType), shape


def arguments(operation):
    for name, argument in operation.inputs.items():
        for binding in argument.arguments:
            yield name, binding


class Check:
    def __init__(self, path):
        self.path, self.problems = path, []
        self.model = path / "Data/com.apple.CoreML/model.mlmodel"
        self.spec = proto.Model_pb2.Model.FromString(self.model.read_bytes())
        self.used = collections.defaultdict(set)

    def problem(self, text):
        self.problems.append(text)

    def run(self):
        if not ModelPackage.isValid(str(self.path)):
            self.problem("Apple's package library refuses the package")
        version, program = self.spec.specificationVersion, self.spec.mlProgram
        for name, function in program.functions.items():
            if function.opset != _OPSET.get(version):
                self.problem(f"{name}: opset {function.opset} in a model of specification {version}")
            self.function(name, function.block_specializations[function.opset])
        self.features(program)
        self.weights()
        try:
            loaded = frontend.load(self.spec, version, str(self.model.parent / "weights"))
        except Exception as error:  # whatever coremltools raises is a finding
            self.problem(f"coremltools does not load the program: {type(error).__name__}: {error}")
        else:
            self.omitted(program, loaded)
        try:
            coremltools.models.MLModel(str(self.path), skip_model_load=True)
        except Exception as error:
            self.problem(f"coremltools does not open the package: {type(error).__name__}: {error}")
        return self.problems

    def function(self, function, block):
        names = collections.Counter()
        for operation in block.operations:
            at = f"{function}: {operation.type} {[v.name for v in operation.outputs]}"
            if "name" not in operation.attributes:
                self.problem(f"{at}: no name attribute")
            constexpr = operation.type.startswith("constexpr_")
            for parameter, binding in arguments(operation):
                if binding.WhichOneof("binding") == "value":
                    self.blob(binding.value)
                    if not constexpr:
                        self.problem(f"{at}: {parameter} is a literal in place")
            for value in operation.attributes.values():
                self.blob(value)
            for output in operation.outputs:
                names[output.name] += 1
                if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", output.name):
                    self.problem(f"{at}: the name is no identifier")
                if output.type.WhichOneof("type") == "tensorType" and output.type.tensorType.rank > 5 and operation.type != "const" and not constexpr:
                    self.problem(f"{at}: rank {output.type.tensorType.rank}")
        for name, count in names.items():
            if count > 1:
                self.problem(f"{function}: {name} is defined {count} times")

    def blob(self, value):
        if value.WhichOneof("value") == "blobFileValue":
            self.used[value.blobFileValue.fileName].add(value.blobFileValue.offset)

    def weights(self):
        files = {f"@model_path/weights/{p.name}": p for p in (self.model.parent / "weights").glob("*")}
        if set(files) != set(self.used):
            self.problem(f"weight files {sorted(files)}, the program names {sorted(self.used)}")
        for name in set(files) & set(self.used):
            data = files[name].read_bytes()
            count, offset, found = struct.unpack_from("<I", data)[0], 64, set()
            while offset < len(data):
                sentinel, _, size, start = struct.unpack_from("<IIQQ", data, offset)
                if sentinel != 0xDEADBEEF or start != offset + 64 or start + size > len(data):
                    self.problem(f"{name}: no record at {offset}")
                    break
                found.add(offset)
                offset = -(-(start + size) // 64) * 64
            if found != self.used[name] or len(found) != count:
                self.problem(f"{name}: {count} blobs by its header, {len(found)} found, {len(self.used[name])} used")

    def features(self, program):
        description = self.spec.description
        pairs = [(f, program.functions[f.name]) for f in description.functions] or [(description, program.functions["main"])]
        for described, function in pairs:
            block = function.block_specializations[function.opset]
            values = {v.name: v.type for o in block.operations for v in o.outputs}
            tensors = {v.name: v.type for v in function.inputs if v.type.WhichOneof("type") == "tensorType"}
            states = {v.name: v.type for v in function.inputs if v.type.WhichOneof("type") == "stateType"}
            outputs = {name: values.get(name) for name in block.outputs}
            for features, expected in ((described.input, tensors), (described.output, outputs), (described.state, states)):
                if [f.name for f in features] != list(expected):
                    self.problem(f"described {[f.name for f in features]}, the program has {list(expected)}")
                    continue
                for feature in features:
                    kind = feature.type.WhichOneof("Type")
                    array = feature.type.stateType.arrayType if kind == "stateType" else feature.type.multiArrayType
                    dtype, shape = tensor(expected[feature.name])
                    if kind != "imageType" and (array.dataType != FEATURE.get(dtype) or (array.shape and list(array.shape) != shape and None not in shape)):
                        self.problem(f"feature {feature.name}: {list(array.shape)} of type {array.dataType}, the program has {dtype} {shape}")

    def omitted(self, program, loaded):
        for name, function in program.functions.items():
            operations = {v.name: o for o in loaded.functions[name].operations for v in o.outputs}
            for operation in function.block_specializations[function.opset].operations:
                known = operations.get(operation.outputs[0].name) if operation.outputs else None
                if operation.type == "const" or known is None or known.op_type != operation.type:
                    continue
                given = set(operation.inputs) | set(operation.attributes)
                missing = [k for k, v in known.inputs.items() if v is not None and k not in given and not k.startswith("_")]
                if missing:
                    self.problem(f"{name}: {operation.type} {operation.outputs[0].name} leaves out {missing}")


def main():
    failed = 0
    for path in map(pathlib.Path, sys.argv[1:]):
        problems = Check(path).run()
        failed += bool(problems)
        print(f"{path.name}: {'ok' if not problems else ''}")
        for problem in problems:
            print(f"  {problem}")
    print(f"coremltools: {len(sys.argv) - 1 - failed} passed, {failed} failed")
    return 1 if failed or len(sys.argv) == 1 else 0


if __name__ == "__main__":
    sys.exit(main())
