#pragma once

// Private to tokenizers/io: the part of Python's pickle that checkpoints of tensors are made of.

#include <c10/core/ScalarType.h>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace lexel::pickle {

enum class Kind {
  kNone,
  kBool,     // integer
  kInt,      // integer; wider than 64 bits: kLong
  kLong,     // text: two's complement, little-endian
  kFloat,    // real
  kString,   // text
  kBytes,    // text
  kTuple,    // items
  kList,     // items; sets are lists
  kDict,     // items: key, value, key, value
  kGlobal,   // text: "module name", a class or function that was named and not looked up
  kStorage,  // text: its key; dtype; integer: number of elements
  kTensor,   // items: its storage; numbers: offset, sizes, strides (in elements)
  kOpaque,   // the result of some call that was not made
};

struct Value {
  Kind kind = Kind::kNone;
  at::ScalarType dtype = at::kFloat;
  int64_t integer = 0;
  double real = 0.0;
  std::string text;
  std::vector<Value*> items;
  std::vector<int64_t> numbers;
};

/// What a pickle holds. Values point into `arena`; they may be shared and may form cycles.
struct Document {
  std::deque<Value> arena;
  const Value* root = nullptr;
  uint64_t bytes = 0;  // of the input, up to and with its STOP
};

/// Reads one pickle (protocols 2 to 5). Nothing is ever imported, looked up or called: the constructors of
/// tensors, storages, parameters and OrderedDict are understood, every other call gives an opaque value.
///
/// name     of the file, for messages
/// throws   Error(kBadData) truncated or malformed, nested or large beyond all need, an unknown opcode, or a
///          call of a function that can do harm, such as "io open" or "os system" (named)
Document parse(const uint8_t* data, uint64_t bytes, const std::string& name);

/// The value of a string key in a dict; null when there is none. The last one wins, as in Python.
const Value* find(const Value& dict, const std::string& key);

}  // namespace lexel::pickle
