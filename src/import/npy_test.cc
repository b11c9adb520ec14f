// SPDX-License-Identifier: Apache-2.0
#include "import/npy.h"

#include "import/npz.h"
#include "import/weights_testing.h"

namespace vitrail {
namespace {
std::string npy(const std::string& header, const std::string& data, char major = 1) {
  const std::string length = major == 1 ? le(static_cast<uint16_t>(header.size()))
                                        : le(static_cast<uint32_t>(header.size()));
  return std::string("\x93NUMPY") + major + '\0' + length + header + data;
}
std::string header(const std::string& descr, const std::string& shape,
                   const char* fortran = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }\n";
}
Tensor parse(const std::string& file) { return parse_npy(shared(file), "'a.npy'"); }

const std::string kSix = raw<float>({0, 1, 2, 3, 4, 5});

TEST(Npy, ReadsAllVersions) {
  for (char major : {1, 2, 3}) {
    const Tensor t = parse(npy(header("<f4", "(2, 3)"), kSix, major));
    EXPECT_TRUE(t.same(Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5}))) << int(major);
  }
}

TEST(Npy, ReadsWhatPythonsReprMayWrite) {
  const char* headers[] = {
      "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }      \n",
      "  {'descr' : '=f4' , 'fortran_order' : False , 'shape' : ( 2 , 3 , ) }  "};
  for (const char* text : headers) EXPECT_EQ(parse(npy(text, kSix)).dims(), (Dims{2, 3})) << text;
  EXPECT_EQ(parse(npy(header("<f4", "()"), raw<float>({7}))).rank(), 0u);
  EXPECT_EQ(parse(npy(header("<f4", "(6,)"), kSix)).dims(), (Dims{6}));
  EXPECT_EQ(parse(npy(header("<f4", "(0, 3)"), "")).size(), 0);
}

TEST(Npy, ConvertsFortranOrderAndBigEndian) {
  const Tensor f = parse(npy(header("<f4", "(2, 3)", "True"), raw<float>({0, 3, 1, 4, 2, 5})));
  EXPECT_TRUE(f.same(Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5})));
  const Tensor big = parse(npy(header(">i2", "(2,)"), std::string("\x01\x02\xff\xfe", 4)));
  EXPECT_TRUE(big.same(Tensor::of<int16_t>({2}, {0x0102, -2})));
  const Tensor both =
      parse(npy(header(">u2", "(1, 2, 2)", "True"), std::string("\0\1\0\3\0\2\0\4", 8)));
  EXPECT_TRUE(both.same(Tensor::of<uint16_t>({1, 2, 2}, {1, 2, 3, 4})));
}

TEST(Npy, MakesBooleansZeroOrOne) {
  const Tensor t = parse(npy(header("|b1", "(3,)"), std::string("\0\1\x7f", 3)));
  EXPECT_TRUE(t.same(Tensor::of<bool>({3}, {false, true, true})));
}

