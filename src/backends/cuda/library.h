// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backends/cuda/driver.h"
#include "base/gpu.h"
#include "base/problem.h"

// Vendor's libraries whose calls stand in plans (LibraryCall). They are loaded when first needed;
// the part of their C interfaces that is used is declared in our sources, so that no header or
// library of the toolkit is needed to build, and a plan without such calls never looks for them.
namespace vitrail::cuda {

/// "cublasLt" or "cudnn": its version, or why it is not there. Throws Error(bad_input) for another
/// name.
const GpuLibrary& library(std::string_view name);
/// Throws Error(resource) that names the library, where it was looked for and what to do.
void require_library(std::string_view name);
/// A version as people write it: "13.1.0".
std::string version_text(std::string_view library, int64_t version);

/// A call at given extents, prepared: descriptors made, the algorithm chosen.
class LibraryOperation {
 public:
  virtual ~LibraryOperation() = default;
  /// Adds the call to the stream, recording or not. `addresses` as a kernel's parameters: the
  /// problem's inputs and outputs, the workspace.
  virtual void launch(Stream& stream, std::span<const uint64_t> addresses) = 0;
};

/// `numbers`: the call's, evaluated. `operands`: how many addresses launch() will be given. Throws
/// Error(resource) without the library or for what it cannot do, Error(bad_input) for numbers that
/// contradict themselves.
std::unique_ptr<LibraryOperation> prepare_call(const std::shared_ptr<Device>& device,
                                               const LibraryCall& call, const Bindings& numbers,
                                               size_t operands);

}  // namespace vitrail::cuda
