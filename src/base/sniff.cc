// SPDX-License-Identifier: Apache-2.0
#include "base/sniff.h"

#include <algorithm>

namespace vitrail {
namespace {
using namespace std::string_view_literals;

struct Magic {
  std::string_view start;
  const char* kind;
};
constexpr Magic kMagics[] = {
    {"version https://git-lfs"sv, "a Git LFS pointer (fetch the file itself with 'git lfs pull')"},
    {"\xff\xd8\xff"sv, "a JPEG picture"},
    {"\x89PNG\r\n\x1a\n"sv, "a PNG picture"},
    {"GIF8"sv, "a GIF picture"},
    {"%PDF-"sv, "a PDF document"},
    {"\x93NUMPY"sv, "a numpy array (.npy)"},
    {"PK\x05\x06"sv, "an empty zip archive"},
    {"\x89VTR\r\n\x1a\n"sv, "a Vitrail plan"},
    {"\x89HDF\r\n\x1a\n"sv, "an HDF5 file"},
    {"\x1f\x8b"sv, "a gzip file (decompress it first)"},
    {"\xfd"
     "7zXZ"sv,
     "an xz file (decompress it first)"},
    {"\x28\xb5\x2f\xfd"sv, "a zstd file (decompress it first)"},
    {"ftrt"sv,
     "a TensorRT engine (only the TensorRT that wrote it loads it; use the ONNX model it was built "
     "from)"},
    {"ptrt"sv,
     "a TensorRT engine (only the TensorRT that wrote it loads it; use the ONNX model it was built "
     "from)"},
    {"\x7f"
     "ELF"sv,
     "an executable or library"},
    {"RIFF"sv, "a RIFF file (WebP, WAV)"},
    {"BM"sv, "a BMP picture"},
    {"II*\0"sv, "a TIFF picture"},
    {"MM\0*"sv, "a TIFF picture"},
    {"\x80\x02"sv, "a Python pickle (an old PyTorch checkpoint?)"},
    {"\x80\x03"sv, "a Python pickle"},
    {"\x80\x04"sv, "a Python pickle"},
};

bool starts_with_word(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), text.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b);
         });
}
// By the name of its first member (APPNOTE.TXT 4.3.7: length at 26, name at 30).
const char* zip_kind(std::string_view text) {
  constexpr size_t kLength = 26, kName = 30;
  if (text.size() <= kName) return "a zip archive";
  const std::string_view name = text.substr(kName, static_cast<unsigned char>(text[kLength]));
  if (name.ends_with(".npy")) return "a numpy archive (.npz)";
  if (name.ends_with(".pkl"))
    return "a PyTorch file (.pt, .pth: weights or TorchScript; export the model with "
           "torch.onnx.export)";
  return "a zip archive";
}
}  // namespace

const char* content_kind(Bytes bytes) {
  const std::string_view text = as_text(bytes.first(std::min<size_t>(bytes.size(), 512)));
  for (const Magic& magic : kMagics)
    if (text.starts_with(magic.start)) return magic.kind;
  if (text.starts_with("PK\x03\x04"sv)) return zip_kind(text);
  // safetensors: a length of eight bytes, then JSON.
  if (text.size() > 9 && text.substr(4, 4) == "\0\0\0\0"sv && text[8] == '{')
    return "a safetensors file";
  if (text.size() > 8 && text.substr(4, 4) == "TFL3"sv) return "a TensorFlow Lite model";
  if (text.size() > 8 && text.substr(4, 4) == "ORTM"sv)
    return "a model in ONNX Runtime's own format";
  const size_t word = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  const std::string_view first = text.substr(word);
  if (starts_with_word(first, "<!doctype html") || starts_with_word(first, "<html"))
    return "an HTML page (a download that failed?)";
  if (first.find("<net ") < 128)
    return "an OpenVINO model (.xml; use the ONNX model it was converted from)";
  if (first.starts_with("<?xml")) return "an XML file";
  if (first.starts_with('{') || first.starts_with('[')) return "a JSON file";
  return kUnknownKind;
}

}  // namespace vitrail
