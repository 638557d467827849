#include "tokenizers/io/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iomanip>
#include <set>
#include <unordered_map>

#include "kernels/check.h"

namespace lexel::pickle {
namespace {

// Real checkpoints stay two orders of magnitude below.
constexpr size_t kMaxValues = 4'000'000;
constexpr size_t kMaxDimensions = 64;

/// Modules none of whose functions a checkpoint of tensors calls, and that can start, write or load things.
bool is_dangerous(const std::string& global) {
  static const std::set<std::string> modules = {"_io",
                                                "_pickle",
                                                "asyncio",
                                                "bdb",
                                                "cloudpickle",
                                                "code",
                                                "codeop",
                                                "commands",
                                                "ctypes",
                                                "dill",
                                                "http",
                                                "imp",
                                                "importlib",
                                                "io",
                                                "marshal",
                                                "multiprocessing",
                                                "nt",
                                                "operator",
                                                "os",
                                                "pdb",
                                                "pickle",
                                                "pip",
                                                "posix",
                                                "profile",
                                                "pty",
                                                "runpy",
                                                "shutil",
                                                "signal",
                                                "socket",
                                                "subprocess",
                                                "sys",
                                                "tempfile",
                                                "threading",
                                                "timeit",
                                                "trace",
                                                "types",
                                                "urllib",
                                                "webbrowser",
                                                "_posixsubprocess"};
  static const std::set<std::string> harmless_builtins = {
      "bool", "bytearray", "bytes", "complex", "dict",  "float", "frozenset", "int",    "list",
      "long", "object",    "range", "set",     "slice", "str",   "tuple",     "unicode"};
  const std::string module = global.substr(0, global.find(' '));
  const std::string package = module.substr(0, module.find('.'));
  const std::string function = global.substr(std::min(global.size(), module.size() + 1));
  if (package == "builtins" || package == "__builtin__")
    return harmless_builtins.count(function) == 0;
  return modules.count(package) > 0 && global != "types SimpleNamespace";
}

struct StorageType {
  const char* name;
  at::ScalarType dtype;
};
constexpr StorageType kStorageTypes[] = {
    {"DoubleStorage", at::kDouble},     {"FloatStorage", at::kFloat}, {"HalfStorage", at::kHalf},
    {"BFloat16Storage", at::kBFloat16}, {"LongStorage", at::kLong},   {"IntStorage", at::kInt},
    {"ShortStorage", at::kShort},       {"CharStorage", at::kChar},   {"ByteStorage", at::kByte},
    {"BoolStorage", at::kBool},
};

class Interpreter {
 public:
  Interpreter(const uint8_t* data, uint64_t bytes, const std::string& name)
      : begin_(data), at_(data), end_(data + bytes), name_(name) {}

  Document run() {
    while (step()) {
    }
    document_.root = pop();
    document_.bytes = static_cast<uint64_t>(at_ - begin_);
    return std::move(document_);
  }

 private:
  template <class... Parts>
  void want(bool ok, const Parts&... parts) const {
    check(ok, ErrorKind::kBadData, name_, ": bad pickle at byte ", at_ - begin_, ": ", parts...);
  }

  // --- input ---
  const uint8_t* take(uint64_t count) {
    want(count <= static_cast<uint64_t>(end_ - at_), "truncated");
    const uint8_t* const from = at_;
    at_ += count;
    return from;
  }
  uint64_t number(int count) {  // little-endian
    const uint8_t* const from = take(static_cast<uint64_t>(count));
    uint64_t value = 0;
    for (int i = 0; i < count; ++i) value |= uint64_t{from[i]} << (8 * i);
    return value;
  }
  std::string text(uint64_t count) {
    const uint8_t* const from = take(count);
    return {from, from + count};
  }
  std::string line() {
    const uint8_t* const stop = std::find(at_, end_, uint8_t{'\n'});
    want(stop != end_, "truncated");
    std::string result(at_, stop);
    at_ = stop + 1;
    return result;
  }

