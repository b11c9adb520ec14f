// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "kernels/gpu_kernel.h"

// Helpers of the generators in <family>/cuda.cc. The device code they rely on is in the .cuh files
// of this folder, embedded as text.
namespace vitrail::cuda {

/// "float", "f16", "bf16", "int", ...: the device type of a DType.
const char* c_type(DType dtype);
/// A literal that reads back to the same float32.
std::string literal(double value);

/// Bytes that the address of an operand's element 0 is known to be a multiple of.
int64_t known_alignment(const Problem& problem, bool output, size_t index);
/// Elements that one access to an operand may take along its last axis: the most of 1, 2, 4, .. 16
/// bytes for which the last stride is 1 and every other stride and the operand's base are
/// multiples. Extents need not be: tails are the caller's. Bases are known from the problem's ints
/// "align_in<i>" and "align_out<i>" (bytes; absent: one element), packed constants have 16.
int vector_width(const Problem& problem, bool output, size_t index, int most_bytes = 16);
/// The same over the first output and, with `epilogue`, everything the epilogue reads and writes
/// along its columns.
int tail_width(const Problem& problem, int most_bytes = 16);
/// Elements after each row of an operand that no other value has, known from the problem's ints
/// "spare_in<i>" and "spare_out<i>" (absent: none): they may be read, whatever they hold, and in an
/// output overwritten, so that rows of 31 elements are accessed as rows of 32. Constants have what
/// fills their 16 bytes.
int64_t spare_of(const Problem& problem, bool output, size_t index);
/// Whether rows of an operand may be accessed `width` elements at a time to their end.
bool whole_rows(const Problem& problem, bool output, size_t index, int width);

/// Where a source's own part begins, after the device headers.
constexpr std::string_view kOwnPart = "// --- kernel\n";

/// Text of one source. Kernels write device functions that take `const Args& a`, whose members are
/// in0.., out0.. (typed pointers), workspace (char*), counters (int*) and the launch numbers.
class SourceText {
 public:
  explicit SourceText(const Problem& problem) : problem_(problem) {}

  /// The expression as C text: a literal, or `a.n<i>`, a launch number of type int.
  std::string number(const Expr& e);
  /// Element offset of the element with linear index `linear` (text of an int; used several times,
  /// so it should be a name) over axes first..last-1 of the operand, in row-major order of `dims`.
  std::string offset(const Operand& operand, size_t first, size_t last, const std::string& linear);
  /// Element offset of row `row`, the linear index over all axes but the last.
  std::string row_offset(const Operand& operand, const std::string& row) {
    return offset(operand, 0, operand.dims.size() - 1, row);
  }

  /// Adds a device header (a .cuh of this folder) once, in the order asked.
  void include(std::string_view name);
  /// Adds device code after Args.
  void add(const std::string& code) { body_ += code; }
  /// Adds `struct Tail { static constexpr int V; template <int V> static __device__ void
  /// finish(const Args& a, int row, int col, float (&x)[V]); ...}`: the epilogue on V adjacent
  /// columns of the output, results stored; finish_some for several pieces at once. V is a power of
  /// two up to `width`, which tail_width() allows; col is a multiple of it. Tail::SPARE more
  /// columns than the output has may be finished: what fills its last V where operands are spare.
  void tail(int width);
  /// Adds an entry; `body` sees `a`. It counts its blocks along x by vt_block(a), so that they can
  /// be a part of a joint launch (joint.h).
  void entry(const std::string& name, int threads, const std::string& body, int blocks_per_sm = 0);

  /// The source, and launches that carry the numbers collected.
  GpuCode finish(std::vector<GpuLaunch> launches, Expr workspace_bytes = 0, Expr counters = 0);

 private:
  const Problem& problem_;
  std::vector<Expr> numbers_;
  std::vector<std::string> includes_;
  std::string body_, entries_;
};

/// Statements that compute a pointwise program: register i is `<prefix><i>`, those of inputs exist.
/// `narrow`: its results are rounded to 16 bits, so that cheaper instructions do (end of
/// common.cuh).
std::string program_text(const PointwiseProgram& program, const std::string& prefix,
                         bool narrow = false);

/// All leading extents of an operand multiplied: the rows of its last axis.
Expr rows_of(const Operand& operand);

/// Why epilogue and operand types cannot be taken, empty if they can: f32, f16 and bf16 everywhere,
/// a sound program (check_epilogue).
Refusal check_float_operands(const Problem& problem);

/// Text of a device header.
std::string_view device_header(std::string_view name);

}  // namespace vitrail::cuda
