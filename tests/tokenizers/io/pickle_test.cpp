#include "tokenizers/io/pickle.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::pickle {
namespace {

using tests::expect_error;

Document parse_text(const std::string& bytes) {
  return parse(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "x");
}

void expect_bad(const std::string& words, const std::string& bytes) {
  expect_error(ErrorKind::kBadData, words, [&] { parse_text(bytes); });
}

// A string literal with its zero bytes.
template <size_t N>
std::string raw(const char (&text)[N]) {
  return {text, N - 1};
}

/// ("storage", torch FloatStorage, "0", "cpu", 6) as persistent id: a storage.
std::string storage() {
  return raw(
      "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00"
      "0X\x03\x00\x00\x00"
      "cpuK\x06tQ");
}

TEST(Pickle, Scalars) {
  EXPECT_EQ(parse_text("N.").root->kind, Kind::kNone);
  EXPECT_EQ(parse_text("K\xff.").root->integer, 255);
  EXPECT_EQ(parse_text("M\x01\x02.").root->integer, 513);
  EXPECT_EQ(parse_text("J\xfe\xff\xff\xff.").root->integer, -2);
  EXPECT_EQ(parse_text(raw("\x8a\x00.")).root->integer, 0);
  EXPECT_EQ(parse_text("\x8a\x01\xff.").root->integer, -1);
  EXPECT_EQ(parse_text(raw("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.")).root->integer, INT64_MIN);
  EXPECT_EQ(parse_text(raw("G\x3f\xf8\x00\x00\x00\x00\x00\x00.")).root->real, 1.5);
  EXPECT_EQ(parse_text(raw("\x88.")).root->kind, Kind::kBool);
  EXPECT_EQ(parse_text(raw("\x8c\x02hi.")).root->text, "hi");
  const Document wide = parse_text(
      "\x8a\x09"
      "123456789.");
  EXPECT_EQ(wide.root->kind, Kind::kLong);
  EXPECT_EQ(wide.root->text, "123456789");
}

TEST(Pickle, DictKeepsOrderAndTheLastOfTwoEqualKeysWins) {
  const Document d =
      parse_text(raw("}(\x8c\x01"
                     "aK\x01\x8c\x01"
                     "bK\x02\x8c\x01"
                     "aK\x03u."));
  ASSERT_EQ(d.root->kind, Kind::kDict);
  EXPECT_EQ(find(*d.root, "a")->integer, 3);
  EXPECT_EQ(find(*d.root, "b")->integer, 2);
  EXPECT_EQ(find(*d.root, "c"), nullptr);
}

TEST(Pickle, MemoGivesTheSameValueAndCyclesAreHarmless) {
  const Document d =
      parse_text(raw("]q\x00h\x00"
                     "a."));  // a list that holds itself
  ASSERT_EQ(d.root->items.size(), 1U);
  EXPECT_EQ(d.root->items[0], d.root);
}

TEST(Pickle, BytesAfterStopAreNotRead) {
  const Document d = parse_text("K\x01.K\x02.");
  EXPECT_EQ(d.bytes, 3U);
  EXPECT_EQ(d.root->integer, 1);
}

TEST(Pickle, TensorAndParameterAreUnderstood) {
  const std::string tensor = "ctorch._utils\n_rebuild_tensor_v2\n(" + storage() +
                             raw("K\x01K\x02K\x02\x86K\x02K\x01\x86\x89)tR");
  for (const std::string& text :
       {tensor + ".", "ctorch._utils\n_rebuild_parameter\n(" + tensor + "\x88)tR."}) {
    const Document d = parse_text(text);
    ASSERT_EQ(d.root->kind, Kind::kTensor);
    EXPECT_EQ(d.root->numbers, (std::vector<int64_t>{1, 2, 2, 2, 1}));
    EXPECT_EQ(d.root->items[0]->kind, Kind::kStorage);
    EXPECT_EQ(d.root->items[0]->text, "0");
    EXPECT_EQ(d.root->items[0]->integer, 6);
    EXPECT_EQ(d.root->items[0]->dtype, at::kFloat);
  }
}

TEST(Pickle, UnknownCallsAreOpaqueAndTheirItemsAreDropped) {
  EXPECT_EQ(parse_text("cargparse\nNamespace\n)R.").root->kind, Kind::kOpaque);
  EXPECT_EQ(parse_text("cargparse\nNamespace\n)\x81}b.").root->kind, Kind::kOpaque);
  EXPECT_EQ(parse_text("ccollections\ndefaultdict\n)RK\x01K\x02sK\x03"
                       "a.")
                .root->kind,
            Kind::kOpaque);
  EXPECT_EQ(parse_text("cbuiltins\nset\n]\x85R.").root->kind, Kind::kOpaque);
}

TEST(Pickle, NamingADangerousFunctionIsNoCall) {
  const Document d = parse_text("cos\nsystem\n.");
  EXPECT_EQ(d.root->kind, Kind::kGlobal);
  EXPECT_EQ(d.root->text, "os system");
}

TEST(Pickle, EveryWayToCallADangerousFunctionIsRefusedByName) {
  for (const char* name :
       {"os system", "posix system", "nt system", "io open", "_io open", "sys exit",
        "builtins eval", "builtins exec", "builtins getattr", "__builtin__ open",
        "subprocess Popen", "importlib import_module", "os.path join", "runpy run_path"}) {
    const std::string text = name;
    const size_t space = text.find(' ');
    const std::string module = text.substr(0, space), function = text.substr(space + 1);
    const std::string global = "c" + module + "\n" + function + "\n";
    const std::string words = "refused: this checkpoint calls " + text;
    expect_bad(words, global + ")R.");
    expect_bad(words, global +
                          "\x8c\x01"
                          "aK\x01\x86R.");
    expect_bad(words, global + ")\x81.");                        // NEWOBJ
    expect_bad(words, global + ")}\x92.");                       // NEWOBJ_EX
    expect_bad(words, "(" + global + "o.");                      // OBJ
    expect_bad(words, "(i" + module + "\n" + function + "\n.");  // INST
    expect_bad(words, "\x8c" + std::string(1, static_cast<char>(module.size())) + module + "\x8c" +
                          std::string(1, static_cast<char>(function.size())) + function +
                          "\x93)R.");
  }
}

TEST(Pickle, ANameWithControlCharactersStaysOneLine) {
  expect_bad("os sys?tem", "\x8c\x02os\x8c\x07sys\ntem\x93)R.");
}

TEST(Pickle, MalformedInputIsRefused) {
  expect_bad("truncated", "");
  expect_bad("truncated", "N");
  expect_bad("truncated", "cos");
  expect_bad("truncated", raw("X\xff\xff\xff\xff"
                              "abc."));
  expect_bad("truncated", raw("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                              "abc."));
  expect_bad("stack is empty", ".");
  expect_bad("stack is empty", "0.");
  expect_bad("stack is empty", "N(0.");  // what lies under a mark is out of reach
  expect_bad("no mark", "Nt.");
  expect_bad("nothing stored as 7", "h\x07.");
  expect_bad("unknown opcode 1", "\x01.");
  expect_bad("unknown protocol", "\x80\x09N.");
  expect_bad("appends to what is not a list", "NNa.");
  expect_bad("sets items of what is not a dict", "NNNs.");
  expect_bad("a key without its value", "}(Nu.");
  expect_bad("a key without its value", "(Nd.");
  expect_bad("calls what is not callable", "N)R.");
  expect_bad("without a tuple", "ca\nb\nNR.");
  expect_bad("a global without a name", "NN\x93.");
  expect_bad("an object without a class", "(o.");
}

TEST(Pickle, StoragesAndTensorsOfWrongArgumentsAreRefused) {
  expect_bad("a storage of wrong arguments", "NQ.");
  expect_bad("a storage of wrong arguments", "(NNNNNtQ.");
  std::string bad = storage();
  bad.replace(bad.find("Float"), 5, "Fancy");
  expect_bad("unknown storage torch FancyStorage", bad + ".");
  for (const char* arguments : {")", "(NNNNt", "(NK\x01))t"}) {
    expect_bad("a tensor of wrong arguments",
               "ctorch._utils\n_rebuild_tensor_v2\n" + std::string(arguments) + "R.");
  }
  expect_bad("a tensor of wrong sizes", "ctorch._utils\n_rebuild_tensor_v2\n(" + storage() +
                                            raw("K\x00J\xff\xff\xff\xff\x85K\x01\x85tR."));
  expect_bad("a tensor of wrong arguments",
             "ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + raw("K\x00K\x01\x85)tR."));
  expect_bad("a parameter of no tensor", "ctorch._utils\n_rebuild_parameter\n)R.");
  expect_bad("an OrderedDict of no", "ccollections\nOrderedDict\nN\x85R.");
}

TEST(Pickle, DeepNestingAndEndlessStacksAreBounded) {
  std::string deep(1'000'000, '(');
  expect_bad("truncated", deep);
  expect_bad("more than", std::string(5'000'000, ']'));
  expect_bad("more than", "N" + std::string(5'000'000, '2'));
  std::string nested = ")";
  nested.append(2'000'000, '\x85');  // ((((...))))
  EXPECT_EQ(parse_text(nested + ".").root->items.size(), 1U);
}

}  // namespace
}  // namespace lexel::pickle
