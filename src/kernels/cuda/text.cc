// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/text.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>

#include "base/error.h"
#include "kernels/reference.h"

namespace vitrail::cuda {
namespace {
struct Header {
  std::string_view name, text;
};
// Made by CMake from the .cuh files of this folder.
constexpr Header kHeaders[] = {
#include "cuda_headers.inc"
};

bool is_multiple(const Expr& e, int64_t of) {
  Expr quotient;
  return of == 1 || divides(of, e, &quotient);
}
}  // namespace

std::string_view device_header(std::string_view name) {
  const auto found = std::find_if(std::begin(kHeaders), std::end(kHeaders),
                                  [&](const Header& h) { return h.name == name; });
  require(found != std::end(kHeaders), Code::internal, "no device header '{}'", name);
  return found->text;
}

const char* c_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float";
    case DType::f64:
      return "double";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i8:
      return "signed char";
    case DType::i16:
      return "short";
    case DType::i32:
      return "int";
    case DType::i64:
      return "long long";
    case DType::u8:
    case DType::boolean:
      return "unsigned char";
    case DType::u16:
      return "unsigned short";
    case DType::u32:
      return "unsigned int";
    case DType::u64:
      return "unsigned long long";
    default:
      fail(Code::internal, "no device type for {}", name_of(dtype));
  }
}

std::string literal(double value) {
  const auto narrow = static_cast<float>(value);
  return fmt::format("__uint_as_float(0x{:08x}u)", std::bit_cast<uint32_t>(narrow));
}

int64_t known_alignment(const Problem& problem, bool output, size_t index) {
  const Operand& o = (output ? problem.outputs : problem.inputs)[index];
  const auto element = static_cast<int64_t>(size_of(o.dtype));
  return problem.integer(fmt::format("align_{}{}", output ? "out" : "in", index), element);
}

int vector_width(const Problem& problem, bool output, size_t index, int most_bytes) {
  const Operand& o = (output ? problem.outputs : problem.inputs)[index];
  const auto element = static_cast<int64_t>(size_of(o.dtype));
  if (o.dims.empty() || !(o.strides.back().is(1) || o.dims.back().is(1))) return 1;
  for (int width = static_cast<int>(most_bytes / element); width > 1; width /= 2) {
    bool fits = known_alignment(problem, output, index) % (width * element) == 0;
    for (size_t i = 0; fits && i + 1 < o.strides.size(); ++i)
      fits = o.dims[i].is(1) || is_multiple(o.strides[i], width);
    if (fits) return width;
  }
  return 1;
}

int tail_width(const Problem& problem, int most_bytes) {
  // What repeats along the columns, or is strided along them, is read element by element.
  const auto limits = [&](const Operand& o) { return !o.dims.empty() && o.strides.back().is(1); };
  int width = most_bytes / 2;
  for (size_t i = 0; i < problem.outputs.size(); ++i)
    width = std::min(width, vector_width(problem, true, i, most_bytes));
  for (size_t i = static_cast<size_t>(problem.epilogue_inputs); i < problem.inputs.size(); ++i)
    if (limits(problem.inputs[i]))
      if (const int whole = vector_width(problem, false, i);
          whole * static_cast<int>(size_of(problem.inputs[i].dtype)) < 16)
        width = std::min(width, whole);  // otherwise several loads of 16 bytes
  return width;
}

int64_t spare_of(const Problem& problem, bool output, size_t index) {
  const Operand& o = (output ? problem.outputs : problem.inputs)[index];
  if (o.constant && !o.dims.empty() && o.dims.back().is_constant() &&
      std::all_of(o.strides.begin(), o.strides.end() - 1,
                  [](const Expr& s) { return s.is(0); })) {  // one row, stored in whole 16 bytes
    const auto grain = static_cast<int64_t>(16 / size_of(o.dtype));
    return (grain - o.dims.back().constant() % grain) % grain;
  }
  return problem.integer(fmt::format("spare_{}{}", output ? "out" : "in", index), 0);
}

