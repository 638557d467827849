#!/usr/bin/env python3
"""Times CTranslate2, int8, on the encoder-decoder of `lexel bench generator`, beside ours in the same run.

    python3 -m venv /tmp/ct2 && /tmp/ct2/bin/pip install ctranslate2 numpy
    /tmp/ct2/bin/python tests/bench/peers/ctranslate2_int8.py --lexel build/release/bin/lexel --threads 2

The same sizes with random weights: 2 encoder and 4 decoder blocks of width 320, 5 heads, feed-forward 1280, 8192 tokens; two rows
(a caption of 12 pieces and one of a single piece), 256 tokens each, the likeliest taken. CTranslate2 has no guidance and is not charged for
it, nor for sampling. With one thread the time is CPU time, else wall time; of all calls the best, as in ours.
"""

import argparse
import json
import subprocess
import tempfile
import time

import ctranslate2
import numpy

ENCODER, DECODER, WIDTH, HEADS, HIDDEN, PIECES, CODES, TOKENS = 2, 4, 320, 5, 1280, 1000, 8192, 256
CAPTION = 12


def random_model(folder: str) -> None:
    spec = ctranslate2.specs.TransformerSpec.from_config(
        (ENCODER, DECODER), HEADS, pre_norm=True, activation=ctranslate2.specs.Activation.GELUTanh)
    random = numpy.random.default_rng(1)

    def weights(*shape: int) -> numpy.ndarray:
        return random.standard_normal(shape, dtype=numpy.float32) / numpy.sqrt(shape[-1], dtype=numpy.float32)

    def linear(layer, outputs: int, inputs: int) -> None:
        layer.weight, layer.bias = weights(outputs, inputs), numpy.zeros(outputs, numpy.float32)

    def norm(layer) -> None:
        layer.gamma, layer.beta = numpy.ones(WIDTH, numpy.float32), numpy.zeros(WIDTH, numpy.float32)

    def block(layer, is_decoder: bool) -> None:
        norm(layer.self_attention.layer_norm)
        linear(layer.self_attention.linear[0], 3 * WIDTH, WIDTH)
        linear(layer.self_attention.linear[1], WIDTH, WIDTH)
        if is_decoder:
            norm(layer.attention.layer_norm)
            for map_, outputs in zip(layer.attention.linear, (WIDTH, 2 * WIDTH, WIDTH)):
                linear(map_, outputs, WIDTH)
        norm(layer.ffn.layer_norm)
        linear(layer.ffn.linear_0, HIDDEN, WIDTH)
        linear(layer.ffn.linear_1, WIDTH, HIDDEN)

    for side, count in ((spec.encoder, PIECES), (spec.decoder, CODES)):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = weights(count, WIDTH)
        side.position_encodings.encodings = weights(TOKENS + 8, WIDTH)
        norm(side.layer_norm)
        for layer in side.layer:
            block(layer, side is spec.decoder)
    linear(spec.decoder.projection, CODES, WIDTH)
    names = ["<unk>", "<s>", "</s>"]
    spec.register_source_vocabulary(names + [f"p{i}" for i in range(PIECES - 3)])
    spec.register_target_vocabulary(names + [f"c{i}" for i in range(CODES - 3)])
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(folder)


def ctranslate2_seconds(threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        random_model(folder)
        translator = ctranslate2.Translator(folder, compute_type="int8", inter_threads=1, intra_threads=threads)
    rows = [[f"p{i}" for i in range(CAPTION)], ["p1"]]

    def draw() -> None:
        results = translator.translate_batch(rows, beam_size=1, min_decoding_length=TOKENS,
                                             max_decoding_length=TOKENS)
        assert all(len(result.hypotheses[0]) == TOKENS for result in results)

    draw()
    clock = time.process_time if threads == 1 else time.perf_counter
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < 10.0:
        start = clock()
        draw()
        best = min(best, clock() - start)
    return best


def lexel_seconds(lexel: str, threads: int) -> float:
    case = "1 picture of 256 tokens, guidance"
    text = subprocess.run([lexel, "bench", "generator", "--quiet", "--threads", str(threads), "--case", case, "--json", "-"],
                          check=True, capture_output=True, text=True).stdout
    row = next(row for row in json.loads(text)["rows"] if row["case"] == case)
    return row["ours"]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lexel", default="build/release/bin/lexel")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    theirs = ctranslate2_seconds(arguments.threads)
    ours = lexel_seconds(arguments.lexel, arguments.threads)
    print(f"CTranslate2 {ctranslate2.__version__} int8, {arguments.threads} threads: {theirs * 1e3:.1f} ms, "
          f"Lexel {ours * 1e3:.1f} ms, ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
