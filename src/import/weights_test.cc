// SPDX-License-Identifier: Apache-2.0
#include "import/weights.h"

#include "import/pytorch_legacy.h"
#include "import/pytorch_zip.h"
#include "import/safetensors.h"
#include "import/weights_testing.h"
#include "vitrail/tensor_file.h"

namespace vitrail {
namespace {
std::string safe(const std::string& json, const std::string& data) {
  return le(static_cast<uint64_t>(json.size())) + json + data;
}
SafeTensors parse_safe(const std::string& file) { return read_safetensors(shared(file), "'a'"); }

TEST(SafeTensors, Reads) {
  const SafeTensors out = parse_safe(safe(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},)"
      R"("a":{"data_offsets":[0,8],"dtype":"F32","shape":[2,1]},"e":{"dtype":"BF16","shape":[0,4],"data_offsets":[16,16]}})",
      raw<float>({1, 2}) + le<int64_t>(-3)));
  ASSERT_EQ(out.tensors.size(), 3u);
  EXPECT_EQ(out.tensors[0].first, "b");
  EXPECT_EQ(out.tensors[0].second.number_at(0), -3);
  EXPECT_TRUE(out.tensors[1].second.same(Tensor::of<float>({2, 1}, {1, 2})));
  EXPECT_EQ(out.tensors[2].second.dtype(), DType::bf16);
  EXPECT_EQ(out.metadata.at("format"), "pt");
  EXPECT_TRUE(parse_safe(safe("{}", "")).tensors.empty());
}

TEST(SafeTensors, RefusesDamage) {
  const auto refused = [](Code code, const std::string& part, const std::string& file) {
    expect_error(code, part, [&] { parse_safe(file); });
  };
  const auto one = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const std::string data(8, '\1');
  refused(Code::bad_input, "header length", "1234567");
  refused(Code::bad_input, "at most 2", le<uint64_t>(3) + "{}");
  refused(Code::bad_input, "header of 18446744073709551615", le(~uint64_t{0}) + "{}");
  refused(Code::bad_input, "header of 100000001", le<uint64_t>(100'000'001) + "{}");
  refused(Code::bad_input, "no JSON object", safe("[]", ""));
  refused(Code::bad_input, "no valid JSON", safe("{", ""));
  refused(Code::bad_input, "no valid JSON", safe("{\"\xff\":1}", ""));
  refused(Code::bad_input, "no valid JSON", safe("{} {}", ""));
  refused(Code::bad_input, "a list", safe("{\"a\":" + std::string(1'000'000, '['), ""));
  refused(Code::bad_input, "an object", safe(one(good + R"(,"x":{})"), data));
  refused(Code::bad_input, "an object", safe(R"({"__metadata__":{"a":{}}})", ""));
  refused(Code::bad_input, "twice", safe("{\"a\":{" + good + "},\"a\":{" + good + "}}", data));
  refused(Code::bad_input, "twice", safe(one(good + R"(,"dtype":"F32")"), data));
  refused(Code::bad_input, "twice", safe(R"({"__metadata__":{"k":"1","k":"2"}})", ""));
  refused(Code::bad_input, "missing", safe(one(R"("dtype":"F32","shape":[2])"), data));
  refused(Code::bad_input, "missing or short",
          safe(one(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), data));
  refused(Code::bad_input, "a number",
          safe(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,9])"), data));
  refused(Code::unsupported, "'F8_E4M3'",
          safe(one(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"), data));
  refused(Code::bad_input, "needs 12 bytes, found 8",
          safe(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), data));
  refused(Code::bad_input, "tensor 'a'",
          safe(one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"), data));
  refused(Code::bad_input, "a negative number",
          safe(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), data));
  refused(Code::bad_input, "a fraction",
          safe(one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), data));
  refused(Code::bad_input, "within 8 bytes",
          safe(one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), data));
  refused(Code::bad_input, "within 8 bytes",
          safe(one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), data));
  refused(Code::bad_input, "the data has 9", safe(one(good), data + "x"));
  refused(Code::bad_input, "starts at 4, expected 0",
          safe(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), data));
  refused(Code::bad_input, "starts at 0, expected 8",
          safe("{\"a\":{" + good + "},\"b\":{" + good + "}}", data));
}

