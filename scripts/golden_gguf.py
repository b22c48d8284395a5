#!/usr/bin/env python3
"""Writes crates/gguf/tests/golden.gguf: blocks of every type that the room reads, and what ggml makes of them.

    pip install gguf llama-cpp-python
    python3 scripts/golden_gguf.py

`q4_k` holds stored blocks and `q4_k.values` what ggml reads from them, so for each type. `weights` holds numbers and
`weights.q4_k` the blocks that ggml makes of them, so for each type that the room writes. The blocks are read by the `gguf`
package, whose results are those of ggml bit for bit; Q4_K is written by ggml itself, as the package cannot.
"""
import ctypes
import pathlib

import gguf
import llama_cpp
import numpy as np
from gguf.quants import dequantize, quantize

READ = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
# Types that came later have a generator of their own, so that what was there before stays as it is.
LATER = ["Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", "MXFP4", "TQ1_0", "TQ2_0"]
WRITTEN = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_K"]
OUT = pathlib.Path(__file__).parent.parent / "crates/gguf/tests/golden.gguf"


# Where the float16 scales of a block lie, if not at its beginning.
SCALES = {
    **dict.fromkeys(["Q4_1", "Q5_1", "Q4_K", "Q5_K"], [0, 2]),
    "Q2_K": [80, 82], "Q3_K": [108], "Q6_K": [208], "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [],
}


def blocks(kind, rows, rng):
    """Random blocks: every byte is possible but in the float16 scales, which are kept finite."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if block == 1:
        values = rng.normal(size=(rows, 64)).astype(np.float32)
        return quantize(values, kind)
    raw = rng.integers(0, 256, size=(rows, 2 * size), dtype=np.uint8)
    scales = SCALES.get(kind.name, [0])
    for start in (0, size):
        for at in scales:
            scale = rng.normal(scale=0.02, size=(rows, 1)).astype(np.float16)
            raw[:, start + at : start + at + 2] = scale.view(np.uint8)
    if kind.name == "MXFP4":
        # Exponents of every size, the two that are below float32's normal numbers among them.
        raw[:, [0, size]] = np.array([[0, 1], [2, 100], [127, 251]], dtype=np.uint8)[:rows]
    return raw


def quantized_q4_k(values):
    """The blocks of ggml's reference quantizer."""
    library = next((pathlib.Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.so"))
    function = ctypes.CDLL(str(library)).quantize_row_q4_K_ref
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    values = np.ascontiguousarray(values)
    out = np.zeros(values.size // 256 * 144, dtype=np.uint8)
    function(values.ctypes.data, out.ctypes.data, values.size)
    return out.reshape(values.shape[0], -1)


def main():
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(OUT, "none")
    writer.add_string("golden.text", "Ä, ½ and 🦙")
    writer.add_array("golden.texts", ["a", "", "🦙"])
    writer.add_array("golden.numbers", [1, -2, 3])
    writer.add_float32("golden.float", 1e-5)
    writer.add_bool("golden.flag", True)
    for name in READ:
        kind = gguf.GGMLQuantizationType[name]
        raw = blocks(kind, 3, rng)
        writer.add_tensor(name.lower(), raw, raw_dtype=kind)
        writer.add_tensor(f"{name.lower()}.values", dequantize(raw, kind))
    # Normal and heavy-tailed rows, rows of one sign, a constant one and one of zeros.
    weights = np.concatenate([
        rng.normal(scale=0.02, size=(4, 512)),
        rng.standard_t(2, size=(3, 512)) * 0.01,
        np.abs(rng.normal(size=(1, 512))),
        -np.abs(rng.normal(size=(1, 512))),
        np.full((1, 512), 0.25),
        np.zeros((1, 512)),
    ]).astype(np.float32)
    writer.add_tensor("weights", weights)
    for name in WRITTEN:
        kind = gguf.GGMLQuantizationType[name]
        raw = quantized_q4_k(weights) if name == "Q4_K" else quantize(weights, kind)
        # The same bytes as they lie, since a reader would make numbers of them.
        writer.add_tensor(f"weights.{name.lower()}", raw, raw_dtype=kind)
    rng = np.random.default_rng(1)
    for name in LATER:
        kind = gguf.GGMLQuantizationType[name]
        raw = blocks(kind, 3, rng)
        writer.add_tensor(name.lower(), raw, raw_dtype=kind)
        writer.add_tensor(f"{name.lower()}.values", dequantize(raw, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