TEST(Npy, RefusesDamage) {
  const auto refused = [](Code code, const std::string& part, const std::string& file) {
    expect_error(code, part, [&] { parse(file); });
  };
  refused(Code::bad_input, "magic", "");
  refused(Code::bad_input, "magic", "\x93NUMPX\1");
  refused(Code::unsupported, "version 4.0", npy(header("<f4", "(1,)"), "1234", 4));
  refused(Code::bad_input, "4294967295 bytes",
          "\x93NUMPY\2" + std::string(1, '\0') + "\xff\xff\xff\xff{}");
  refused(Code::unsupported, "object arrays", npy(header("|O", "(1,)"), "\x80\x02."));
  refused(Code::unsupported, "records",
          npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "1234"));
  refused(Code::unsupported, "'<c8'", npy(header("<c8", "(1,)"), "12345678"));
  refused(Code::unsupported, "'<U3'", npy(header("<U3", "(1,)"), std::string(12, 'x')));
  refused(Code::bad_input, "needs 24 bytes, found 23",
          npy(header("<f4", "(2, 3)"), kSix.substr(1)));
  refused(Code::bad_input, "needs 24 bytes, found 25", npy(header("<f4", "(2, 3)"), kSix + "x"));
  refused(Code::bad_input, "a.npy", npy(header("<f4", "(4611686018427387904, 4)"), ""));
  refused(Code::bad_input, "a.npy", npy(header("<f8", "(2147483648, 2147483648)"), kSix));
  refused(Code::bad_input, "a.npy", npy(header("<f8", "(500000000000,)"), kSix));
  refused(Code::bad_input, "extent", npy(header("<f4", "(-1,)"), kSix));
  refused(Code::bad_input, "extent", npy(header("<f4", "(99999999999999999999,)"), kSix));
  std::string many = "(";
  for (int i = 0; i < 65; ++i) many += "1,";
  refused(Code::bad_input, "more than 64", npy(header("<f4", many + ")"), "1234"));
  refused(Code::bad_input, "repeated",
          npy("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': ()}", "1234"));
  refused(Code::bad_input, "missing", npy("{'descr': '<f4', 'shape': ()}", "1234"));
  refused(Code::bad_input, "not closed", npy("{'descr", ""));
  refused(Code::bad_input, "header", npy(std::string(60000, '('), ""));
}

TEST(Npy, EveryTruncationIsAnError) {
  const std::string whole = npy(header("<f4", "(2, 3)"), kSix);
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_THROW(parse(whole.substr(0, n)), Error) << n;
}

TEST(Npy, EveryFlippedByteIsAnErrorOrATensor) {
  const std::string whole = npy(header("<f4", "(2, 3)"), kSix);
  for (size_t n = 0; n < whole.size(); ++n)
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      try {
        EXPECT_EQ(parse(changed).bytes(), kSix.size());
      } catch (const Error&) {
      }
    }
}

TEST(Npy, WritesWhatItReads) {
  const TempFolder folder;
  for (const Tensor& t :
       {Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5}), Tensor::scalar<int64_t>(-5),
        Tensor::of<bool>({2}, {true, false}), Tensor(DType::f16, {0, 4}),
        Tensor::of<uint8_t>({1, 1, 1, 3}, {1, 2, 3})}) {
    save_npy(folder.at("a.npy"), t);
    EXPECT_TRUE(load_npy(folder.at("a.npy")).same(t)) << to_string(t.dims());
    EXPECT_EQ(npy_header(t).size() % 64, 0u);
  }
  EXPECT_EQ(npy_header(Tensor(DType::f32, {3})).substr(10, 58),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } ");
  expect_error(Code::unsupported, "bf16",
               [&] { save_npy(folder.at("b.npy"), Tensor(DType::bf16, {1})); });
  EXPECT_FALSE(std::filesystem::exists(folder.at("b.npy")));
}

std::string array(float value) { return npy(header("<f4", "(1,)"), raw<float>({value})); }
NamedTensors parse_npz(const std::string& file) {
  return read_npz(Archive(shared(file), "'a.npz'"));
}

TEST(Npz, ReadsStoredAndDeflated) {
  const NamedTensors out = parse_npz(zip_of({{"b.npy", array(1)}, {"x/a.npy", array(2), true}}));
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].first, "b");
  EXPECT_EQ(out[1].first, "x/a");
  EXPECT_EQ(out[1].second.number_at(0), 2);
  EXPECT_TRUE(parse_npz(zip_of({})).empty());
}