bool whole_rows(const Problem& problem, bool output, size_t index, int width) {
  const Operand& o = (output ? problem.outputs : problem.inputs)[index];
  if (o.dims.empty() || !o.dims.back().is_constant()) return false;
  const int64_t rest = o.dims.back().constant() % width;
  return rest == 0 || spare_of(problem, output, index) >= width - rest;
}

std::string SourceText::number(const Expr& e) {
  if (e.is_constant()) {
    require(e.constant() <= INT32_MAX && e.constant() >= INT32_MIN, Code::unsupported,
            "an extent or stride of {} on the GPU: at most 2^31 - 1", e.constant());
    return std::to_string(e.constant());
  }
  auto found = std::find(numbers_.begin(), numbers_.end(), e);
  if (found == numbers_.end()) found = numbers_.insert(numbers_.end(), e);
  return fmt::format("a.n{}", found - numbers_.begin());
}

std::string SourceText::offset(const Operand& operand, size_t first, size_t last,
                               const std::string& linear) {
  struct Group {
    Expr dim, stride;
  };
  std::vector<Group> groups;  // innermost first; neighbours that lie as one axis are merged
  for (size_t i = last; i-- > first;) {
    if (operand.dims[i].is(1)) continue;
    if (!groups.empty() && operand.strides[i] == groups.back().stride * groups.back().dim)
      groups.back().dim *= operand.dims[i];
    else
      groups.push_back({operand.dims[i], operand.strides[i]});
  }
  std::string out, rest = linear;
  for (size_t i = 0; i < groups.size(); ++i) {
    const bool outermost = i + 1 == groups.size();
    if (!groups[i].stride.is(0)) {
      const std::string index =
          outermost ? rest : fmt::format("({} % {})", rest, number(groups[i].dim));
      out += fmt::format("{}{} * {}", out.empty() ? "" : " + ", index, number(groups[i].stride));
    }
    if (!outermost) rest = fmt::format("({} / {})", rest, number(groups[i].dim));
  }
  return out.empty() ? "0" : "(" + out + ")";
}

void SourceText::include(std::string_view name) {
  if (std::find(includes_.begin(), includes_.end(), name) == includes_.end())
    includes_.emplace_back(name);
}

std::string program_text(const PointwiseProgram& program, const std::string& prefix, bool narrow) {
  const auto reg = [&](int i) { return prefix + std::to_string(i); };
  std::string out;
  for (size_t i = 0; i < program.code.size(); ++i) {
    const PointwiseInstr& in = program.code[i];
    const std::string a = reg(in.a), b = reg(in.b), imm = literal(in.imm);
    std::string value;
    switch (in.op) {
      case Pointwise::add:
        value = a + " + " + b;
        break;
      case Pointwise::sub:
        value = a + " - " + b;
        break;
      case Pointwise::mul:
        value = a + " * " + b;
        break;
      case Pointwise::div:
        value = a + " / " + b;
        break;
      case Pointwise::neg:
        value = "-" + a;
        break;
      case Pointwise::constant:
        value = imm;
        break;
      case Pointwise::gelu:
      case Pointwise::gelu_tanh:
      case Pointwise::sigmoid:
        value = fmt::format("vt_{}{}({})", name_of(in.op), narrow ? "_half" : "", a);
        break;
      case Pointwise::swish:
        value = fmt::format("vt_swish{}({}, {})", narrow ? "_half" : "", a, imm);
        break;
      case Pointwise::leaky_relu:
        value = fmt::format("vt_{}({}, {})", name_of(in.op), a, imm);
        break;
      default:
        value = arity_of(in.op) == 2 ? fmt::format("vt_{}({}, {})", name_of(in.op), a, b)
                                     : fmt::format("vt_{}({})", name_of(in.op), a);
    }
    out +=
        fmt::format("    const float {} = {};\n", reg(program.inputs + static_cast<int>(i)), value);
  }
  return out;
}

