// SPDX-License-Identifier: Apache-2.0
#include "import/file_kind.h"

#include <cctype>

namespace vitrail {
namespace {
using namespace std::string_view_literals;

struct Magic {
  std::string_view bytes;
  const char* what;
};
constexpr Magic kMagics[] = {
    {"\xFF\xD8\xFF"sv, "a JPEG image"},
    {"\x89PNG"sv, "a PNG image"},
    {"GIF8"sv, "a GIF image"},
    {"RIFF"sv, "a WebP or other RIFF file"},
    {"%PDF"sv, "a PDF document"},
    {"version https://git-lfs"sv, "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"},
    // Engines of TensorRT 7 to 8.2 begin with "ptrt", later ones with "ftrt".
    {"ptrt"sv, "a TensorRT engine, which only the TensorRT that wrote it can load; build from the ONNX model it came from"},
    {"ftrt"sv, "a TensorRT engine, which only the TensorRT that wrote it can load; build from the ONNX model it came from"},
    {"VITRAIL"sv, "a Vitrail plan, which is run and not imported"},
    {"PK\x03\x04"sv, "a ZIP archive (a PyTorch checkpoint or an .npz file?); export the model to ONNX first"},
    {"\x1F\x8B"sv, "a gzip archive; unpack it first"},
    {"\x93NUMPY"sv, "a NumPy array"},
    {"\x89HDF\r\n"sv, "an HDF5 file (Keras weights?); export the model to ONNX first"},
    {"\x7F" "ELF"sv, "a program or shared library"},
    {"\x80\x02"sv, "a Python pickle (an old PyTorch checkpoint?); export the model to ONNX first"},
    {"\x80\x04"sv, "a Python pickle; export the model to ONNX first"},
    {"ORTM"sv, "an ONNX Runtime ORT-format model; use the ONNX model it came from"},
    {"#!"sv, "a script"},
};

bool starts_with_word(std::string_view text, std::string_view word) {
  if (text.size() < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(text[i])) != word[i]) return false;
  return true;
}
}  // namespace

std::string recognise_foreign_file(Bytes head) {
  const std::string_view text = as_text(head);
  for (const Magic& magic : kMagics)
    if (text.starts_with(magic.bytes)) return magic.what;
  // These carry their mark after a length.
  if (text.size() > 8 && text.substr(4, 4) == "ORTM")
    return "an ONNX Runtime ORT-format model; use the ONNX model it came from";
  if (text.size() > 8 && text.substr(4, 4) == "TFL3") return "a TensorFlow Lite model; export the model to ONNX first";
  if (text.size() > 9 && text[8] == '{' && text[7] == 0 && text[6] == 0)
    return "a safetensors file, which holds weights and no graph";
  const size_t start = text.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  if (start != std::string_view::npos) {
    const std::string_view trimmed = text.substr(start);
    for (std::string_view tag : {"<!doctype html"sv, "<html"sv, "<head"sv})
      if (starts_with_word(trimmed, tag)) return "an HTML page (a download that led to a web page?)";
    if (starts_with_word(trimmed, "<?xml")) return "an XML file";
    if (trimmed[0] == '{' && trimmed.size() > 1 && (trimmed[1] == '"' || std::isspace(static_cast<unsigned char>(trimmed[1]))))
      return "a JSON file";
  }
  return "";
}

}  // namespace vitrail
