// SPDX-License-Identifier: Apache-2.0
// What well-formed models become.
#include "import/onnx_testing.h"

namespace vitrail {
namespace {
using namespace onnx_testing;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const ir::Node& node_of(const ir::Graph& graph, const std::string& op) {
  for (ir::NodeId id : graph.topological_order())
    if (graph.node(id).is(op)) return graph.node(id);
  throw std::runtime_error("no node " + op);
}
std::string shape_of(const ir::Graph& graph, const std::string& name) {
  return to_string(graph.value(graph.find_value(name).value()).shape);
}

TEST(Import, NamesTypesAndSources) {
  ModelMaker m;
  m.input("x", {"batch", "3"}).output("y").weight("w", {3}, {1, 2, 3});
  m.node("Add", {"x", "w"}, {"s"}, "layers/add");
  m.node("Relu", {"s"}, {"y"});
  const ir::Graph g = m.import();
  ir::verify(g, "import");
  EXPECT_EQ(g.name, "test");
  EXPECT_EQ(shape_of(g, "y"), "[batch,3]");
  EXPECT_EQ(g.value(g.outputs[0]).name, "y");
  EXPECT_THAT(node_of(g, "Add").sources, ElementsAre("layers/add"));
  EXPECT_THAT(node_of(g, "Relu").sources, ElementsAre("Relu_1"));
  EXPECT_TRUE(g.symbols.contains("batch"));
}

TEST(Import, KeepsMetadataAndProducer) {
  ModelMaker m;
  m.input("x", {"2"}).output("y").node("Relu", {"x"}, {"y"});
  m.proto.set_producer_name("maker");
  m.proto.set_producer_version("1.2");
  auto& entry = *m.proto.add_metadata_props();
  entry.set_key("vitrail.task");
  entry.set_value("classify");
  const ir::Graph g = m.import();
  EXPECT_EQ(g.metadata.at("vitrail.task"), "classify");
  EXPECT_EQ(g.metadata.at("onnx.producer"), "maker 1.2");
  EXPECT_EQ(g.metadata.at("onnx.opset"), "17");
  EXPECT_EQ(g.metadata.at("onnx.ir_version"), "8");
}

TEST(Import, NamesDynamicExtents) {
  ModelMaker m;
  m.input("x 1", {"batch size", "", "-1", "4"})
      .input("b", {"batch size", "batch_size"})
      .output("y");
  m.node("Relu", {"x 1"}, {"y"});
  const ir::Graph g = m.import();
  EXPECT_EQ(shape_of(g, "x 1"), "[batch_size,x_1_1,x_1_2,4]");
  EXPECT_EQ(shape_of(g, "b"),
            "[batch_size,batch_size_]");  // another dim_param that cleans to the same
}

TEST(Import, ReplacesInputShapes) {
  ModelMaker m;
  m.input("x", {"n", "3", "h"}).input("z", {"n"}).output("y").output("z2");
  m.node("Relu", {"x"}, {"y"});
  m.node("Relu", {"z"}, {"z2"});
  const ir::Graph g = m.import({.input_shapes = {{"x", {4, -1, -1}}}});
  EXPECT_EQ(shape_of(g, "y"), "[4,3,h]");
  EXPECT_EQ(shape_of(g, "z2"), "[4]") << "the symbol became a number everywhere";
  EXPECT_FALSE(g.symbols.contains("n"));
  expect_error(Code::usage, {"'nope'", "'x', 'z'"}, [&] {
    m.import({.input_shapes = {{"nope", {1}}}});
  });
  expect_error(Code::usage, {"2 extents", "3"}, [&] {
    m.import({.input_shapes = {{"x", {1, 2}}}});
  });
  expect_error(Code::usage, {"'n'", "4", "5"}, [&] {
    m.import({.input_shapes = {{"x", {4, 3, 2}}, {"z", {5}}}});
  });
}

TEST(Import, AsksForAMissingInputShape) {
  ModelMaker m;
  m.input("x", {}).output("y").node("Relu", {"x"}, {"y"});
  m.graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  expect_error(Code::unsupported, {"'x'", "x:1x3x224x224"}, [&] { m.import(); });
  EXPECT_EQ(shape_of(m.import({.input_shapes = {{"x", {2, 3}}}}), "y"), "[2,3]");
}

TEST(Import, InitializersListedAsInputsAreConstants) {
  ModelMaker m(7);
  m.input("x", {"2"}).input("w", {"2"}).output("y").weight("w", {2}, {1, 2});
  m.node("Add", {"x", "w"}, {"y"});
  const ir::Graph g = m.import();
  EXPECT_EQ(g.inputs.size(), 1u);
  EXPECT_TRUE(g.value(g.find_value("w").value()).is_constant());
}

TEST(Import, ConstantsOfEveryForm) {
  ModelMaker m;
  m.input("x", {"2"}).output("y");
  auto& value = m.node("Constant", {}, {"a"});
  auto& attribute = *value.add_attribute();
  attribute.set_name("value");
  attribute.set_type(onnx::AttributeProto::TENSOR);
  ModelMaker::fill(*attribute.mutable_t(), "", {2}, {1, 2});
  set(m.node("Constant", {}, {"b"}), "value_float", 3.0f);
  set(m.node("Constant", {}, {"c"}), "value_floats", std::vector<float>{4, 5});
  set(m.node("Constant", {}, {"i"}), "value_ints", std::vector<int64_t>{6});
  set(m.node("Constant", {}, {"j"}), "value_int", int64_t{7});
  auto& sparse = *m.node("Constant", {}, {"s"}).add_attribute();
  sparse.set_name("sparse_value");
  sparse.set_type(onnx::AttributeProto::SPARSE_TENSOR);
  ModelMaker::fill(*sparse.mutable_sparse_tensor()->mutable_values(), "", {1}, {9});
  ModelMaker::fill_ints(*sparse.mutable_sparse_tensor()->mutable_indices(), "", {1});
  sparse.mutable_sparse_tensor()->add_dims(2);
  m.node("Add", {"x", "a"}, {"y"});
  const ir::Graph g = m.import();
  const auto constant = [&](const char* name) {
    return g.value(g.find_value(name).value()).constant;
  };
  EXPECT_TRUE(constant("a").same(Tensor::of<float>({2}, {1, 2})));
  EXPECT_TRUE(constant("b").same(Tensor::scalar(3.0f)));
  EXPECT_TRUE(constant("c").same(Tensor::of<float>({2}, {4, 5})));
  EXPECT_TRUE(constant("i").same(Tensor::of<int64_t>({1}, {6})));
  EXPECT_TRUE(constant("j").same(Tensor::scalar<int64_t>(7)));
  EXPECT_TRUE(constant("s").same(Tensor::of<float>({2}, {0, 9})));
}

TEST(Import, TypedDataOfEveryType) {
  ModelMaker m;
  m.input("x", {"2"}).output("y").node("Relu", {"x"}, {"y"});
  for (int type : {2, 3, 4, 5, 6, 9, 10, 16}) {
    auto& t = *m.graph.add_initializer();
    t.set_name("t" + std::to_string(type));
    t.set_data_type(type);
    t.add_dims(2);
    t.add_int32_data(1);
    t.add_int32_data(0);
  }
  for (int type : {12, 13}) {
    auto& t = *m.graph.add_initializer();
    t.set_name("t" + std::to_string(type));
    t.set_data_type(type);
    t.add_dims(1);
    t.add_uint64_data(4000000000u);
  }
  auto& d = *m.graph.add_initializer();
  d.set_name("t11");
  d.set_data_type(11);
  d.add_double_data(0.1);  // no dims: a scalar
  const ir::Graph g = m.import();
  const auto constant = [&](const char* name) {
    return g.value(g.find_value(name).value()).constant;
  };
  EXPECT_EQ(constant("t2").dtype(), DType::u8);
  EXPECT_EQ(constant("t9").dtype(), DType::boolean);
  EXPECT_EQ(constant("t10").dtype(), DType::f16);
  EXPECT_EQ(constant("t5").int_at(0), 1);
  EXPECT_EQ(constant("t12").int_at(0), 4000000000);
  EXPECT_EQ(constant("t11").number_at(0), 0.1);
}

TEST(Import, SortsUnsortedNodes) {
  ModelMaker m;
  m.input("x", {"2"}).output("y");
  m.node("Relu", {"a"}, {"y"});
  m.node("Relu", {"x"}, {"a"});
  EXPECT_EQ(shape_of(m.import(), "y"), "[2]");
}

TEST(Import, DeclaredTypesThatContradictAreWarnings) {
  ModelMaker m;
  m.input("x", {"n", "3"}).output("y", {"3"}).node("Relu", {"x"}, {"y"});
  const ir::Graph g = m.import();
  EXPECT_THAT(g.warnings,
              ElementsAre(testing::AllOf(HasSubstr("'y'"), HasSubstr("[3]"), HasSubstr("[n,3]"))));
  ModelMaker same;
  same.input("x", {"n", "3"}).output("y", {"m", "3"}).node("Relu", {"x"}, {"y"});
  EXPECT_THAT(same.import().warnings, IsEmpty());
}

TEST(Import, ExpandsLocalFunctions) {
  ModelMaker m;
  m.proto.add_opset_import()->set_domain("mine");
  m.proto.mutable_opset_import(1)->set_version(1);
  auto& f = *m.proto.add_functions();
  f.set_name("Twice");
  f.set_domain("mine");
  f.add_input("a");
  f.add_output("b");
  f.add_attribute("slope");
  f.add_opset_import()->set_version(17);
  auto& add = *f.add_node();
  add.set_op_type("Add");
  add.add_input("a");
  add.add_input("a");
  add.add_output("t");
  auto& leaky = *f.add_node();
  leaky.set_op_type("LeakyRelu");
  leaky.set_name("act");
  leaky.add_input("t");
  leaky.add_output("b");
  auto& attribute = *leaky.add_attribute();
  attribute.set_name("alpha");
  attribute.set_ref_attr_name("slope");
  attribute.set_type(onnx::AttributeProto::FLOAT);
  m.input("x", {"2"}).output("y");
  auto& call = m.node("Twice", {"x"}, {"mid"}, "call");
  call.set_domain("mine");
  set(call, "slope", 0.25f);
  m.node("Twice", {"mid"}, {"y"}, "again").set_domain("mine");
  const ir::Graph g = m.import();
  ir::verify(g, "import");
  EXPECT_EQ(g.node_count(), 4u);
  EXPECT_EQ(g.value(g.outputs[0]).name, "y");
  const ir::Node& first = node_of(g, "LeakyRelu");
  EXPECT_EQ(first.attrs.number("alpha"), 0.25);
  EXPECT_THAT(first.sources, ElementsAre("call/act"));
  size_t without = 0;
  for (ir::NodeId id : g.topological_order())
    without += g.node(id).is("LeakyRelu") && !g.node(id).attrs.has("alpha");
  EXPECT_EQ(without, 1u) << "an attribute the call does not give is absent";
}

TEST(Import, ClosesTheBranchesOfIf) {
  ModelMaker m;
  m.input("c", {}, 9).input("x", {"n"}).input("z", {"n"}).output("y").weight("w", {1}, {2});
  auto& node = m.node("If", {"c"}, {"y"}, "choice");
  auto& yes = set_graph(node, "then_branch");
  ModelMaker::add(yes, "Add", {"x", "w"}, {"r"});
  yes.add_output()->set_name("r");
  auto& no = set_graph(node, "else_branch");
  ModelMaker::add(no, "Relu", {"z"}, {"r"});
  no.add_output()->set_name("r");
  const ir::Graph g = m.import();
  ir::verify(g, "import");
  const ir::Node& made = node_of(g, "If");
  ASSERT_EQ(made.inputs.size(), 3u);
  ASSERT_EQ(made.bodies.size(), 2u);
  for (const auto& body : made.bodies) {
    ASSERT_EQ(body->inputs.size(), 2u);
    EXPECT_EQ(body->value(body->inputs[0]).name, "x");
    EXPECT_EQ(body->value(body->inputs[1]).name, "z");
  }
  EXPECT_TRUE(made.bodies[0]->value(made.bodies[0]->find_value("w").value()).is_constant())
      << "constants are copied";
  EXPECT_EQ(shape_of(g, "y"), "[n]");
}

// What torch's older exporter writes for squeeze(0): branches of different ranks, decided by
// shapes.
TEST(Import, TakesTheBranchThatShapesDecide) {
  const auto build = [](const char* extent) {
    ModelMaker m(12);
    m.input("x", {extent, "3"}).output("y").ints("one", {1}).ints("zero", {0});
    m.node("Shape", {"x"}, {"s"});
    m.node("Gather", {"s", "zero"}, {"d"});
    m.node("Equal", {"d", "one"}, {"c"});
    auto& node = m.node("If", {"c"}, {"y"}, "choice");
    auto& yes = set_graph(node, "then_branch");
    set(ModelMaker::add(yes, "Squeeze", {"x"}, {"r"}), "axes", std::vector<int64_t>{0});
    yes.add_output()->set_name("r");
    auto& no = set_graph(node, "else_branch");
    ModelMaker::add(no, "Identity", {"x"}, {"r"});
    no.add_output()->set_name("r");
    return m;
  };
  EXPECT_EQ(shape_of(build("1").import(), "y"), "[3]");
  expect_error(Code::unsupported, {"'choice' (If", "[3]", "[n,3]"}, [&] { build("n").import(); });
}

TEST(Import, ClosesTheBodyOfLoop) {
  ModelMaker m;
  m.input("x", {"n"}).input("step", {"n"}).output("last").output("all");
  m.ints("trips", {3});
  m.graph.mutable_initializer(0)->clear_dims();
  auto& node = m.node("Loop", {"trips", "", "x"}, {"last", "all"}, "loop");
  auto& body = set_graph(node, "body");
  ModelMaker::set_type(*body.add_input(), "i", {}, 7);
  ModelMaker::set_type(*body.add_input(), "go", {}, 9);
  ModelMaker::set_type(*body.add_input(), "state", {"n"});
  ModelMaker::add(body, "Add", {"state", "step"}, {"next"});
  ModelMaker::add(body, "Relu", {"next"}, {"shown"});
  for (const char* name : {"go", "next", "shown"}) body.add_output()->set_name(name);
  const ir::Graph g = m.import();
  ir::verify(g, "import");
  const ir::Node& made = node_of(g, "Loop");
  EXPECT_EQ(made.inputs.size(), 4u);
  EXPECT_EQ(made.attrs.integer("carried"), 1);
  EXPECT_EQ(made.bodies[0]->inputs.size(), 4u);
  EXPECT_EQ(shape_of(g, "last"), "[n]");
  EXPECT_EQ(shape_of(g, "all"), "[3,n]");
}

ModelMaker scan_model(int opset) {
  ModelMaker m;
  m.proto.mutable_opset_import(0)->set_version(opset);
  m.input("x", {"n", "3"}).input("start", {"3"}).output("last").output("sums");
  auto& node = m.node("Scan", {"start", "x"}, {"last", "sums"}, "scan");
  set(node, "num_scan_inputs", int64_t{1});
  set(node, "scan_input_directions", std::vector<int64_t>{1});
  set(node, "scan_output_axes", std::vector<int64_t>{-1});
  auto& body = set_graph(node, "body");
  for (const char* name : {"sum", "x"}) ModelMaker::set_type(*body.add_input(), name, {"3"});
  ModelMaker::add(body, "Add", {"sum", "x"}, {"next"});
  ModelMaker::add(body, "Relu", {"next"}, {"shown"});
  for (const char* name : {"next", "shown"}) body.add_output()->set_name(name);
  return m;
}

// The body's "x" is a row of the outer one.
TEST(Import, ScanBecomesALoop) {
  const ir::Graph g = scan_model(17).import();
  ir::verify(g, "import");
  EXPECT_EQ(node_of(g, "Loop").sources, std::vector<std::string>{"scan"});
  EXPECT_EQ(shape_of(g, "last"), "[3]");
  EXPECT_EQ(shape_of(g, "sums"), "[3,n]");
}

TEST(Import, RefusesScansThatAreWrong) {
  expect_error(Code::unsupported, {"'scan' (Scan", "opset 8", "export the model for opset 9"},
               [&] { scan_model(8).import(); });
  const auto wrong = [](const char* attribute, auto value, const char* says) {
    ModelMaker m = scan_model(17);
    auto& list = *m.graph.mutable_node(0)->mutable_attribute();
    for (int i = list.size(); i-- > 0;)
      if (list[i].name() == attribute) list.DeleteSubrange(i, 1);
    set(*m.graph.mutable_node(0), attribute, value);
    expect_error(Code::bad_input, {"'scan' (Scan", says}, [&] { m.import(); });
  };
  using Numbers = std::vector<int64_t>;
  wrong("num_scan_inputs", int64_t{0}, "num_scan_inputs is 0");
  wrong("num_scan_inputs", int64_t{3}, "num_scan_inputs is 3, the node has 2 inputs");
  wrong("scan_input_directions", Numbers{2}, "has 2, expected 0 or 1");
  wrong("scan_input_axes", Numbers{0, 1}, "has 2 entries, expected 1");
  wrong("scan_input_axes", Numbers{2}, "out of range for rank 2");
  wrong("scan_output_axes", Numbers{-3}, "out of range for rank 2");
}

TEST(Import, ListsEverythingUnsupportedAtOnce) {
  ModelMaker m;
  m.proto.add_opset_import()->set_domain("acme");
  m.proto.mutable_opset_import(1)->set_version(3);
  m.input("x", {"n", "3"}).output("y");
  m.node("Rleu", {"x"}, {"a"}, "typo");
  m.node("Warp", {"a"}, {"b"}, "foreign").set_domain("acme");
  m.node("Relu", {"b"}, {"c"});
  m.node("SVMRegressor", {"c"}, {"y"}, "last");
  expect_error(Code::unsupported,
               {"3 nodes", "'typo' (Rleu, opset 17, inputs f32[n,3])", "did you mean 'Relu'",
                "'foreign' (acme.Warp, opset 3, inputs ?)", "'last' (SVMRegressor, opset 17"},
               [&] { m.import(); });
  std::vector<UnsupportedNode> list;
  const ir::Graph g = m.import({.unsupported = &list});
  EXPECT_EQ(list.size(), 3u);
  EXPECT_EQ(g.node_count(), 4u);
  EXPECT_EQ(list[1].domain, "acme");
}

TEST(Import, UnknownAttributesAreNotIgnored) {
  ModelMaker m;
  m.input("x", {"2"}).output("y");
  set(m.node("Relu", {"x"}, {"y"}, "r"), "ceiling", int64_t{6});
  expect_error(Code::unsupported, {"'r' (Relu", "'ceiling' = 6"}, [&] { m.import(); });
  ModelMaker old;
  old.input("x", {"2"}).output("y");
  set(old.node("Relu", {"x"}, {"y"}, "r"), "consumed_inputs", std::vector<int64_t>{0});
  EXPECT_EQ(old.import().node_count(), 1u);
}

TEST(Import, FloatAttributesAreShortDecimals) {
  ModelMaker m;
  m.input("x", {"2"}).output("y");
  set(m.node("LeakyRelu", {"x"}, {"y"}), "alpha", 0.01f);
  EXPECT_EQ(node_of(m.import(), "LeakyRelu").attrs.number("alpha"), 0.01);
}

}  // namespace
}  // namespace vitrail
