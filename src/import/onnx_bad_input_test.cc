// SPDX-License-Identifier: Apache-2.0
// Damaged, hostile and mistaken models: an Error that says what is wrong, never a crash. Run under
// ASan and UBSan too.
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "import/onnx_testing.h"

namespace vitrail {
namespace {
using namespace onnx_testing;

void refused(const std::string& bytes, const std::vector<std::string>& parts) {
  expect_error(Code::bad_input, parts, [&] { import_onnx_bytes(as_bytes(bytes)); });
}
void refused(const ModelMaker& m, const std::vector<std::string>& parts) {
  refused(m.bytes(), parts);
}

ModelMaker relu() {
  ModelMaker m;
  m.input("x", {"n", "2"}).output("y");
  m.node("Relu", {"x"}, {"y"}, "act");
  return m;
}

// A model with some of everything, small enough to damage at every byte.
ModelMaker rich() {
  ModelMaker m;
  m.input("x", {"n", "3"})
      .input("c", {}, 9)
      .output("y", {"n", "3"})
      .weight("w", {3}, {1, 2, 3})
      .ints("i", {-1});
  m.proto.add_opset_import()->set_domain("mine");
  m.proto.mutable_opset_import(1)->set_version(1);
  auto& f = *m.proto.add_functions();
  f.set_name("F");
  f.set_domain("mine");
  f.add_input("a");
  f.add_output("b");
  auto& inner = *f.add_node();
  inner.set_op_type("Relu");
  inner.add_input("a");
  inner.add_output("b");
  m.node("Add", {"x", "w"}, {"s"}, "add");
  m.node("F", {"s"}, {"t"}, "call").set_domain("mine");
  set(m.node("Softmax", {"t"}, {"u"}, "soft"), "axis", int64_t{-1});
  auto& choice = m.node("If", {"c"}, {"y"}, "choice");
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& branch = set_graph(choice, name);
    ModelMaker::add(branch, "Add", {"u", "w"}, {"r"});
    branch.add_output()->set_name("r");
  }
  auto& entry = *m.proto.add_metadata_props();
  entry.set_key("k");
  entry.set_value("v");
  return m;
}

// Whatever the bytes are: a graph or an Error of the kinds that a file can cause.
void survives(const std::string& bytes) {
  try {
    const ir::Graph graph = import_onnx_bytes(as_bytes(bytes));
    ir::verify(graph, "import");
  } catch (const Error& error) {
    EXPECT_TRUE(error.code == Code::bad_input || error.code == Code::unsupported) << error.what();
    EXPECT_EQ(std::string(error.what()).find_first_of("\n\r\x1b"), std::string::npos)
        << error.what();
  }
}

TEST(BadOnnx, TruncatedAtEveryByte) {
  const std::string bytes = rich().bytes();
  for (size_t n = 0; n < bytes.size(); ++n) survives(bytes.substr(0, n));
}

TEST(BadOnnx, EveryByteChanged) {
  const std::string bytes = rich().bytes();
  std::mt19937 random(7);
  for (size_t i = 0; i < bytes.size(); ++i)
    for (int k = 0; k < 6; ++k) {
      std::string damaged = bytes;
      damaged[i] = k < 3 ? static_cast<char>(random())
                         : static_cast<char>(damaged[i] ^ (1 << (random() % 8)));
      survives(damaged);
    }
}

TEST(BadOnnx, RandomBytesAndSplices) {
  std::mt19937 random(11);
  const std::string bytes = rich().bytes();
  for (int round = 0; round < 2000; ++round) {
    std::string noise(random() % 300, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    survives(noise);
    std::string spliced = bytes;  // a piece of the model over another place of it
    const size_t from = random() % bytes.size(), to = random() % bytes.size(),
                 length = random() % 40;
    spliced.replace(to, std::min(length, bytes.size() - to), bytes.substr(from, length));
    survives(spliced);
  }
}

TEST(BadOnnx, OtherFilesAreNamed) {
  refused("", {"empty"});
  refused("\xFF\xD8\xFF\xE0 photograph", {"expected an ONNX model", "JPEG"});
  refused("<!DOCTYPE html><html>404</html>", {"HTML"});
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", {"Git LFS pointer"});
  refused(std::string("ptrt\x01\0\0\0 engine", 15), {"TensorRT engine"});
  refused(std::string("ftrt\x01\0\0\0 engine", 15), {"TensorRT engine"});
  refused("\x89VTR\r\n\x1a\n plan", {"Vitrail plan"});
  refused(std::string("PK\x03\x04 zip"), {"zip"});
  refused(std::string(64, '\0'), {"damaged"});
}

TEST(BadOnnx, Containers) {
  expect_error(Code::io, {"no_such_file.onnx"}, [] { import_onnx("no_such_file.onnx"); });
  expect_error(Code::bad_input, {"directory"}, [] { import_onnx("/"); });
  ModelMaker no_graph = relu();
  no_graph.proto.clear_graph();
  refused(no_graph.proto.SerializeAsString(), {"without a graph"});
  ModelMaker no_ir = relu();
  no_ir.proto.clear_ir_version();
  refused(no_ir, {"IR version"});
  ModelMaker future = relu();
  future.proto.set_ir_version(99);
  expect_error(Code::unsupported, {"99", "3 to 14"}, [&] { future.import(); });
  for (int64_t opset : {int64_t{6}, int64_t{29}, int64_t{-1}, INT64_MAX}) {
    ModelMaker m = relu();
    m.proto.mutable_opset_import(0)->set_version(opset);
    expect_error(Code::unsupported, {std::to_string(opset), "7 to 28"}, [&] { m.import(); });
  }
  ModelMaker none = relu();
  none.proto.clear_opset_import();
  refused(none, {"no opset"});
  ModelMaker twice = relu();
  twice.proto.add_opset_import()->set_domain("ai.onnx");
  twice.proto.mutable_opset_import(1)->set_version(17);
  refused(twice, {"twice"});
  ModelMaker foreign = relu();
  foreign.graph.mutable_node(0)->set_domain("acme");
  refused(foreign, {"'acme'", "opset import"});
}

TEST(BadOnnx, DeepNesting) {
  ModelMaker m;
  m.input("x", {"2"}).input("c", {}, 9).output("y");
  onnx::GraphProto* graph = &m.graph;
  for (int depth = 0; depth < 60; ++depth) {
    auto& node = ModelMaker::add(*graph, "If", {"c"}, {"y"});
    auto& no = set_graph(node, "else_branch");
    ModelMaker::add(no, "Relu", {"x"}, {"y"});
    no.add_output()->set_name("y");
    graph = &set_graph(node, "then_branch");
    graph->add_output()->set_name("y");
  }
  ModelMaker::add(*graph, "Relu", {"x"}, {"y"});
  survives(m.bytes());
}

TEST(BadOnnx, Cycles) {
  ModelMaker m;
  m.input("x", {"2"}).output("y");
  m.node("Add", {"x", "c"}, {"a"}, "first");
  m.node("Relu", {"a"}, {"b"}, "second");
  m.node("Relu", {"b"}, {"c"}, "third");
  m.node("Relu", {"c"}, {"y"}, "after");
  refused(m, {"cycle", "'first' -> 'second' -> 'third' -> 'first'"});
  ModelMaker self;
  self.input("x", {"2"}).output("y").node("Add", {"x", "y"}, {"y"}, "self");
  refused(self, {"cycle", "'self' -> 'self'"});
}

TEST(BadOnnx, Names) {
  ModelMaker undefined = relu();
  undefined.graph.mutable_node(0)->set_input(0, "ghost");
  refused(undefined, {"'act' (Relu)", "'ghost'", "nothing defines"});
  ModelMaker twice = relu();
  twice.node("Relu", {"x"}, {"y"}, "other");
  refused(twice, {"'y'", "'act'", "'other'"});
  ModelMaker shadow = relu();
  shadow.node("Relu", {"x"}, {"x"}, "other");
  refused(shadow, {"'x'", "'other'"});
  ModelMaker weights = relu();
  weights.weight("w", {1}, {1}).weight("w", {1}, {1});
  refused(weights, {"'w'", "twice"});
  ModelMaker inputs = relu();
  inputs.input("x", {"2"});
  refused(inputs, {"'x'", "twice"});
  ModelMaker outputs = relu();
  outputs.output("y");
  refused(outputs, {"'y'", "twice"});
  ModelMaker unreachable = relu();
  unreachable.output("z");
  refused(unreachable, {"'z'", "no node"});
  ModelMaker nameless = relu();
  nameless.graph.add_initializer()->set_data_type(1);
  refused(nameless, {"no name"});
  ModelMaker hostile = relu();
  hostile.graph.mutable_node(0)->set_input(0, "\x1b[2J\n\xff");
  refused(hostile, {"\\x1b[2J\\x0a\\xff"});
  ModelMaker outer;
  outer.input("c", {}, 9).output("y");
  auto& node = outer.node("If", {"c"}, {"y"}, "choice");
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& branch = set_graph(node, name);
    ModelMaker::add(branch, "Relu", {"ghost"}, {"r"});
    branch.add_output()->set_name("r");
  }
  refused(outer, {"'choice'", "'ghost'"});
}

TEST(BadOnnx, ArityAndAttributes) {
  ModelMaker many = relu();
  many.graph.mutable_node(0)->add_input("x");
  refused(many, {"'act' (Relu)", "2 inputs"});
  ModelMaker few = relu();
  few.graph.mutable_node(0)->clear_input();
  refused(few, {"'act' (Relu)", "0 inputs"});
  ModelMaker silent = relu();
  silent.graph.mutable_node(0)->clear_output();
  silent.graph.clear_output();
  refused(silent, {"'act' (Relu)", "no output"});
  ModelMaker wrong = relu();
  auto& leaky = wrong.node("LeakyRelu", {"x"}, {"z"}, "leaky");
  set(leaky, "alpha", "text");
  refused(wrong, {"'leaky' (LeakyRelu)", "'alpha'", "wrong type"});
  ModelMaker missing = relu();
  missing.node("Cast", {"x"}, {"z"}, "cast");
  refused(missing, {"'cast' (Cast)", "'to'", "missing"});
  ModelMaker repeated = relu();
  auto& soft = repeated.node("Softmax", {"x"}, {"z"}, "soft");
  set(soft, "axis", int64_t{0});
  set(soft, "axis", int64_t{1});
  refused(repeated, {"'soft'", "'axis'", "twice"});
}

// Under a sanitizer fewer, which is enough to overflow the stack of anything recursive.
#ifdef __SANITIZE_ADDRESS__
constexpr int kNodes = 100'000;
#else
constexpr int kNodes = 1'000'000;
#endif

TEST(BadOnnx, AMillionNodes) {
  ModelMaker m;
  m.input("x", {"2"}).output("y");
  for (int i = 0; i < kNodes; ++i)
    m.node("Relu", {i ? "v" + std::to_string(i) : "x"},
           {i + 1 < kNodes ? "v" + std::to_string(i + 1) : "y"});
  const std::string bytes = m.bytes();
  m.proto.Clear();
  const ir::Graph g = import_onnx_bytes(as_bytes(bytes));
  EXPECT_EQ(g.node_count(), static_cast<size_t>(kNodes));
}

onnx::FunctionProto& function(ModelMaker& m, const std::string& name) {
  auto& f = *m.proto.add_functions();
  f.set_name(name);
  f.set_domain("mine");
  f.add_input("a");
  f.add_output("b");
  return f;
}
void call(onnx::FunctionProto& f, const std::string& op, const std::string& in,
          const std::string& out) {
  auto& node = *f.add_node();
  node.set_op_type(op);
  node.set_domain(op == "Relu" ? "" : "mine");
  node.add_input(in);
  node.add_output(out);
}

TEST(BadOnnx, FunctionsThatNeverEnd) {
  ModelMaker m;
  m.proto.add_opset_import()->set_domain("mine");
  m.proto.mutable_opset_import(1)->set_version(1);
  m.input("x", {"2"}).output("y").node("A", {"x"}, {"y"}, "start").set_domain("mine");
  call(function(m, "A"), "B", "a", "b");
  call(function(m, "B"), "A", "a", "b");
  refused(m, {"'A'", "calls itself"});
}

TEST(BadOnnx, FunctionsThatDouble) {
  ModelMaker m;
  m.proto.add_opset_import()->set_domain("mine");
  m.proto.mutable_opset_import(1)->set_version(1);
  m.input("x", {"2"}).output("y").node("F0", {"x"}, {"y"}, "start").set_domain("mine");
  for (int i = 0; i < 60; ++i) {
    auto& f = function(m, "F" + std::to_string(i));
    const std::string next = i < 59 ? "F" + std::to_string(i + 1) : "Relu";
    call(f, next, "a", "t");
    call(f, next, "t", "b");
  }
  refused(m, {"expand to more than"});
}

TEST(BadOnnx, TensorSizes) {
  const auto with = [](const std::function<void(onnx::TensorProto&)>& change) {
    ModelMaker m = relu();
    m.weight("w", {2}, {1, 2});
    change(*m.graph.mutable_initializer(0));
    return m;
  };
  refused(with([](auto& t) { t.set_dims(0, -2); }), {"'w'", "-2"});
  refused(with([](auto& t) { t.set_dims(0, 3); }), {"'w'", "[3]", "12 bytes", "8"});
  refused(with([](auto& t) {
            t.set_dims(0, int64_t{1} << 31);
            t.add_dims(int64_t{1} << 31);
          }),
          {"'w'"});
  refused(with([](auto& t) {
            t.set_dims(0, INT64_MAX);
            t.add_dims(INT64_MAX);
          }),
          {"'w'", "overflow"});
  refused(with([](auto& t) { t.add_float_data(1); }), {"'w'", "twice"});
  refused(with([](auto& t) {
            t.clear_raw_data();
            t.add_float_data(1);
          }),
          {"'w'", "2 elements", "1"});
  refused(with([](auto& t) {
            t.clear_raw_data();
            t.add_int64_data(1);
            t.add_int64_data(1);
          }),
          {"'w'", "another type"});
  refused(with([](auto& t) {
            t.clear_raw_data();
            t.set_data_type(2);
            t.add_int32_data(1);
            t.add_int32_data(300);
          }),
          {"'w'", "300", "u8"});
  refused(with([](auto& t) { t.set_data_type(0); }), {"'w'", "element type"});
  expect_error(Code::unsupported, {"'w'", "FLOAT8E4M3FN"},
               [&] { with([](auto& t) { t.set_data_type(17); }).import(); });
  expect_error(Code::unsupported, {"'w'", "COMPLEX64"},
               [&] { with([](auto& t) { t.set_data_type(14); }).import(); });
  for (int i = 0; i < 100; ++i)
    refused(with([](auto& t) {
              for (int k = 0; k < 100; ++k) t.add_dims(1);
            }),
            {"'w'", "101 dim"});
}

TEST(BadOnnx, SparseTensors) {
  const auto sparse = [](const std::vector<int64_t>& dims, const std::vector<int64_t>& indices) {
    ModelMaker m = relu();
    auto& s = *m.graph.add_sparse_initializer();
    ModelMaker::fill(*s.mutable_values(), "s", {1}, {5});
    ModelMaker::fill_ints(*s.mutable_indices(), "", indices);
    for (int64_t d : dims) s.add_dims(d);
    return m;
  };
  EXPECT_EQ(sparse({2, 2}, {3}).import().value_count(), 3u);
  refused(sparse({2, 2}, {4}), {"'s'", "index 4"});
  refused(sparse({2, 2}, {-1}), {"'s'", "index -1"});
  refused(sparse({2, 2}, {0, 1}), {"'s'", "indices [2]"});
  expect_error(Code::unsupported, {"'s'", "dense"}, [&] {
    sparse({1 << 20, 1 << 20}, {3}).import();
  });
}

// ---- external data

struct External {
  TemporaryFolder folder;
  ModelMaker m = relu();