  // --- values and stack ---
  Value* make(Kind kind) {
    want(document_.arena.size() < kMaxValues, "more than ", kMaxValues, " values");
    document_.arena.emplace_back().kind = kind;
    return &document_.arena.back();
  }
  void push(Value* value) {
    want(stack_.size() < kMaxValues, "more than ", kMaxValues, " values");
    stack_.push_back(value);
  }
  void push_int(int64_t value, Kind kind = Kind::kInt) {
    Value* const v = make(kind);
    v->integer = value;
    push(v);
  }
  void push_text(Kind kind, std::string content) {
    Value* const v = make(kind);
    v->text = std::move(content);
    push(v);
  }
  void push_mark() {
    want(marks_.size() < kMaxValues, "more than ", kMaxValues, " marks");
    marks_.push_back(stack_.size());
  }
  /// The lowest place that may be popped: what lies under the last mark is out of reach.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Value* pop() {
    want(stack_.size() > floor(), "the stack is empty");
    Value* const value = stack_.back();
    stack_.pop_back();
    return value;
  }
  Value* top() {
    want(stack_.size() > floor(), "the stack is empty");
    return stack_.back();
  }
  std::vector<Value*> pop_to_mark() {
    want(!marks_.empty(), "no mark");
    const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Value*> items(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return items;
  }
  void push_items(Kind kind, std::vector<Value*> items) {
    Value* const v = make(kind);
    v->items = std::move(items);
    push(v);
  }
  void push_tuple(size_t count) {
    std::vector<Value*> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_items(Kind::kTuple, std::move(items));
  }
  void get(uint64_t index) {
    const auto found = memo_.find(index);
    want(found != memo_.end(), "nothing stored as ", index);
    push(found->second);
  }
  void push_long(uint64_t count) {
    std::string content = text(count);
    if (count > 8) return push_text(Kind::kLong, std::move(content));
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i)
      value |= uint64_t{static_cast<uint8_t>(content[i])} << (8 * i);
    const int shift = static_cast<int>(64 - 8 * count);
    push_int(count == 0 ? 0 : static_cast<int64_t>(value << shift) >> shift);
  }

  // --- containers ---
  void extend(const std::vector<Value*>& items) {
    Value* const list = top();
    if (list->kind == Kind::kOpaque) return;  // a subclass of list
    want(list->kind == Kind::kList, "appends to what is not a list");
    list->items.insert(list->items.end(), items.begin(), items.end());
  }
  void set_items(const std::vector<Value*>& items) {
    want(items.size() % 2 == 0, "a key without its value");
    Value* const dict = top();
    if (dict->kind == Kind::kOpaque) return;  // a defaultdict and the like
    want(dict->kind == Kind::kDict, "sets items of what is not a dict");
    dict->items.insert(dict->items.end(), items.begin(), items.end());
  }

