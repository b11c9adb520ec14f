// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "vitrail/session.h"
#include "vitrail/tensor.h"
#include "zoo/image/preprocess.h"

namespace vitrail::cli {

/// What the command line says about photographs; it wins over the model's metadata.
struct PhotoOptions {
  std::string task, labels, folder = ".";
  std::map<std::string, std::string> preprocess;  ///< key of vitrail.preprocess.* to value
  std::vector<int64_t> bands;
  int top = 5;
};

/// How a model takes its photographs and what its output means (docs/metadata.md).
class Photographs {
 public:
  /// Throws Error(usage) naming what neither the model nor the command line says.
  Photographs(const std::string& model, const std::map<std::string, std::string>& metadata,
              const PhotoOptions& options);

  /// Extents of the model's input for a photograph.
  Dims dims_of(const std::string& photo) const;
  image::Batch read(const std::string& photo) const;
  /// Prints classes, or writes cube and pictures and prints their names.
  void show(const Tensor& result, const std::string& photo) const;
  bool means_nothing() const { return untrained_; }

 private:
  void show_classes(const Tensor& logits) const;
  void show_cube(const Tensor& cube, const std::string& photo) const;

  PhotoOptions options_;
  image::Preprocessing how_;
  std::vector<std::string> labels_;
  bool untrained_ = false;
};

void run_photos(Session& session, const std::vector<std::string>& photos, const Photographs& how);

}  // namespace vitrail::cli