  External(const std::string& location, const std::string& offset = "",
           const std::string& length = "") {
    std::filesystem::create_directories(folder / "model/sub");
    folder.write("secret.bin", "12345678");
    folder.write("model/w.bin", "12345678abcdefgh");
    folder.write("model/sub/w.bin", "12345678");
    fill(*m.graph.add_initializer(), location, offset, length);
  }
  static void fill(onnx::TensorProto& t, const std::string& location, const std::string& offset,
                   const std::string& length) {
    t.set_name("w");
    t.set_data_type(1);
    t.add_dims(2);
    t.set_data_location(onnx::TensorProto::EXTERNAL);
    const auto entry = [&](const char* key, const std::string& value) {
      if (value.empty()) return;
      auto& e = *t.add_external_data();
      e.set_key(key);
      e.set_value(value);
    };
    entry("location", location);
    entry("offset", offset);
    entry("length", length);
  }
  ir::Graph import() { return import_onnx(folder.write("model/m.onnx", m.bytes())); }
};

TEST(ExternalData, IsReadWhereItLies) {
  const ir::Graph g = External("w.bin", "8", "8").import();
  const Tensor w = g.value(g.find_value("w").value()).constant;
  EXPECT_EQ(std::string(static_cast<const char*>(w.raw()), 8), "abcdefgh");
  EXPECT_EQ(External("sub/w.bin").import().value_count(), 3u);
}

TEST(ExternalData, StaysInItsFolder) {
  for (const char* location : {"../secret.bin", "sub/../../secret.bin", "/etc/hostname", "..", "."})
    expect_error(Code::bad_input, {"'w'"}, [&] { External(location).import(); });
  for (const char* kind : {"link", "parent", "hard"}) {
    SCOPED_TRACE(kind);
    External e(kind == std::string("parent") ? "dir/secret.bin" : "w2.bin");
    if (kind == std::string("link"))
      std::filesystem::create_symlink(e.folder / "secret.bin", e.folder / "model/w2.bin");
    if (kind == std::string("parent"))
      std::filesystem::create_directory_symlink(e.folder / "", e.folder / "model/dir");
    if (kind == std::string("hard"))
      std::filesystem::create_hard_link(e.folder / "secret.bin", e.folder / "model/w2.bin");
    expect_error(Code::bad_input, {"'w'"}, [&] { e.import(); });
  }
}

TEST(ExternalData, IsCheckedInConstantsAndSparseTensorsToo) {
  External constant("w.bin");
  auto& a = *constant.m.node("Constant", {}, {"k"}, "const").add_attribute();
  a.set_name("value");
  a.set_type(onnx::AttributeProto::TENSOR);
  External::fill(*a.mutable_t(), "../secret.bin", "", "");
  expect_error(Code::bad_input, {"'const'"}, [&] { constant.import(); });
  External sparse("w.bin");
  auto& s = *sparse.m.graph.add_sparse_initializer();
  External::fill(*s.mutable_values(), "../secret.bin", "", "");
  s.mutable_values()->set_name("s");
  ModelMaker::fill_ints(*s.mutable_indices(), "", {0, 1});
  s.add_dims(4);
  expect_error(Code::bad_input, {"'s'"}, [&] { sparse.import(); });
}

TEST(ExternalData, StaysInItsFile) {
  expect_error(Code::bad_input, {"'w'", "bytes 12 to 20", "16"},
               [] { External("w.bin", "12").import(); });
  expect_error(Code::bad_input, {"'w'"}, [] { External("w.bin", "9223372036854775807").import(); });
  expect_error(Code::bad_input, {"'w'", "'offset'", "-8"},
               [] { External("w.bin", "-8").import(); });
  expect_error(Code::bad_input, {"'w'", "'offset'"},
               [] { External("w.bin", "99999999999999999999").import(); });
  expect_error(Code::bad_input, {"'w'", "8 bytes", "length is 9"},
               [] { External("w.bin", "0", "9").import(); });
  expect_error(Code::io, {"missing.bin"}, [] { External("missing.bin").import(); });
  expect_error(Code::bad_input, {"'w'", "location"}, [] { External("").import(); });
  expect_error(Code::bad_input, {"'w'", "memory"}, [] { External("w.bin").m.import(); });
}

}  // namespace
}  // namespace vitrail
