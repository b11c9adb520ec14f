// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "import/onnx_import.h"
#include "ir/text.h"
#include "onnx/onnx-ml.pb.h"

// Small ONNX models for tests.
namespace vitrail::onnx_testing {

/// A model under construction; public fields are the protobuf's own.
struct ModelMaker {
  onnx::ModelProto proto;
  onnx::GraphProto& graph = *proto.mutable_graph();

  explicit ModelMaker(int64_t opset = 17) {
    proto.set_ir_version(8);
    proto.add_opset_import()->set_version(opset);
    graph.set_name("test");
  }
  static void set_type(onnx::ValueInfoProto& info, const std::string& name,
                       const std::vector<std::string>& dims, int type = 1) {
    info.set_name(name);
    auto& tensor = *info.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(type);
    tensor.mutable_shape();
    for (const std::string& d : dims) {
      auto& dim = *tensor.mutable_shape()->add_dim();
      if (d.empty()) continue;  // unknown, without a name
      if (std::isdigit(static_cast<unsigned char>(d[0])) || d[0] == '-')
        dim.set_dim_value(std::stoll(d));
      else
        dim.set_dim_param(d);
    }
  }
  ModelMaker& input(const std::string& name, const std::vector<std::string>& dims, int type = 1) {
    set_type(*graph.add_input(), name, dims, type);
    return *this;
  }
  ModelMaker& output(const std::string& name, const std::vector<std::string>& dims = {},
                     int type = 1) {
    set_type(*graph.add_output(), name, dims, type);
    if (dims.empty())
      graph.mutable_output()->rbegin()->mutable_type()->mutable_tensor_type()->clear_shape();
    return *this;
  }
  static onnx::NodeProto& add(onnx::GraphProto& graph, const std::string& op,
                              const std::vector<std::string>& in,
                              const std::vector<std::string>& out, const std::string& name = {}) {
    auto& node = *graph.add_node();
    node.set_op_type(op);
    node.set_name(name);
    for (const auto& i : in) node.add_input(i);
    for (const auto& o : out) node.add_output(o);
    return node;
  }
  onnx::NodeProto& node(const std::string& op, const std::vector<std::string>& in,
                        const std::vector<std::string>& out, const std::string& name = {}) {
    return add(graph, op, in, out, name);
  }
  static void fill(onnx::TensorProto& t, const std::string& name, const std::vector<int64_t>& dims,
                   const std::vector<float>& values) {
    t.set_name(name);
    t.set_data_type(1);
    for (int64_t d : dims) t.add_dims(d);
    t.set_raw_data(values.data(), values.size() * sizeof(float));
  }
  static void fill_ints(onnx::TensorProto& t, const std::string& name,
                        const std::vector<int64_t>& values) {
    t.set_name(name);
    t.set_data_type(7);
    t.add_dims(static_cast<int64_t>(values.size()));
    for (int64_t v : values) t.add_int64_data(v);
  }
  ModelMaker& weight(const std::string& name, const std::vector<int64_t>& dims,
                     const std::vector<float>& values) {
    fill(*graph.add_initializer(), name, dims, values);
    return *this;
  }
  ModelMaker& ints(const std::string& name, const std::vector<int64_t>& values) {
    fill_ints(*graph.add_initializer(), name, values);
    return *this;
  }
  std::string bytes() const { return proto.SerializeAsString(); }
  ir::Graph import(const ImportOptions& options = {}) const {
    return import_onnx_bytes(as_bytes(bytes()), {}, options);
  }
};

inline void set(onnx::NodeProto& node, const std::string& name, int64_t value) {
  auto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(onnx::AttributeProto::INT);
  a.set_i(value);
}
inline void set(onnx::NodeProto& node, const std::string& name, float value) {
  auto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(onnx::AttributeProto::FLOAT);
  a.set_f(value);
}
inline void set(onnx::NodeProto& node, const std::string& name, const char* value) {
  auto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(onnx::AttributeProto::STRING);
  a.set_s(value);
}
inline void set(onnx::NodeProto& node, const std::string& name,
                const std::vector<int64_t>& values) {
  auto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(onnx::AttributeProto::INTS);
  for (int64_t v : values) a.add_ints(v);
}
inline void set(onnx::NodeProto& node, const std::string& name, const std::vector<float>& values) {
  auto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(onnx::AttributeProto::FLOATS);
  for (float v : values) a.add_floats(v);
}
inline onnx::GraphProto& set_graph(onnx::NodeProto& node, const std::string& name) {
  auto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(onnx::AttributeProto::GRAPH);
  a.mutable_g()->set_name(name);
  return *a.mutable_g();
}

/// Runs `action` and expects an Error with this code whose text has all of `parts`.
template <typename Action>
void expect_error(Code code, const std::vector<std::string>& parts, Action&& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with '" << (parts.empty() ? "" : parts[0]) << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code) << error.what();
    for (const std::string& part : parts) EXPECT_THAT(error.what(), testing::HasSubstr(part));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

/// The graph's text without what names the file's writer.
inline std::string text_of(ir::Graph graph) {
  std::erase_if(graph.metadata, [](const auto& entry) { return entry.first.starts_with("onnx."); });
  return ir::print(graph, 1 << 20);
}

/// A folder of its own for one test, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = std::filesystem::temp_directory_path() / "vitrail_onnx_XXXXXX";
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(std::filesystem::path(*this / name).parent_path());
    std::ofstream(*this / name, std::ios::binary) << bytes;
    return *this / name;
  }

 private:
  std::string path_;
};

}  // namespace vitrail::onnx_testing