TEST(Npz, RefusesDamageAndTricks) {
  const auto refused = [](Code code, const std::string& part,
                          const std::vector<ZipEntry>& entries) {
    expect_error(code, part, [&] { parse_npz(zip_of(entries)); });
  };
  refused(Code::bad_input, "leaves", {{"../x.npy", array(1)}});
  refused(Code::bad_input, "leaves", {{"a/../../x.npy", array(1)}});
  refused(Code::bad_input, "leaves", {{"a\\..\\x.npy", array(1)}});
  refused(Code::bad_input, "leaves", {{"/x.npy", array(1)}});
  refused(Code::bad_input, "leaves", {{std::string("x\0.npy", 6), array(1)}});
  refused(Code::bad_input, "twice", {{"x.npy", array(1)}, {"x.npy", array(2)}});
  refused(Code::bad_input, "only .npy", {{"readme.txt", "hello"}});
  refused(Code::unsupported, "encrypted", {{.name = "x.npy", .data = array(1), .flags = 1}});
  refused(Code::unsupported, "method 14", {{.name = "x.npy", .data = array(1), .method = 14}});
  refused(Code::bad_input, "checksum", {{.name = "x.npy", .data = array(1), .crc = 7}});
  refused(Code::bad_input, "checksum",
          {{.name = "x.npy", .data = array(1), .deflate = true, .crc = 7}});
  refused(Code::bad_input, "beyond the declared",
          {{.name = "x.npy", .data = array(1), .deflate = true, .declared_size = 9}});
  refused(Code::bad_input, "compressed data",
          {{.name = "x.npy", .data = array(1), .deflate = true, .declared_size = 999}});
  refused(Code::bad_input, "declared with",
          {{.name = "x.npy", .data = array(1), .declared_size = 9}});
  refused(Code::bad_input, "expand to",
          {{.name = "x.npy", .data = array(1), .deflate = true, .declared_size = 0x70000000}});
  refused(Code::bad_input, "different names",
          {{.name = "x.npy", .data = array(1), .local_name = "y.npy"}});
  refused(Code::bad_input, "beyond the directory",
          {{.name = "x.npy", .data = array(1), .offset = 0x7fffffff}});
  refused(Code::bad_input, "no local header", {{.name = "x.npy", .data = array(1), .offset = 3}});
  // An entry inside the data of another.
  const std::string inner = zip_of({{"b.npy", array(1)}});
  refused(Code::bad_input, "share bytes",
          {{"a.npy", inner}, {.name = "b.npy", .data = array(1), .offset = 30 + 5}});
}

TEST(Npz, ABombIsRefusedBeforeItExpands) {
  std::vector<ZipEntry> entries;
  const std::string zeros = npy(header("<f4", "(5000000,)"), std::string(20'000'000, '\0'));
  for (int i = 0; i < 5; ++i) entries.push_back({std::to_string(i) + ".npy", zeros, true});
  expect_error(Code::bad_input, "in all beyond", [&] { parse_npz(zip_of(entries)); });
  entries.resize(3);
  EXPECT_EQ(parse_npz(zip_of(entries)).size(), 3u);
}

TEST(Npz, EveryTruncationIsAnErrorAndFlipsDoNotCrash) {
  const std::string whole = zip_of({{"b.npy", array(1)}, {"a.npy", array(2), true}});
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_THROW(parse_npz(whole.substr(0, n)), Error) << n;
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      try {
        parse_npz(changed);
      } catch (const Error&) {
      }
    }
  }
}

TEST(Npz, WritesWhatItReadsAndMapsIt) {
  const TempFolder folder;
  const NamedTensors tensors = {{"images", Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5})},
                                {"none", Tensor(DType::i32, {0})},
                                {"ids", Tensor::of<int64_t>({2}, {-1, 1})}};
  save_npz(folder.at("a.npz"), tensors);
  const NamedTensors back = load_npz(folder.at("a.npz"));
  ASSERT_EQ(back.size(), tensors.size());
  for (size_t i = 0; i < back.size(); ++i) {
    EXPECT_EQ(back[i].first, tensors[i].first);
    EXPECT_TRUE(back[i].second.same(tensors[i].second)) << back[i].first;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(back[i].second.raw()) % 64, 0u);
  }
  save_npz(folder.at("b.npz"), tensors);
  EXPECT_EQ(read_file(folder.at("a.npz"), 1 << 20), read_file(folder.at("b.npz"), 1 << 20));
}
}  // namespace
}  // namespace vitrail
