// SPDX-License-Identifier: Apache-2.0
// Runs one function on one picture, for tests/python/test_image.py to compare with Pillow.
#include <cstdio>

#include "vitrail/error.h"
#include "zoo/image/preprocess.h"

namespace {
using namespace vitrail;
using namespace vitrail::image;

int run(const std::vector<std::string>& arguments) {
  const auto number = [&](size_t i) { return std::stoi(arguments.at(i)); };
  const std::string& action = arguments.at(0);
  const Image picture = load(arguments.at(1));
  const std::string& output = arguments.at(2);
  if (action == "decode") {
    save_png(output, picture);
  } else if (action == "resize") {
    save_png(output, resize(picture, number(3), number(4), filter_from_name(arguments.at(5))));
  } else if (action == "shorter") {
    save_png(output, resize_shorter_side(picture, number(3), filter_from_name(arguments.at(4))));
  } else if (action == "crop") {
    save_png(output, center_crop(picture, number(3), number(4)));
  } else if (action == "preprocess") {
    TextMap text;
    for (size_t i = 3; i + 1 < arguments.size(); i += 2)
      text[kPreprocessPrefix + arguments[i]] = arguments[i + 1];
    const Batch batch = preprocess(std::span(&picture, 1), preprocessing_from_text(text).value());
    const Bytes values = std::as_bytes(std::span(batch.values));
    write_atomically(output, std::span(&values, 1));
  } else {
    return 2;
  }
  return 0;
}
}  // namespace

int main(int count, char** values) {
  try {
    return run({values + 1, values + count});
  } catch (const vitrail::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code);
  }
}