TEST(SafeTensors, AHundredThousandTensors) {
  std::string json = "{";
  for (int i = 0; i < 100'000; ++i)
    json += fmt::format("{}\"t{}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{},{}]}}",
                        i == 0 ? "" : ",", i, i, i + 1);
  EXPECT_EQ(parse_safe(safe(json + "}", std::string(100'000, 'x'))).tensors.size(), 100'000u);
}

TEST(SafeTensors, TruncationAndFlips) {
  const std::string whole =
      safe(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", raw<float>({1, 2}));
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_THROW(parse_safe(whole.substr(0, n)), Error) << n;
    for (const int flip : {0x01, 0x10, 0x80, 0xFF}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      try {
        parse_safe(changed);
      } catch (const Error&) {
      }
    }
  }
}

TEST(SafeTensors, WritesWhatItReads) {
  const TempFolder folder;
  SafeTensors content{
      {{"w.weight", Tensor::of<float>({2}, {1, 2})}, {"n", Tensor(DType::bf16, {0})}},
      {{"format", "pt"}}};
  save_safetensors(folder.at("a"), content);
  const WeightFile back = load_weights(folder.at("a"));
  EXPECT_EQ(back.format(), "safetensors");
  ASSERT_NE(back.find("w.weight"), nullptr);
  EXPECT_TRUE(back.find("w.weight")->same(content.tensors[0].second));
  EXPECT_EQ(back.find("none"), nullptr);
  content.tensors.push_back(content.tensors[0]);
  expect_error(Code::bad_input, "two tensors", [&] { save_safetensors(folder.at("b"), content); });
  content.tensors = {{"\xff", Tensor(DType::u8, {1})}};
  expect_error(Code::bad_input, "UTF-8", [&] { save_safetensors(folder.at("b"), content); });
}

// PyTorch checkpoints.
std::string torch_zip(const std::string& pickle, const std::vector<ZipEntry>& more = {}) {
  std::vector<ZipEntry> entries = {{"archive/data.pkl", pickle},
                                   {"archive/byteorder", "little"},
                                   {"archive/data/0", raw<float>({0, 1, 2, 3, 4, 5})},
                                   {"archive/version", "3\n"}};
  entries.insert(entries.end(), more.begin(), more.end());
  return zip_of(entries);
}
NamedTensors parse_torch(const std::string& pickle, const std::vector<ZipEntry>& more = {}) {
  return read_pytorch_zip(Archive(shared(torch_zip(pickle, more)), "'a.pth'"));
}
const std::string kTensor = pkl::tensor({.elements = 6, .dims = {2, 3}, .strides = {3, 1}});

TEST(PyTorchZip, ReadsAStateDict) {
  const std::string ordered =
      pkl::global("collections", "OrderedDict") + ")R(" + pkl::text("w") + kTensor +
      pkl::text("b") + pkl::tensor({.elements = 6, .offset = 4, .dims = {2}, .strides = {1}}) +
      "u}" + pkl::text("_metadata") + "}sb";
  for (const std::string& body : {ordered, pkl::dict({{"epoch", "K\5"}, {"state_dict", ordered}}),
                                  pkl::dict({{"optimizer", pkl::dict({})},
                                             {"model", pkl::dict({{"state_dict", ordered}})}})}) {
    const NamedTensors out = parse_torch(pkl::document(body));
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(out[0].first, "w");
    EXPECT_TRUE(out[0].second.same(Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5})));
    EXPECT_TRUE(out[1].second.same(Tensor::of<float>({2}, {4, 5})));
  }
}

TEST(PyTorchZip, HonoursStridesAndOffsets) {
  const auto read = [](const pkl::TensorSpec& spec) {
    return parse_torch(pkl::document(pkl::dict({{"w", pkl::tensor(spec)}})))[0].second;
  };
  EXPECT_TRUE(read({.elements = 6, .dims = {3, 2}, .strides = {1, 3}})
                  .same(Tensor::of<float>({3, 2}, {0, 3, 1, 4, 2, 5})));
  EXPECT_TRUE(read({.elements = 6, .offset = 1, .dims = {2, 2}, .strides = {3, 1}})
                  .same(Tensor::of<float>({2, 2}, {1, 2, 4, 5})));
  EXPECT_TRUE(read({.elements = 6, .offset = 2, .dims = {2, 2}, .strides = {0, 1}})
                  .same(Tensor::of<float>({2, 2}, {2, 3, 2, 3})));
  EXPECT_TRUE(read({.elements = 6, .dims = {1, 6, 1}, .strides = {999, 1, 77}})
                  .same(Tensor::of<float>({1, 6, 1}, {0, 1, 2, 3, 4, 5})));
  EXPECT_TRUE(
      read({.elements = 6, .offset = 5, .dims = {}, .strides = {}}).same(Tensor::scalar(5.0f)));
  EXPECT_EQ(read({.elements = 6, .offset = 6, .dims = {0, 3}, .strides = {3, 1}}).size(), 0);
}

TEST(PyTorchZip, ReadsParametersOtherTypesAndProtocolFour) {
  const std::string parameter =
      pkl::global("torch._utils", "_rebuild_parameter") +
      pkl::tuple({kTensor, "\x88", pkl::global("collections", "OrderedDict") + ")R"}) + "R";
  const std::string bools = pkl::tensor(
      {.storage = "BoolStorage", .key = "1", .elements = 2, .dims = {2}, .strides = {1}});
  const NamedTensors out =
      parse_torch(pkl::document(pkl::dict({{"p", parameter}, {"flags", bools}, {"extra", "N"}})),
                  {{"archive/data/1", std::string("\1\2")}});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_TRUE(out[1].second.same(Tensor::of<bool>({2}, {true, true})));
  const std::string frame = "\x95" + le<uint64_t>(9999);
  EXPECT_EQ(parse_torch("\x80\x04" + frame + "}\x94\x8c\x01w\x94" + kTensor + "s.").size(), 1u);
}

TEST(PyTorchZip, RefusesHostilePicklesByName) {
  const auto refused = [](Code code, const std::string& part, const std::string& body) {
    expect_error(code, part, [&] { parse_torch(pkl::document(body)); });
  };
  refused(Code::bad_input, "'os.system'",
          pkl::dict({{"w", pkl::global("os", "system") + pkl::tuple({pkl::text("id")}) + "R"}}));
  refused(Code::bad_input, "'builtins.eval'",
          "\x8c\x08"
          "builtins\x8c\x04"
          "eval\x93");
  refused(Code::bad_input, "'__builtin__.getattr'", pkl::global("__builtin__", "getattr"));
  refused(Code::bad_input, "'torch.storage._load_from_bytes'",
          pkl::global("torch.storage", "_load_from_bytes"));
  refused(Code::bad_input, "'a b.c'", pkl::global("a b", "c"));
  refused(Code::unsupported, "ComplexFloatStorage",
          pkl::tensor({.storage = "ComplexFloatStorage"}));
  refused(Code::unsupported, "opcode 0x69", "(i");        // INST
  refused(Code::unsupported, "opcode 0x6f", "(o");        // OBJ
  refused(Code::unsupported, "opcode 0x82", "\x82\x01");  // EXT1
  refused(Code::unsupported, "protocol 0", std::string("\x80\0", 2));
  refused(Code::bad_input, "no global", "K\1)R");
  refused(Code::bad_input, "no mark", "t");
  refused(Code::bad_input, "nothing on its stack", "0");
  refused(Code::bad_input, "nothing on its stack", "K\1(0");
  refused(Code::bad_input, "no memo entry 7", "h\7");
  refused(Code::bad_input, "takes none", "K\1K\2a");
  refused(Code::bad_input, "takes none", "}(K\1u");
  refused(Code::bad_input, "expected 1", "K\1K\2");
  refused(Code::bad_input, "an opcode", "K\1q");
  refused(Code::bad_input, "a text", "X\xff\xff\xff\xff");
  refused(Code::bad_input, "a name", "cos\nsys");
  refused(Code::unsupported, "integer of 9",
          "\x8a\x09"
          "123456789");
  refused(Code::bad_input, "no state dict", "K\1");
  refused(Code::bad_input, "'epoch'", pkl::dict({{"epoch", "K\1"}}));
}

TEST(PyTorchZip, DepthAndCyclesCostNoStack) {
  std::string deep = ")";
  for (int i = 0; i < 900'000; ++i) deep += '\x85';
  expect_error(Code::bad_input, "no state dict", [&] { parse_torch(pkl::document(deep)); });
  expect_error(Code::unsupported, "more than",
               [&] { parse_torch(pkl::document(std::string(2'000'000, ')'))); });
  expect_error(Code::bad_input, "no state dict",
               [&] { parse_torch(pkl::document("}q\1" + pkl::text("model") + "h\1s")); });
}

TEST(PyTorchZip, ChecksStoragesAndExtents) {
  const auto refused = [](Code code, const std::string& part, const pkl::TensorSpec& spec) {
    expect_error(code, part, [&] {
      parse_torch(pkl::document(pkl::dict({{"w", pkl::tensor(spec)}})));
    });
  };
  refused(Code::bad_input, "'9' is missing",
          {.key = "9", .elements = 6, .dims = {6}, .strides = {1}});
  refused(Code::bad_input, "'../0' is missing",
          {.key = "../0", .elements = 6, .dims = {6}, .strides = {1}});
  refused(Code::bad_input, "24 bytes", {.elements = 7, .dims = {6}, .strides = {1}});
  refused(Code::bad_input, "damaged storage reference",
          {.elements = -1, .dims = {6}, .strides = {1}});
  refused(Code::bad_input, "24 bytes",
          {.storage = "DoubleStorage", .elements = 6, .dims = {6}, .strides = {1}});
  refused(Code::bad_input, "ends at 7", {.elements = 6, .dims = {7}, .strides = {1}});
  refused(Code::bad_input, "ends at 7", {.elements = 6, .offset = 1, .dims = {6}, .strides = {1}});
  refused(Code::bad_input, "ends at 11", {.elements = 6, .dims = {6}, .strides = {2}});
  refused(Code::bad_input, "negative", {.elements = 6, .dims = {6}, .strides = {-1}});
  refused(Code::bad_input, "negative", {.elements = 6, .dims = {-6}, .strides = {1}});
  refused(Code::bad_input, "damaged offset",
          {.elements = 6, .offset = -4, .dims = {6}, .strides = {1}});
  refused(Code::bad_input, "damaged offset", {.elements = 6, .dims = {6}, .strides = {}});
  refused(Code::bad_input, "'w'",
          {.elements = 6, .dims = {6, 2}, .strides = {INT64_MAX, INT64_MAX}});
  refused(Code::bad_input, "'w'", {.elements = 6, .dims = {INT64_MAX, 4}, .strides = {0, 0}});
  refused(Code::bad_input, "justifies", {.elements = 6, .dims = {1 << 30}, .strides = {0}});
  refused(Code::bad_input, "ends at 8", {.elements = 6, .offset = 8, .dims = {0}, .strides = {1}});
}

TEST(PyTorchZip, TruncationAndFlips) {
  const std::string whole = torch_zip(pkl::document(pkl::dict({{"w", kTensor}})));
  const std::string pickle = pkl::document(pkl::dict({{"w", kTensor}}));
  for (size_t n = 0; n < pickle.size(); ++n) {
    EXPECT_THROW(parse_torch(pickle.substr(0, n)), Error) << n;
    for (int value = 0; value < 256; value += 3) {
      std::string changed = pickle;
      changed[n] = static_cast<char>(value);
      try {
        parse_torch(changed);
      } catch (const Error&) {
      }
    }
  }
  for (size_t n = 0; n < whole.size(); ++n)
    EXPECT_THROW(read_pytorch_zip(Archive(shared(whole.substr(0, n)), "a")), Error) << n;
}

std::string legacy(const std::string& object, int64_t elements,
                   const std::string& keys = "](" + pkl::text("0") + "e",
                   const std::string& facts = pkl::dict({{"little_endian", "\x88"}})) {
  return "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8\x50\x19." + pkl::document("M\xe9\x03") +
         pkl::document(facts) + pkl::document(object) + pkl::document(keys) + le(elements) +
         raw<float>({0, 1, 2, 3, 4, 5});
}
const std::string kLegacyObject = pkl::dict(
    {{"w", pkl::tensor({.elements = 6, .dims = {2, 3}, .strides = {3, 1}, .view = "N"})},
     {"t", pkl::tensor({.elements = 6, .offset = 1, .dims = {2}, .strides = {2}, .view = "N"})}});

TEST(PyTorchLegacy, Reads) {
  const NamedTensors out = read_pytorch_legacy(shared(legacy(kLegacyObject, 6)), "a");
  ASSERT_EQ(out.size(), 2u);
  EXPECT_TRUE(out[0].second.same(Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5})));
  EXPECT_TRUE(out[1].second.same(Tensor::of<float>({2}, {1, 3})));
}

TEST(PyTorchLegacy, RefusesDamage) {
  const auto refused = [](Code code, const std::string& part, const std::string& file) {
    expect_error(code, part, [&] { read_pytorch_legacy(shared(file), "a"); });
  };
  const std::string twice = "](" + pkl::text("0") + pkl::text("0") + "e";
  refused(Code::bad_input, "'os.system'", legacy(pkl::global("os", "system"), 6));
  refused(Code::bad_input, "'os.system'", legacy(kLegacyObject, 6, pkl::global("os", "system")));
  refused(Code::bad_input, "has 5 elements, expected 6", legacy(kLegacyObject, 5));
  refused(Code::bad_input, "has -1 elements", legacy(kLegacyObject, -1));
  refused(Code::bad_input, "listed twice", legacy(kLegacyObject, 6, twice));
  refused(Code::bad_input, "never used", legacy(kLegacyObject, 6, "](" + pkl::text("9") + "e"));
  refused(Code::bad_input, "is missing",
          legacy(kLegacyObject, 6, "]").substr(0, legacy(kLegacyObject, 6, "]").size() - 32));
  refused(Code::bad_input, "no list", legacy(kLegacyObject, 6, "K\1"));
  refused(Code::bad_input, "behind the last", legacy(kLegacyObject, 6) + "x");
  refused(Code::unsupported, "big-endian",
          legacy(kLegacyObject, 6, "]", pkl::dict({{"little_endian", "\x89"}})));
  refused(Code::unsupported, "a view",
          legacy(pkl::dict({{"w", pkl::tensor({.elements = 6, .view = ")"})}}), 6));
  const pkl::TensorSpec one{.elements = 6, .dims = {6}, .strides = {1}},
      other{.elements = 7, .dims = {6}, .strides = {1}};
  refused(Code::bad_input, "in two ways",
          legacy(pkl::dict({{"a", pkl::tensor(one)}, {"b", pkl::tensor(other)}}), 6));
}

TEST(PyTorchLegacy, TruncationAndFlips) {
  const std::string whole = legacy(kLegacyObject, 6);
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_THROW(read_pytorch_legacy(shared(whole.substr(0, n)), "a"), Error) << n;
    for (int value = 0; value < 256; value += 5) {
      std::string changed = whole;
      changed[n] = static_cast<char>(value);
      try {
        read_pytorch_legacy(shared(changed), "a");
      } catch (const Error&) {
      }
    }
  }
}

