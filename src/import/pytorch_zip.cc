// SPDX-License-Identifier: Apache-2.0
#include "import/pytorch_zip.h"

#include <unordered_map>

#include "import/state_dict.h"

namespace vitrail {
namespace {
constexpr std::string_view kPickle = "data.pkl";

// The folder inside the archive: "archive/" or one named after the file. False: no such pickle.
bool find_prefix(const Archive& archive, std::string* prefix) {
  for (const Archive::Member& member : archive.members()) {
    if (!member.name.ends_with(kPickle)) continue;
    const std::string before = member.name.substr(0, member.name.size() - kPickle.size());
    if (before.empty() || before.find('/') == before.size() - 1) {
      *prefix = before;
      return true;
    }
  }
  return false;
}
}  // namespace

bool is_pytorch_zip(const Archive& archive) {
  std::string prefix;
  return find_prefix(archive, &prefix);
}

NamedTensors read_pytorch_zip(const Archive& archive) {
  std::string prefix;
  require(find_prefix(archive, &prefix), Code::bad_input, "{}: no {} in this archive",
          archive.name(), kPickle);
  require(
      archive.find(prefix + "constants.pkl") == nullptr, Code::unsupported,
      "{}: a TorchScript program; save the weights alone: torch.save(module.state_dict(), file)",
      archive.name());
  if (const Archive::Member* order = archive.find(prefix + "byteorder"))
    require(as_text(archive.read(*order).bytes) == "little", Code::unsupported,
            "{}: saved on a big-endian machine; save it again on a little-endian one",
            archive.name());
  const SharedBytes pickle = archive.read(*archive.find(prefix + std::string(kPickle)));
  const PickleDocument document(pickle.bytes, archive.name(), state_dict_global);
  std::unordered_map<std::string_view, const Archive::Member*> members;
  uint64_t size = 0;
  for (const Archive::Member& member : archive.members()) {
    members.emplace(member.name, &member);
    size += member.stored.size();
  }
  const auto storage = [&](const std::string& key, const std::string& where) {
    const auto member = members.find(prefix + "data/" + key);
    require(member != members.end(), Code::bad_input, "{}: its data '{}' is missing", where,
            printable(key));
    return archive.read(*member->second);
  };
  return read_state_dict(document, archive.name(), storage, size);
}

}  // namespace vitrail