void SourceText::tail(int width) {
  const Problem& p = problem_;
  const auto first = static_cast<size_t>(p.epilogue_inputs);
  bool whole = width > 1;
  for (size_t i = 0; whole && i < p.outputs.size(); ++i)
    whole = p.outputs[i].strides.back().is(1) && whole_rows(p, true, i, width);
  for (size_t i = first; whole && i < p.inputs.size(); ++i)
    if (const Operand& o = p.inputs[i]; !o.strides.back().is(0))
      whole = o.strides.back().is(1) && whole_rows(p, false, i, width);
  const int64_t rest = whole ? p.outputs[0].dims.back().constant() % width : 0;
  const auto transfer = [&](const Operand& o, const std::string& name, const std::string& reg,
                            bool store) {
    const std::string base = fmt::format("a.{} + {}", name, row_offset(o, "row"));
    const bool repeats = o.dims.back().is(1) ? false : o.strides.back().is(0);
    if (repeats) return fmt::format("    vt_fill<V>(vt_float(*({})), {});\n", base, reg);
    const char* what = store ? "store" : "load";
    if (o.strides.back().is(1) || o.dims.back().is(1))
      return fmt::format("    vt_{}<V>({} + col, {});\n", what, base, reg);
    const std::string stride = number(o.strides.back());
    return fmt::format("    vt_{}_strided<V>({} + col * {}, {}, {});\n", what, base, stride, stride,
                       reg);
  };
  // Operands, then results: registers of one piece.
  std::string members, load, compute, store, inputs;
  for (size_t i = first; i < p.inputs.size(); ++i) {
    members += fmt::format("float e{}[V]; ", i);
    load += transfer(p.inputs[i], fmt::format("in{}", i), fmt::format("p.e{}", i), false);
    inputs += fmt::format("    const float r{} = p.e{}[v];\n", i - first + 1, i);
  }
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    members += fmt::format("float y{}[V]; ", i);
    store += transfer(p.outputs[i], fmt::format("out{}", i), fmt::format("p.y{}", i), true);
  }
  const bool narrow = std::all_of(p.outputs.begin(), p.outputs.end(),
                                  [](const Operand& o) { return size_of(o.dtype) == 2; });
  compute = program_text(p.epilogue, "r", narrow);
  for (size_t i = 0; i < p.outputs.size(); ++i)
    compute += fmt::format("    p.y{}[v] = r{};\n", i, p.epilogue.results[i]);
  add(fmt::format(R"(struct Tail {{
  static constexpr int V = {0}, SPARE = {6};
  template <int V> struct Piece {{ {1}}};
  template <int V> static __device__ __forceinline__ void load(const Args& a, int row, int col, Piece<V>& p) {{
{2}  }}
  template <int V> static __device__ __forceinline__ void compute(const float (&x)[V], Piece<V>& p) {{
#pragma unroll
    for (int v = 0; v < V; ++v) {{
    const float r0 = x[v];
{3}{4}    }}
  }}
  template <int V> static __device__ __forceinline__ void store(const Args& a, int row, int col, Piece<V>& p) {{
{5}  }}
  template <int V> static __device__ __forceinline__ void finish(const Args& a, int row, int col, float (&x)[V]) {{
    Piece<V> p;
    load<V>(a, row, col, p);
    compute<V>(x, p);
    store<V>(a, row, col, p);
  }}
  // R pieces at once, those of row -1 left out: all loads are under way before the first is used.
  template <int V, int R> static __device__ __forceinline__ void finish_some(const Args& a, const int (&row)[R], const int (&col)[R], float (&x)[R][V]) {{
    Piece<V> p[R];
#pragma unroll
    for (int r = 0; r < R; ++r)
      if (row[r] >= 0) load<V>(a, row[r], col[r], p[r]);
#pragma unroll
    for (int r = 0; r < R; ++r) compute<V>(x[r], p[r]);
#pragma unroll
    for (int r = 0; r < R; ++r)
      if (row[r] >= 0) store<V>(a, row[r], col[r], p[r]);
  }}
}};
)",
                  width, members, load, inputs, compute, store, rest == 0 ? 0 : width - rest));
}

