// SPDX-License-Identifier: Apache-2.0
#include "import/npz.h"

#include "import/npy.h"

namespace vitrail {

NamedTensors read_npz(const Archive& archive) {
  constexpr std::string_view kSuffix = ".npy";
  NamedTensors out;
  for (const Archive::Member& member : archive.members()) {
    const std::string where = archive.describe(member);
    require(member.name.size() > kSuffix.size() && member.name.ends_with(kSuffix), Code::bad_input,
            "{}: expected only .npy arrays in a numpy archive", where);
    out.emplace_back(member.name.substr(0, member.name.size() - kSuffix.size()),
                     parse_npy(archive.read(member), where));
  }
  return out;
}

NamedTensors load_npz(const std::string& path) {
  const auto file = MappedFile::open(path);
  return read_npz(Archive({file->bytes(), file}, "'" + printable(path) + "'"));
}

void save_npz(const std::string& path, const NamedTensors& tensors) {
  AtomicFile file(path);
  ArchiveWriter archive(file);
  for (const auto& [name, tensor] : tensors) {
    const std::string header = npy_header(tensor);
    const Bytes chunks[] = {as_bytes(header), bytes_of(tensor)};
    archive.add(name + ".npy", chunks);
  }
  archive.finish();
  file.commit();
}

}  // namespace vitrail