  // --- objects ---
  void push_global(const std::string& module, const std::string& function) {
    push_text(Kind::kGlobal, module + " " + function);
  }
  /// Names the call; refuses what can do harm, though nothing would be called.
  std::string callee(const Value& callable) const {
    if (callable.kind == Kind::kOpaque) return "";
    want(callable.kind == Kind::kGlobal, "calls what is not callable");
    check(!is_dangerous(callable.text), ErrorKind::kBadData, name_,
          ": refused: this checkpoint calls ", printable(callable.text), " when Python loads it");
    return callable.text;
  }
  static std::string printable(std::string content) {
    content.resize(std::min<size_t>(content.size(), 100));
    std::replace_if(
        content.begin(), content.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return content;
  }
  void reduce() {
    const Value* const arguments = pop();
    const std::string function = callee(*pop());
    want(arguments->kind == Kind::kTuple, "calls without a tuple of arguments");
    if (function == "collections OrderedDict") {
      push(ordered_dict(*arguments));
    } else if (function == "torch._utils _rebuild_tensor_v2" ||
               function == "torch._utils _rebuild_tensor") {
      push(tensor(*arguments));
    } else if (function == "torch._utils _rebuild_parameter") {
      want(!arguments->items.empty() && arguments->items[0]->kind == Kind::kTensor,
           "a parameter of no tensor");
      push(arguments->items[0]);
    } else {
      push(make(Kind::kOpaque));
    }
  }
  Value* ordered_dict(const Value& arguments) {
    Value* const dict = make(Kind::kDict);
    if (arguments.items.empty()) return dict;
    const Value& pairs = *arguments.items[0];  // Python 2 and old versions give them here
    want(arguments.items.size() == 1 && pairs.kind == Kind::kList, "an OrderedDict of no list");
    for (const Value* pair : pairs.items) {
      want((pair->kind == Kind::kTuple || pair->kind == Kind::kList) && pair->items.size() == 2,
           "an OrderedDict of no pairs");
      dict->items.insert(dict->items.end(), pair->items.begin(), pair->items.end());
    }
    return dict;
  }
  /// (storage, offset, sizes, strides, ...); whether it stays inside its storage is checked when it is read.
  Value* tensor(const Value& arguments) {
    const auto& items = arguments.items;
    want(items.size() >= 4 && items[0]->kind == Kind::kStorage && items[1]->kind == Kind::kInt &&
             items[2]->kind == Kind::kTuple && items[3]->kind == Kind::kTuple &&
             items[2]->items.size() == items[3]->items.size() &&
             items[2]->items.size() <= kMaxDimensions,
         "a tensor of wrong arguments");
    Value* const result = make(Kind::kTensor);
    result->items = {items[0]};
    result->numbers = {items[1]->integer};
    for (const size_t part : {2, 3}) {
      for (const Value* n : items[part]->items) {
        want(n->kind == Kind::kInt && n->integer >= 0, "a tensor of wrong sizes");
        result->numbers.push_back(n->integer);
      }
    }
    return result;
  }
  /// ("storage", torch FloatStorage, key, device, elements, [view])
  void persistent_id() {
    const Value* const id = pop();
    want(id->kind == Kind::kTuple && id->items.size() >= 5 && id->items[0]->text == "storage" &&
             id->items[1]->kind == Kind::kGlobal && id->items[2]->kind == Kind::kString &&
             id->items[4]->kind == Kind::kInt && id->items[4]->integer >= 0,
         "a storage of wrong arguments");
    want(id->items.size() == 5 || id->items[5]->kind == Kind::kNone, "a view of a storage");
    const std::string& type = id->items[1]->text;
    const size_t space = type.find(' ');
    const std::string module = type.substr(0, space), storage = type.substr(space + 1);
    const auto* const known = std::find_if(std::begin(kStorageTypes), std::end(kStorageTypes),
                                           [&](const StorageType& t) { return storage == t.name; });
    want((module == "torch" || module == "torch.cuda") && known != std::end(kStorageTypes),
         "unknown storage ", printable(type));
    Value* const result = make(Kind::kStorage);
    result->dtype = known->dtype;
    result->text = id->items[2]->text;
    result->integer = id->items[4]->integer;
    push(result);
  }

  /// One opcode; false after STOP.
  bool step();

  const uint8_t* begin_;
  const uint8_t* at_;
  const uint8_t* end_;
  const std::string& name_;
  Document document_;
  std::vector<Value*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Value*> memo_;
};

// Opcodes: CPython's Lib/pickle.py, protocols 2 to 5. The text opcodes of protocol 0 are not there: no version
// of PyTorch wrote them.
// clang-format off
bool Interpreter::step() {
  const uint8_t opcode = *take(1);
  switch (opcode) {
    case '.': return false;                                                   // STOP
    case 0x80: want(number(1) <= 5, "unknown protocol"); return true;         // PROTO
    case 0x95: take(8); return true;                                          // FRAME
    // stack and memo
    case '(': push_mark(); return true;                  // MARK
    case '0': pop(); return true;                                             // POP
    case '1': pop_to_mark(); return true;                                     // POP_MARK
    case '2': push(top()); return true;                                       // DUP
    case 'q': memo_[number(1)] = top(); return true;                          // BINPUT
    case 'r': memo_[number(4)] = top(); return true;                          // LONG_BINPUT
    case 0x94: memo_[memo_.size()] = top(); return true;                      // MEMOIZE
    case 'h': get(number(1)); return true;                                    // BINGET
    case 'j': get(number(4)); return true;                                    // LONG_BINGET
    // scalars
    case 'N': push(make(Kind::kNone)); return true;                           // NONE
    case 0x88: push_int(1, Kind::kBool); return true;                         // NEWTRUE
    case 0x89: push_int(0, Kind::kBool); return true;                         // NEWFALSE
    case 'K': push_int(static_cast<int64_t>(number(1))); return true;         // BININT1
    case 'M': push_int(static_cast<int64_t>(number(2))); return true;         // BININT2
    case 'J': push_int(static_cast<int32_t>(number(4))); return true;         // BININT
    case 0x8a: push_long(number(1)); return true;                             // LONG1
    case 0x8b: push_long(number(4)); return true;                             // LONG4
    case 'G': {                                                               // BINFLOAT
      Value* const v = make(Kind::kFloat);
      v->real = std::bit_cast<double>(__builtin_bswap64(number(8)));
      push(v);
      return true;
    }
    // text
    case 'X': push_text(Kind::kString, text(number(4))); return true;         // BINUNICODE
    case 0x8c: push_text(Kind::kString, text(number(1))); return true;        // SHORT_BINUNICODE
    case 0x8d: push_text(Kind::kString, text(number(8))); return true;        // BINUNICODE8
    case 'T': push_text(Kind::kString, text(number(4))); return true;         // BINSTRING (Python 2)
    case 'U': push_text(Kind::kString, text(number(1))); return true;         // SHORT_BINSTRING
    case 'B': push_text(Kind::kBytes, text(number(4))); return true;          // BINBYTES
    case 'C': push_text(Kind::kBytes, text(number(1))); return true;          // SHORT_BINBYTES
    case 0x8e: push_text(Kind::kBytes, text(number(8))); return true;         // BINBYTES8
    case 0x96: push_text(Kind::kBytes, text(number(8))); return true;         // BYTEARRAY8
    // containers
    case ')': push(make(Kind::kTuple)); return true;                          // EMPTY_TUPLE
    case 0x85: push_tuple(1); return true;                                    // TUPLE1
    case 0x86: push_tuple(2); return true;                                    // TUPLE2
    case 0x87: push_tuple(3); return true;                                    // TUPLE3
    case 't': push_items(Kind::kTuple, pop_to_mark()); return true;           // TUPLE
    case ']': push(make(Kind::kList)); return true;                           // EMPTY_LIST
    case 'l': push_items(Kind::kList, pop_to_mark()); return true;            // LIST
    case 'a': { Value* const item = pop(); extend({item}); return true; }     // APPEND
    case 'e': { const auto items = pop_to_mark(); extend(items); return true; }  // APPENDS
    case 0x8f: push(make(Kind::kList)); return true;                          // EMPTY_SET
    case 0x90: { const auto items = pop_to_mark(); extend(items); return true; }  // ADDITEMS
    case 0x91: push_items(Kind::kList, pop_to_mark()); return true;           // FROZENSET
    case '}': push(make(Kind::kDict)); return true;                           // EMPTY_DICT
    case 'd': {                                                               // DICT
      auto items = pop_to_mark();
      want(items.size() % 2 == 0, "a key without its value");
      push_items(Kind::kDict, std::move(items));
      return true;
    }
    case 's': {                                                               // SETITEM
      Value* const value = pop();
      Value* const key = pop();
      set_items({key, value});
      return true;
    }
    case 'u': { const auto items = pop_to_mark(); set_items(items); return true; }  // SETITEMS
    // objects
    case 'c': {                                                               // GLOBAL
      const std::string module = line();
      push_global(module, line());
      return true;
    }
    case 0x93: {                                                              // STACK_GLOBAL
      const Value* const function = pop();
      const Value* const module = pop();
      want(function->kind == Kind::kString && module->kind == Kind::kString, "a global without a name");
      push_global(module->text, function->text);
      return true;
    }
    case 'Q': persistent_id(); return true;                                   // BINPERSID
    case 'R': reduce(); return true;                                          // REDUCE
    case 0x81: {                                                              // NEWOBJ
      pop();
      callee(*pop());
      push(make(Kind::kOpaque));
      return true;
    }
    case 0x92: {                                                              // NEWOBJ_EX
      pop();
      pop();
      callee(*pop());
      push(make(Kind::kOpaque));
      return true;
    }
    case 'o': {                                                               // OBJ
      const auto items = pop_to_mark();
      want(!items.empty(), "an object without a class");
      callee(*items[0]);
      push(make(Kind::kOpaque));
      return true;
    }
    case 'i': {                                                               // INST
      const std::string module = line();
      push_global(module, line());
      callee(*pop());
      pop_to_mark();
      push(make(Kind::kOpaque));
      return true;
    }
    case 'b': pop(); top(); return true;                                      // BUILD: attributes
    default:
      want(false, "unknown opcode ", static_cast<int>(opcode));
      return false;
  }
}
// clang-format on

}  // namespace

Document parse(const uint8_t* data, uint64_t bytes, const std::string& name) {
  return Interpreter(data, bytes, name).run();
}

const Value* find(const Value& dict, const std::string& key) {
  for (size_t i = dict.items.size(); i >= 2; i -= 2) {
    const Value& k = *dict.items[i - 2];
    if (k.kind == Kind::kString && k.text == key) return dict.items[i - 1];
  }
  return nullptr;
}

}  // namespace lexel::pickle