void SourceText::entry(const std::string& name, int threads, const std::string& body,
                       int blocks_per_sm) {
  std::string parameters, members;
  const auto operands = [&](const std::vector<Operand>& list, const char* prefix,
                            const char* qualifier) {
    for (size_t i = 0; i < list.size(); ++i) {
      // Only constants: __restrict__ makes plain loads non-coherent ones, which a launch that
      // starts before its predecessor has ended must not use on what that one writes.
      parameters += fmt::format("{}{}* {}{}{}, ", qualifier, c_type(list[i].dtype),
                                list[i].constant ? "__restrict__ " : "", prefix, i);
      members += fmt::format("{}{}, ", prefix, i);
    }
  };
  operands(problem_.inputs, "in", "const ");
  operands(problem_.outputs, "out", "");
  const std::string bounds =
      blocks_per_sm > 0 ? fmt::format("{}, {}", threads, blocks_per_sm) : std::to_string(threads);
  // The numbers are known when the source is finished: NUMBERS and MEMBERS are macros by then.
  entries_ += fmt::format(
      "VT_ENTRY({}) {}({}char* workspace, int* counters VT_NUMBERS VT_FIRST_PARAMETER) {{\n"
      "  const Args a{{{}workspace, counters VT_MEMBERS, VT_FIRST}};\n{}}}\n",
      bounds, name, parameters, members, body);
}

GpuCode SourceText::finish(std::vector<GpuLaunch> launches, Expr workspace_bytes, Expr counters) {
  GpuCode code;
  code.source = std::string(device_header("common.cuh"));
  for (const std::string& name : includes_) code.source += device_header(name);
  code.source += kOwnPart;
  code.source += "struct Args {\n";
  const auto operands = [&](const std::vector<Operand>& list, const char* prefix,
                            const char* qualifier) {
    for (size_t i = 0; i < list.size(); ++i)
      code.source += fmt::format("  {}{}* {}{};\n", qualifier, c_type(list[i].dtype), prefix, i);
  };
  operands(problem_.inputs, "in", "const ");
  operands(problem_.outputs, "out", "");
  code.source += "  char* workspace;\n  int* counters;\n";
  std::string parameters, members;
  for (size_t i = 0; i < numbers_.size(); ++i) {
    code.source += fmt::format("  int n{};\n", i);
    parameters += fmt::format(", long long n{}", i);
    members += fmt::format(", (int)n{}", i);
  }
  code.source +=
      fmt::format("  int first_block;\n}};\n#define VT_NUMBERS {}\n#define VT_MEMBERS {}\n",
                  parameters, members);
  code.source += body_ + entries_;
  for (GpuLaunch& launch : launches) launch.numbers = numbers_;
  code.launches = std::move(launches);
  code.workspace_bytes = std::move(workspace_bytes);
  code.counters = std::move(counters);
  return code;
}

Expr rows_of(const Operand& operand) {
  Expr rows = 1;
  for (size_t i = 0; i + 1 < operand.dims.size(); ++i) rows *= operand.dims[i];
  return rows;
}

Refusal check_float_operands(const Problem& problem) {
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const Operand& o : *list)
      if (o.dtype != DType::f32 && o.dtype != DType::f16 && o.dtype != DType::bf16)
        return fmt::format("an operand of type {}", name_of(o.dtype));
  Problem wide = problem;  // the check is written for float32
  for (auto* list : {&wide.inputs, &wide.outputs})
    for (Operand& o : *list) o.dtype = DType::f32;
  return check_epilogue(wide);
}

}  // namespace vitrail::cuda