TEST(Weights, TellsKindsApartByContent) {
  const TempFolder folder;
  const std::string torch =
      folder.put("a.bin", torch_zip(pkl::document(pkl::dict({{"w", kTensor}}))));
  EXPECT_EQ(load_weights(torch).format(), "PyTorch checkpoint");
  save_npz(folder.at("b.pth"), {{"w", Tensor::scalar(1.0f)}});
  EXPECT_EQ(load_weights(folder.at("b.pth")).format(), "numpy archive");
  const auto refused = [&](Code code, const std::string& part, const std::string& content) {
    expect_error(code, part, [&] { load_weights(folder.put("x", content)); });
  };
  EXPECT_EQ(load_weights(folder.put("old.pth", legacy(kLegacyObject, 6))).format(),
            "PyTorch checkpoint");
  refused(Code::unsupported, "TorchScript",
          torch_zip(pkl::document("}"), {{"archive/constants.pkl", "x"}}));
  refused(Code::bad_input, "git lfs pull", "version https://git-lfs.github.com/spec/v1\n");
  refused(Code::bad_input, "HTML", "<!DOCTYPE html><html>");
  refused(Code::bad_input, "JPEG", "\xff\xd8\xff\xe0 JFIF");
  refused(Code::bad_input, "Python pickle", "\x80\x04}.");
  refused(Code::bad_input, "unknown kind", "hello");
  refused(Code::bad_input, "its directory is missing", "PK\3\4");
  refused(Code::bad_input, "empty", "");
  expect_error(Code::io, "No such file", [&] { load_weights(folder.at("none")); });
}

TEST(TensorFile, LoadsAndSaves) {
  const TempFolder folder;
  const NamedTensors tensors = {{"x", Tensor::of<float>({3}, {1, 2, 3})}};
  for (const char* name : {"a.npz", "a.npy"}) {
    write_tensors(folder.at(name), tensors);
    const NamedTensors back = read_tensors(folder.at(name));
    ASSERT_EQ(back.size(), 1u);
    EXPECT_EQ(back[0].first, name == std::string("a.npz") ? "x" : "data");
    EXPECT_TRUE(back[0].second.same(tensors[0].second));
  }
  expect_error(Code::usage, "holds one tensor", [&] { write_tensors(folder.at("b.npy"), {}); });
  expect_error(Code::usage, ".npz or .npy", [&] { write_tensors(folder.at("b.txt"), tensors); });
}

TEST(Weights, NamesMustDiffer) {
  expect_error(Code::bad_input, "'w' appears twice", [] {
    WeightFile("f", "x", {{"w", Tensor::scalar(1.0f)}, {"w", Tensor::scalar(2.0f)}});
  });
}
}  // namespace
}  // namespace vitrail
