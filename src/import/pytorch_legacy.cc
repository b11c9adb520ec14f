// SPDX-License-Identifier: Apache-2.0
#include "import/pytorch_legacy.h"

#include <unordered_map>

#include "import/state_dict.h"

namespace vitrail {
namespace {
using namespace std::string_view_literals;
using Kind = PickleValue::Kind;

// The pickle of 0x1950a86a20f9469cfc6c.
constexpr std::string_view kMagic = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8\x50\x19."sv;
constexpr int64_t kVersion = 1001;

bool no_global(std::string_view) { return false; }

// Type and size of every storage that the object mentions.
std::unordered_map<std::string, StorageReference> mentioned_storages(const PickleDocument& document,
                                                                     const std::string& name) {
  std::unordered_map<std::string, StorageReference> out;
  for (uint32_t i = 0; i < document.size(); ++i) {
    if (!document.at(i).is(Kind::persistent)) continue;
    StorageReference reference = storage_reference(document, document.at(i), name);
    const auto [known, fresh] = out.emplace(reference.key, reference);
    require(fresh || (known->second.dtype == reference.dtype &&
                      known->second.elements == reference.elements),
            Code::bad_input, "{}: storage '{}' is described in two ways", name,
            printable(reference.key));
  }
  return out;
}
}  // namespace

bool is_pytorch_legacy(Bytes file) { return as_text(file).starts_with(kMagic); }

NamedTensors read_pytorch_legacy(const SharedBytes& file, const std::string& name) {
  ByteReader reader(file.bytes, name);
  reader.take(kMagic.size(), "the magic number");
  const auto pickle = [&](PickleDocument::Allowed allowed) {
    PickleDocument document(file.bytes.subspan(reader.position()), name, allowed);
    reader.take(document.consumed(), "a pickle");
    return document;
  };
  const PickleDocument version = pickle(no_global), machine = pickle(no_global);
  require(version.root().is(Kind::integer) && version.root().integer == kVersion, Code::unsupported,
          "{}: a PyTorch file of an unknown version", name);
  const auto& facts = machine.root().items;
  for (size_t i = 0; machine.root().is(Kind::dict) && i + 1 < facts.size(); i += 2)
    require(machine.at(facts[i]).text != "little_endian" || machine.at(facts[i + 1]).integer == 1,
            Code::unsupported, "{}: saved on a big-endian machine", name);
  const PickleDocument object = pickle(state_dict_global), keys = pickle(no_global);
  require(keys.root().is(Kind::list), Code::bad_input, "{}: the storage keys are no list", name);

  const auto mentioned = mentioned_storages(object, name);
  std::unordered_map<std::string, Bytes> storages;
  for (const uint32_t item : keys.root().items) {
    const std::string key(keys.at(item).text);
    const auto reference = mentioned.find(key);
    require(reference != mentioned.end() && !storages.contains(key), Code::bad_input,
            "{}: storage '{}' is listed twice or never used", name, printable(key));
    const auto [_, dtype, elements] = reference->second;
    const auto found = reader.number<int64_t>("a storage's length");
    require(found == elements, Code::bad_input, "{}: storage '{}' has {} elements, expected {}",
            name, printable(key), found, elements);
    const auto item_size = static_cast<int64_t>(size_of(dtype));
    require(elements <= INT64_MAX / item_size, Code::bad_input, "{}: a storage of {} elements",
            name, elements);
    storages.emplace(key, reader.take(static_cast<uint64_t>(elements * item_size), "a storage"));
  }
  require(reader.left() == 0, Code::bad_input, "{}: {} bytes behind the last storage", name,
          reader.left());
  const auto source = [&](const std::string& key, const std::string& where) {
    const auto found = storages.find(key);
    require(found != storages.end(), Code::bad_input, "{}: its data '{}' is missing", where,
            printable(key));
    return SharedBytes{found->second, file.owner};
  };
  return read_state_dict(object, name, source, file.bytes.size());
}

}  // namespace vitrail
